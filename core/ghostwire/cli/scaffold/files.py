"""The files of a new distribution: names and contents, from the texts of its kind."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from string import Template

from ghostwire import __version__
from ghostwire.cli.scaffold.kinds import KINDS, Kind

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
"""

SETUP = """\
[metadata]
name = $distribution
version = 0.1.0
description = A plugin of GhostWire that $what
long_description = file: README.md
long_description_content_type = text/markdown

[options]
python_requires = >=3.11
packages = $package
install_requires =
    ghostwire-mesh>=$version

[options.package_data]
* = py.typed

[options.extras_require]
dev =
    pytest>=9

# the roles in brackets say which programs load the plugin: server, node, relay, ctl
[options.entry_points]
ghostwire.plugins =
    $name = $package.plugin [$roles]
"""

README = """\
# $distribution

A plugin of GhostWire that $what.

    pip install -e '.[dev]'        # beside GhostWire, in its environment
    pytest                         # the rules it has to keep
    ghostwire --plugin $name plugins
    python -m build                # the wheel to give to others

Where it is used, name it in ghostwire.toml; docs/plugins.md of GhostWire says what `trusted` means:

    [plugin.$name]
    trusted = true

What it does is in `$package/implementation.py`, its settings in `$package/settings.py`.
"""

PLUGIN = '''\
"""What $name offers; it imports the implementation only where that is used."""

from __future__ import annotations

from collections.abc import Iterator
$typing
from ghostwire import $imports, hookimpl

from $package.settings import Settings
$judged
__all__ = ["Settings"]


def create(context: $context) -> $capability:
    """Make the object; no input or output yet."""
    from $package.implementation import $class_

    return $class_(context)


@hookimpl
def $hook() -> Iterator[Provider[$capability]]:
    """Asked once, while the program starts."""
    yield Provider("$name", create$rank)
'''

CONFORMANCE = '''

def conformance(capability: str) -> type[$contract]:
    """What `pytest --ghostwire-conformance` runs; nothing else imports it."""
    from $package.conformance import ${stem}Contract

    return ${stem}Contract
'''

COMMAND_PLUGIN = '''\
"""What $name offers; it imports the implementation only where that is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ghostwire import Command, hookimpl

from $package.settings import Settings

if TYPE_CHECKING:
    import click

__all__ = ["Settings"]


def load() -> click.Command:
    """The command, when somebody uses it."""
    from $package.implementation import $name

    return $name


@hookimpl
def $hook() -> Iterator[Command]:
    """Asked once, while the program starts."""
    yield Command("gwctl", "$name", load, help="Say a text quietly.")
'''

SETTINGS = '''\
"""Settings of ``[plugin.$name]``."""

from __future__ import annotations
$annotated
import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator may set, each with its default."""
$fields'''


def files(name: str, kind_name: str) -> Mapping[str, str]:
    """Path -> text of a distribution with the plugin ``name`` of that kind."""
    kind = KINDS[kind_name]
    words = _words(name, kind)
    package = words["package"]
    plugin = COMMAND_PLUGIN if kind_name == "command" else PLUGIN
    judged = {f"{package}/conformance.py": kind.conformance} if kind.conformance else {}
    texts = {
        "pyproject.toml": PYPROJECT,
        "setup.cfg": SETUP,
        "README.md": README,
        f"{package}/__init__.py": '"""A plugin of GhostWire that $what."""\n',
        f"{package}/py.typed": "",
        f"{package}/plugin.py": plugin + (CONFORMANCE if judged else ""),
        f"{package}/settings.py": SETTINGS,
        f"{package}/implementation.py": kind.code,
        **judged,
        f"tests/test_{name}.py": kind.tests,
    }
    return {path: Template(text).substitute(words) for path, text in texts.items()}


def _words(name: str, kind: Kind) -> dict[str, str]:
    annotated = "Annotated" in kind.fields
    fields = "" if kind.fields.strip() == "pass" else f"\n{kind.fields}"
    stem = "".join(part.capitalize() for part in name.split("_"))
    contract = f"{_suffix(kind)}Contract"
    judged = f"\nif TYPE_CHECKING:\n    from ghostwire.testing.contracts import {contract}\n"
    return {
        "name": name,
        "stem": stem,
        "class_": stem + _suffix(kind),
        "contract": contract,
        "typing": "from typing import TYPE_CHECKING\n" if kind.conformance else "",
        "judged": judged if kind.conformance else "",
        "package": f"ghostwire_{name}",
        "distribution": f"ghostwire-{name.replace('_', '-')}",
        "imports": ", ".join(sorted({kind.context, kind.capability, "Provider"} - {""})),
        "annotated": "\nfrom typing import Annotated\n" if annotated else "",
        "fields": fields,
        "version": __version__,
        "python": "{}.{}".format(*sys.version_info[:2]),
        **{each: getattr(kind, each) for each in ("hook", "capability", "context", "roles", "what", "rank")},
    }


def _suffix(kind: Kind) -> str:
    return {"PolicyEngine": "Policy"}.get(kind.capability, kind.capability)

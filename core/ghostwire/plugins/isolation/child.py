"""A plugin's process: confines itself, imports the plugin, and describes it or runs one of its transports.

Run as ``python -I -m ghostwire.plugins.isolation.child CONTROL WAKES WOKEN MEMORY``, four descriptors.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Final

import ghostwire
from ghostwire import RelayTransport
from ghostwire.config import Config
from ghostwire.errors import ConfigError, GhostwireError, PluginError
from ghostwire.hints import one_line
from ghostwire.plugins.host import Host
from ghostwire.plugins.isolation.channel import Channel, inherited
from ghostwire.plugins.isolation.protocol import (
    Confined,
    Described,
    Setup,
    Transporting,
    Trouble,
    encode,
    from_daemon,
)
from ghostwire.plugins.loader import GROUP
from ghostwire.system.sandbox.confine import Confinement, confine

PATIENCE: Final = 10.0
"""Seconds until the Setup must be there."""
MAX_OFFERS: Final = 64


def main() -> None:
    """The process."""
    channel = inherited(*map(int, sys.argv[1:]))
    channel.wait(PATIENCE)
    setup = from_daemon(channel.hear() or b"")
    try:
        _lock_up(setup, channel)
        host = Host.alone(setup.plugin, Config(plugin={setup.plugin: {**setup.table, "trusted": True}}))
        if setup.provider:
            _run(setup, channel, host)
        else:
            channel.tell(encode(description(host)))
    except GhostwireError as error:
        channel.tell(encode(trouble(error)))


def description(host: Host) -> Described:
    """What the plugin offers to a node; relay transports, whose kind shows, count among the other hooks."""
    offers = host.offers("ghostwire_transports")[:MAX_OFFERS]
    relays = [offer for offer in offers if _makes_relays(offer.provider)]
    others = [hook for info in host.report() for hook, names in info.provides.items() if names]
    others = [hook for hook in others if hook != "ghostwire_transports"]
    return Described(
        transports=tuple(Transporting(offer.name, offer.order[0]) for offer in offers if offer not in relays),
        others=(*others, *(f"the relay transport {offer.name}" for offer in relays)),
    )


def trouble(error: GhostwireError) -> Trouble:
    """An error as the daemon can raise it again."""
    text, key = str(error), ""
    if isinstance(error, PluginError) and error.plugin:
        text = text.removeprefix(f"plugin {error.plugin}: ")
    if isinstance(error, ConfigError):
        key = error.key
        text = text.removeprefix(f"{key}: ")
    return Trouble(kind=type(error).__name__, text=one_line(text), key=one_line(key))


def _makes_relays(provider: object) -> bool:
    create = getattr(provider, "create", None)
    return isinstance(create, type) and issubclass(create, RelayTransport)


def _lock_up(setup: Setup, channel: Channel) -> None:
    sys.path[:] = setup.path
    importlib.invalidate_caches()
    if setup.folder is not None:
        os.fchdir(setup.folder)
    confined = confine(
        Confinement(
            parent=setup.parent,
            keep=(0, 1, 2, *channel.descriptors, *(() if setup.folder is None else (setup.folder,))),
            readable=tuple(_code(setup.plugin)),
            folder=setup.folder,
            hidden=setup.hidden,
            memory=setup.memory,
            user=setup.user,
            nice=0,  # it carries the mesh's packets, as the daemon does; its time is watched
        )
    )
    lacking = tuple(f"{name}: {why}" for name, why in confined.lacking.items())
    channel.tell(encode(Confined(measures=tuple(confined.measures), lacking=lacking)))


def _code(plugin: str) -> Iterator[str]:
    """Where the code of GhostWire and of the plugin lies, which may be no folder of sys.path."""
    yield from ghostwire.__path__
    for entry in entry_points(group=GROUP, name=plugin):
        found = find_spec(entry.module.partition(".")[0])
        if found is not None:
            yield from found.submodule_search_locations or ([found.origin] if found.origin else [])


def _run(setup: Setup, channel: Channel, host: Host) -> None:
    from ghostwire.plugins.isolation.worker import Worker  # a description needs no event loop
    from ghostwire.system.loop import runner

    with runner() as running:
        running.run(Worker(setup, channel, host).run())


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)

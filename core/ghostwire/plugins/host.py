"""The only caller of hooks: loads the chosen plugins, asks each for what it provides, and keeps the answers.

Hooks run once, in `Host.compose`; afterwards a host is a registry of offers. A plugin takes part wholly or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import msgspec
import pluggy

from ghostwire import hookspecs
from ghostwire.config import Config
from ghostwire.errors import GhostwireError, PluginError
from ghostwire.hints import did_you_mean, one_line
from ghostwire.plugins import loader
from ghostwire.plugins.checks import is_settings, problems_of_hooks
from ghostwire.plugins.contents import trespass
from ghostwire.plugins.offers import Offer, isolated_offers, problem_of_record, record_of
from ghostwire.plugins.selection import Selection, choose

log = logging.getLogger("ghostwire.plugins")


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a plugin that exports no ``Settings``: none."""


class PluginInfo(msgspec.Struct, frozen=True):
    """A line of `ghostwire plugins`; ``provides`` (hook -> names) only where it is loaded, ``error`` why it is not.

    ``isolated``: it runs in a process of its own, and is never imported here.
    """

    name: str
    roles: tuple[str, ...]
    version: str
    distribution: str
    selected: bool
    trusted: bool
    provides: Mapping[str, tuple[str, ...]]
    error: str
    isolated: bool = False


class _Member(msgspec.Struct):
    """A chosen plugin: loaded with its settings and offers, or failed. ``reason`` is the failure without the name;
    ``optional`` says that it only lacks a library."""

    plugin: loader.Installed
    settings: Any = None
    offers: dict[str, list[Offer]] = msgspec.field(default_factory=dict)
    failure: GhostwireError | None = None
    reason: str = ""
    optional: bool = False


class _Registry(pluggy.PluginManager):
    """Knows the hooks from hookspecs' functions, which carry no marker so that the module imports nothing."""

    def parse_hookspec_opts(self, module_or_class: object, name: str) -> Any:
        if name.startswith("ghostwire_"):
            return {"firstresult": False, "historic": False, "warn_on_impl": None, "warn_on_impl_args": None}
        return None


class Host:
    """The plugins of one program, composed once."""

    def __init__(self, role: str | None, selection: Selection) -> None:
        self.role, self._config = role, selection.config
        self._installed = loader.installed()
        self._chosen = choose(self._installed, selection, role)
        self._hooks = hookspecs.asked_by(role) if role else tuple(hookspecs.ASKED_BY)
        self._registry = _Registry("ghostwire")
        self._registry.add_hookspecs(hookspecs)
        self._members: dict[str, _Member] = {}

    @classmethod
    def compose(cls, role: str, selection: Selection) -> Host:
        """Load this role's plugins and run their hooks.

        A plugin that fails is left out with one warning, or without where it only lacks its libraries; one that the
        operator named ends it all with its PluginError or ConfigError.
        """
        host = cls(role, selection)
        for name in host._chosen.plugins:
            host._admit(name)
            host._judge(host._members[name])
        host._tell_of_trespassers()
        return host

    @classmethod
    def inspect(cls, selection: Selection) -> Host:
        """Load every chosen plugin whatever its role, for showing: failures stay values, see `report`."""
        host = cls(None, selection)
        for name in host._chosen.plugins:
            host._admit(name)
        return host

    @classmethod
    def alone(cls, name: str, config: Config) -> Host:
        """One plugin for a node, in a process of its own; raises what is wrong with it."""
        ours = loader.installed()
        if name not in ours:
            raise PluginError(name, "is not installed any more")
        others = tuple(f"-{other}" for other in ours if other != name)
        host = cls("node", Selection(config, (*others, name)))
        host._admit(name)
        failure = host._members[name].failure
        if failure is not None:
            raise failure
        return host

    @property
    def own(self) -> frozenset[str]:
        """The chosen plugins that came with GhostWire itself."""
        return frozenset(name for name in self._chosen.plugins if self._installed[name].ours)

    def offers(self, hook: str) -> Sequence[Offer]:
        """What plugins provide under this hook, by rank, then by name."""
        if hook not in self._hooks:
            raise ValueError(f"{hook} is not a hook that {self.role} asks")
        found = [offer for member in self._members.values() for offer in member.offers.get(hook, ())]
        return sorted(found, key=lambda offer: offer.order)

    def one(self, hook: str, name: str) -> Offer:
        """The offer of that name; PluginError says what there is, and what may be missing."""
        offers = {offer.name: offer for offer in self.offers(hook)}
        if name in offers:
            return offers[name]
        kind = hook.removeprefix("ghostwire_").removesuffix("s")
        failed = "".join(
            f"; {member.plugin.name} {member.reason}" for member in self._members.values() if member.reason
        )
        hint = did_you_mean(name, offers)
        raise PluginError("", f"no selected plugin offers the {kind} {name!r}{hint}{failed}; see `ghostwire plugins`")

    def settings(self, plugin: str) -> Any:
        """The plugin's own parsed ``Settings``."""
        return self._members[plugin].settings

    def create(self, offer: Offer, build: Callable[[str, Any], Any]) -> Any:
        """Make the object of an offer from ``build(plugin, settings)``, its context.

        PluginError names the plugin where ``create`` raises or makes something else than its hook is for.
        """
        context = build(offer.plugin, self.settings(offer.plugin))
        try:
            return offer.create(context)
        except PluginError:
            raise
        except GhostwireError as error:
            raise offer.broken(str(error)) from error
        except (Exception, SystemExit) as error:
            failure = loader.describe(error, self._members[offer.plugin].plugin)
            raise offer.broken(failure.reason) from error

    def create_all(self, hook: str, build: Callable[[str, Any], Any]) -> list[Any]:
        """Make every offer of a hook; one that fails costs only itself, unless the operator named its plugin."""
        made = []
        for offer in self.offers(hook):
            try:
                made.append(self.create(offer, build))
            except PluginError as error:
                if offer.plugin in self._chosen.named:
                    raise
                log.warning("%s; going on without it", error)
        return made

    def report(self) -> Sequence[PluginInfo]:
        """Every installed plugin, chosen or not, by name."""
        return [self._info(plugin) for _, plugin in sorted(self._installed.items())]

    def failures(self) -> Sequence[GhostwireError]:
        """Why each plugin that failed did, except those that only lack libraries and that nobody named."""
        members = [m for m in self._members.values() if not m.optional or m.plugin.name in self._chosen.named]
        return [member.failure for member in members if member.failure]

    def _info(self, plugin: loader.Installed) -> PluginInfo:
        member = self._members.get(plugin.name)
        return PluginInfo(
            name=plugin.name,
            roles=plugin.roles,
            version=plugin.version,
            distribution=plugin.distribution,
            selected=plugin.name in self._chosen.plugins,
            trusted=self._trusts(plugin),
            provides={
                hook: tuple(o.name for o in offers) for hook, offers in (member.offers if member else {}).items()
            },
            error=member.reason if member else self._trespass(plugin),
            isolated=self._isolates(plugin),
        )

    def _trusts(self, plugin: loader.Installed) -> bool:
        return plugin.ours or self._config.trusts(plugin.name)

    def _isolates(self, plugin: loader.Installed) -> bool:
        """Whether it runs in a process of its own: a stranger's, in a node (or shown as there)."""
        return not self._trusts(plugin) and self.role in (None, "node") and "node" in plugin.roles

    def _describe(self, member: _Member) -> None:
        """Ask a process of its own what it offers; only transports can live there."""
        from ghostwire.plugins.isolation.describe import describe  # most programs have no strangers

        name = member.plugin.name
        if member.plugin.rivals:
            raise _Failed(loader.problem(member.plugin) or "")
        if wrong := self._trespass(member.plugin):
            raise _Failed(wrong)
        described = describe(name, self._config)
        if not described.transports:
            raise _Failed(self._untrusted(member.plugin, " and offers no transport that could be isolated"))
        member.settings = {key: value for key, value in self._config.plugin.get(name, {}).items() if key != "trusted"}
        offers = isolated_offers(name, described)
        member.offers = self._without_twins({"ghostwire_transports": offers})
        if described.others and self.role is not None:
            left = one_line(", ".join(described.others[:16]))
            log.warning("plugin %s: %s left out, which would need trusted = true under [plugin.%s]", name, left, name)

    def _trespass(self, plugin: loader.Installed) -> str:
        """What a stranger's distribution does that no process of its own undoes; empty where it is innocent."""
        if self._trusts(plugin):
            return ""
        ours = {each.entry.module.partition(".")[0] for each in self._installed.values() if each.ours}
        wrong = trespass(plugin.entry.dist, {"ghostwire", *ours})
        remedy = f"uninstall {plugin.distribution}, or set trusted = true under [plugin.{plugin.name}]"
        return f"{wrong}: {remedy}" if wrong else ""

    def _tell_of_trespassers(self) -> None:
        """Installing was enough for them; that nobody chose their plugins changes nothing."""
        for name, plugin in sorted(self._installed.items()):
            if name not in self._chosen.plugins and (wrong := self._trespass(plugin)):
                log.warning("plugin %s, which is not selected, %s", name, wrong)

    def _admit(self, name: str) -> None:
        """Bring one plugin in, or note why it stays out."""
        member = self._members[name] = _Member(self._installed[name])
        try:
            if self._isolates(member.plugin):
                self._describe(member)
                return
            module = self._load(member.plugin)
            member.settings = self._config.settings(name, _settings_of(module))
            self._register(member.plugin, module)
            member.offers = self._without_twins(self._ask(member.plugin))
        except _Failed as failed:
            member.reason, member.optional = failed.failure.reason, bool(failed.failure.missing)
            member.failure = PluginError(name, member.reason)
        except GhostwireError as error:
            member.reason, member.failure = str(error), error

    def _judge(self, member: _Member) -> None:
        """A failure ends the program, is said, or (a library that was never installed) only shows in the report."""
        if member.failure is None:
            return
        if member.plugin.name in self._chosen.named:
            raise member.failure
        log.log(logging.DEBUG if member.optional else logging.WARNING, "%s; going on without it", member.failure)

    def _load(self, plugin: loader.Installed) -> ModuleType:
        if not self._trusts(plugin):
            raise _Failed(self._untrusted(plugin))
        module = loader.load(plugin)
        if isinstance(module, loader.Failure):
            raise _Failed(module)
        lacking = loader.lacks(plugin, module) if self.role != "ctl" else None  # commands need no provider's libraries
        if lacking:
            raise _Failed(lacking)
        return module

    def _untrusted(self, plugin: loader.Installed, more: str = "") -> str:
        return (
            f"is not trusted: {plugin.distribution} is not part of GhostWire{more}; if you trust its code like "
            f"GhostWire's own, set trusted = true under [plugin.{plugin.name}] in "
            f"{self._config.file or 'ghostwire.toml'}"
        )

    def _register(self, plugin: loader.Installed, module: ModuleType) -> None:
        for problem in problems_of_hooks(module, self._registry.parse_hookimpl_opts):
            raise _Failed(problem)
        try:
            self._registry.register(module, plugin.name)
        except Exception as error:
            raise _Failed(f"was refused: {one_line(error)}") from None

    def _ask(self, plugin: loader.Installed) -> dict[str, list[Offer]]:
        """Call the plugin's own implementation of each hook that this program asks."""
        offers: dict[str, list[Offer]] = {}
        for hook in self._hooks:
            for implementation in getattr(self._registry.hook, hook).get_hookimpls():
                if implementation.plugin_name == plugin.name:
                    made = _offers(plugin, hook, implementation.function)
                    offers[hook] = [offer for offer in made if offer.is_for(self.role)]
        return offers

    def _without_twins(self, offers: dict[str, list[Offer]]) -> dict[str, list[Offer]]:
        """The same offers, unless one has the name of another's (or of a second one of its own)."""
        for hook, new in offers.items():
            owners = {offer.name: offer.plugin for offer in self.offers(hook)}
            for offer in new:
                if offer.name in owners:
                    raise _Failed(
                        f"offers {offer.name!r} under {hook}, which {owners[offer.name]} offers too; "
                        f"leave one of them out (--plugin -{offer.plugin})"
                    )
                owners[offer.name] = offer.plugin
        return offers


class _Failed(Exception):
    """Carries a Failure out of the steps of admitting a plugin."""

    def __init__(self, failure: loader.Failure | str) -> None:
        self.failure = loader.Failure(failure) if isinstance(failure, str) else failure


def _settings_of(module: ModuleType) -> type[Any]:
    kind: type[Any] = getattr(module, "Settings", NoSettings)
    if not is_settings(kind):
        raise _Failed("its Settings is not a msgspec Struct with forbid_unknown_fields=True")
    return kind


def _offers(plugin: loader.Installed, hook: str, function: Callable[[], Any]) -> list[Offer]:
    """What one implementation yields, checked."""
    kind = record_of(hook)
    try:
        answer = function()
        records = [answer] if isinstance(answer, kind) else list(answer or ())
    except (Exception, SystemExit) as error:
        failure = loader.describe(error, plugin)
        raise _Failed(loader.Failure(f"{hook} {failure.reason}", failure.missing)) from None
    for record in records:
        if problem := problem_of_record(record, kind):
            raise _Failed(f"{hook} yielded {problem}")
    return [Offer(plugin.name, record, hook) for record in records]

"""Finds what is to be judged: an installed plugin's provider, with its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ghostwire.config import Config, load
from ghostwire.errors import GhostwireError, PluginError, UsageError
from ghostwire.hints import did_you_mean
from ghostwire.plugins import loader
from ghostwire.plugins.host import Host
from ghostwire.plugins.offers import Offer
from ghostwire.plugins.selection import Selection

HOOKS = {
    "transport": "ghostwire_transports",
    "tunnel": "ghostwire_tunnels",
    "platform": "ghostwire_platforms",
    "authenticator": "ghostwire_authenticators",
    "storage": "ghostwire_storages",
    "resolver": "ghostwire_resolvers",
    "policy": "ghostwire_policies",
    "telemetry": "ghostwire_telemetry",
}
"""The hook that yields a capability's providers; a capability that is not here has no rules."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A provider that is judged; ``module`` is its plugin's, ``settings`` are the plugin's own."""

    capability: str
    offer: Offer
    module: ModuleType
    settings: Any
    version: str

    def create(self, context: Any) -> Any:
        """Make the provider's object, as core does."""
        return self.offer.create(context)

    def __str__(self) -> str:
        return f"{self.capability} {self.offer.name} of {self.offer.plugin} {self.version}"


def find(capability: str, name: str, settings: Path | None = None) -> Subject:
    """The provider of that name, or the only one of the plugin of that name. Its plugin is trusted for this.

    UsageError says what there is instead, PluginError or ConfigError why a plugin or its settings cannot be used.
    """
    if capability not in HOOKS:
        raise UsageError(f"no capability {capability!r}{did_you_mean(capability, HOOKS)}")
    plugins = loader.installed()
    host = Host.inspect(Selection(_trusting(settings, plugins), tuple(plugins)))
    offers = host.offers(HOOKS[capability])
    found = [offer for offer in offers if offer.name == name] or [offer for offer in offers if offer.plugin == name]
    if len(found) != 1:
        raise _unclear(capability, name, found or offers, host)
    (offer,) = found
    module = loader.load(plugins[offer.plugin])
    if isinstance(module, loader.Failure):
        raise PluginError(offer.plugin, module.reason)
    return Subject(capability, offer, module, host.settings(offer.plugin), plugins[offer.plugin].version)


def _trusting(file: Path | None, plugins: dict[str, loader.Installed]) -> Config:
    """The author's settings, with every plugin trusted: who judges a plugin runs it."""
    import msgspec

    config = load(file) if file is not None else Config()
    tables = {name: {**config.plugin.get(name, {}), "trusted": True} for name in plugins}
    return msgspec.structs.replace(config, plugin={**config.plugin, **tables})


def _unclear(capability: str, name: str, offers: Any, host: Host) -> GhostwireError:
    broken = next((info for info in host.report() if info.name == name and info.error), None)
    if broken is not None:
        return PluginError(name, broken.error)
    names = [offer.name for offer in offers]
    if any(offer.plugin == name for offer in offers):
        return UsageError(f"the plugin {name} provides more than one {capability}; name one of {', '.join(names)}")
    there = f"installed: {', '.join(names)}" if names else "none is installed"
    hint = did_you_mean(name, names).partition("; there is")[0]
    failed = "".join(f"; the plugin {info.name}: {info.error}" for info in host.report() if info.error)
    return UsageError(f"no installed plugin provides the {capability} {name!r}{hint} ({there}){failed}")

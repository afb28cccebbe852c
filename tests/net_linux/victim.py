"""Makes and configures an interface, says so, and waits to be killed."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

from ghostwire import Metrics, NetworkConfig
from ghostwire_net_linux.platform import LinuxPlatform
from ghostwire_net_linux.settings import Settings


async def main() -> None:
    context = SimpleNamespace(settings=Settings(), log=logging.getLogger(), metrics=Metrics())
    platform = LinuxPlatform(context)  # type: ignore[arg-type]
    await platform.open_device("gwt0", 1280)
    wanted = NetworkConfig("gwt0", 1280, ("100.64.0.2/32", "fd7a::2/128"), ("100.64.0.0/16", "fd7a::/48"))
    await platform.configure(wanted)
    print("configured", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())

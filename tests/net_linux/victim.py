"""Makes and configures an interface (`victim.py STATE CONFIG`), says so, and lives until its stdin ends or it is
killed; with an isolated configuration it has a firewall, too."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec

from ghostwire import Metrics, NetworkConfig
from ghostwire_net_linux.platform import LinuxPlatform
from ghostwire_net_linux.settings import Settings


async def main() -> None:
    context = SimpleNamespace(settings=Settings(), log=logging.getLogger(), metrics=Metrics(), state=Path(sys.argv[1]))
    platform = LinuxPlatform(context)  # type: ignore[arg-type]
    wanted = msgspec.json.decode(sys.argv[2], type=NetworkConfig)
    await platform.open_device(wanted.interface, wanted.mtu)
    await platform.configure(wanted)
    if wanted.isolated:
        await platform.firewall(wanted.interface, ())
    print("configured", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await platform.restore()


asyncio.run(main())

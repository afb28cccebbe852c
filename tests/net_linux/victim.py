"""Makes and configures an interface (`victim.py STATE CONFIG`), says so, and waits to be killed."""

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
    await platform.open_device("gwt0", 1280)
    wanted = msgspec.json.decode(sys.argv[2], type=NetworkConfig)
    await platform.configure(wanted)
    if wanted.isolated:
        await platform.firewall("gwt0", ())
    print("configured", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())

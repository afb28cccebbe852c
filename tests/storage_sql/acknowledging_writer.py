"""A program that writes users and says each number on stdout once it is acknowledged, until it is killed.

Its arguments are a folder and, for another database than one in it, a URL.
"""

import asyncio
import logging
import os
import sys
from pathlib import Path

from ghostwire.model import User
from ghostwire_storage_sql.storage import SqlStorage


async def main(folder: Path, url: str) -> None:
    storage = SqlStorage(folder, url, os.urandom, logging.getLogger("storage"))
    await storage.open(lambda commit: None)

    async def write() -> None:
        while True:

            def work(transaction):
                number = transaction.new_id(User)
                transaction.put(User(id=number, stable_id=f"u{number}", name=f"user{number}"))
                return number

            os.write(1, b"%d\n" % await storage.write(work))

    await asyncio.gather(*(write() for _ in range(8)))


asyncio.run(main(Path(sys.argv[1]), "".join(sys.argv[2:])))

"""What a database cannot keep costs the one who wrote it, and nobody whose write shares the commit."""

import asyncio

import pytest
from msgspec.structs import replace

from ghostwire.errors import Refused
from ghostwire.model import User
from ghostwire.testing.contracts.samples import user


@pytest.mark.parametrize("fixture", ["make_storage", "make_shared"])
async def test_a_nul_in_a_text_is_refused_alone(fixture, request):
    storage = request.getfixturevalue(fixture)()
    await storage.open(lambda commit: None)
    try:
        texts = (user(1), replace(user(2), name="a\0b"), user(3))
        writes = [storage.write(lambda transaction, record=record: transaction.put(record)) for record in texts]
        kept, refused, also = await asyncio.gather(*writes, return_exceptions=True)
        assert (kept, also) == (None, None)
        assert isinstance(refused, Refused)
        assert str(refused) == "user: name holds a NUL character; leave it out"
        found = await storage.write(lambda transaction: [each.id for each in transaction.find(User)])
        assert found == [1, 3]
    finally:
        await storage.close()

"""The statements of a meeting of servers, and what their rows say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from ghostwire.capabilities.storage import Notice

CHANNEL = "ghostwire_posts"
"""Where each server's name is told when it posted."""
GONE = "10 seconds"
"""Without a heartbeat for so long, by the database's clock, a server is gone."""

NOTIFY = f"SELECT pg_notify('{CHANNEL}', %s)"
APPEAR = "INSERT INTO servers (id, heartbeat, counter, since) VALUES (%s, clock_timestamp(), %s, %s)"
BEAT = "UPDATE servers SET heartbeat = clock_timestamp(), counter = %s, since = %s WHERE id = %s"
BURY = "DELETE FROM entries WHERE server = %s AND counter <= %s AND body IS NULL"
REMOVE = "DELETE FROM servers WHERE id = %s"
SWEEP = "DELETE FROM servers WHERE heartbeat < clock_timestamp() - interval '1 day'"
WRITE = """
    INSERT INTO entries (server, counter, key, body)
    SELECT %s, %s, posted.key, posted.body FROM unnest(%s::text[], %s::bytea[]) AS posted (key, body)
    ON CONFLICT (server, key) DO UPDATE SET counter = excluded.counter, body = excluded.body
"""
READ = """
    WITH others AS (
        SELECT id, counter, since, coalesce(heard, -1) AS heard,
            heartbeat < clock_timestamp() - %(gone)s::interval AS gone
        FROM servers LEFT JOIN unnest(%(known)s::text[], %(heard)s::bigint[]) AS told (server, heard) ON server = id
        WHERE id <> %(own)s
    )
    SELECT others.id, others.counter, gone, heard < since AS whole, entries.key, entries.body
    FROM others LEFT JOIN entries ON NOT gone AND entries.server = others.id
        AND entries.counter > CASE WHEN heard < since THEN -1 ELSE heard END
    ORDER BY others.id
"""
"""(own, known, heard, gone) -> (server, counter, gone, whole, key, body): one row an entry that was not heard of, or
one without a key; in one statement, so that it is all of one moment."""


def notices(rows: Sequence[Any], known: dict[str, int]) -> Iterator[Notice]:
    """What the rows of `READ` say; ``known`` (server -> counter) is brought up to it."""
    present = set()
    for server, group in groupby(rows, key=itemgetter(0)):
        entries = list(group)
        _, counter, gone, whole, _, _ = entries[0]
        if gone:
            continue
        present.add(server)
        if whole or counter > known[server]:
            known[server] = counter
            bodies = {key: body for *_, key, body in entries if key is not None and not (whole and body is None)}
            yield Notice(server, counter, bodies, whole)
    for server in known.keys() - present:
        yield Notice(server, known.pop(server), gone=True)

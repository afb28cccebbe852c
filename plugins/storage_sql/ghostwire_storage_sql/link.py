"""Connections to PostgreSQL: every wait has an end, and every error one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import conninfo

from ghostwire.errors import StateError

ANSWER = 8.0
"""Seconds that an answer may take; longer than the database's own limits below, which come first if it runs."""
OLDEST = 13
"""The oldest major version of PostgreSQL that is tested."""
PARAMETERS: Mapping[str, str] = {
    "application_name": "ghostwire",
    "client_encoding": "utf-8",
    "connect_timeout": "4",
    "tcp_user_timeout": "5000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "target_session_attrs": "read-write",
}
"""What a URL does not say otherwise: who is out of reach is noticed within seconds, and a standby is passed by."""
LIMITS: Mapping[str, str] = {
    "lock_timeout": "6s",
    "statement_timeout": "7s",
    "idle_in_transaction_session_timeout": "4s",
    "timezone": "UTC",
}
"""A server that stops while it holds the lock loses it, and no other waits for it much longer than that."""

LOCKS = 0x67770000
"""The class of our advisory locks: of who uses the database (1), and of who migrates it (2)."""

ADVICE = (
    ("password authentication failed", "check the user's password"),
    ("no password supplied", "put a password in ~/.pgpass (mode 0600), or in storage of ghostwire.toml"),
    ("no encryption", "say sslmode=require, or let this user in without TLS: a line in pg_hba.conf"),
    ("no pg_hba.conf entry", "let this user in from this machine: a line in pg_hba.conf"),
    ("authentication failed", "check the user, and pg_hba.conf"),
    ("Ident authentication", "check the user, and pg_hba.conf"),
    ("invalid sslmode", "correct the URL: require, or verify-full with sslrootcert"),
    ("invalid integer value", "correct the URL"),
    ("invalid port number", "correct the URL"),
    ("root certificate file", "correct the URL's sslrootcert"),
    ('" does not exist', "create it, as docs/operators.md says"),
    ("permission denied", "give the user the rights that docs/operators.md names"),
    ("does not support SSL", "turn TLS on there; or accept none: sslmode=prefer"),
    ("certificate", "check sslmode and sslrootcert"),
    ("SSL", "check sslmode and sslrootcert"),
    ("read-only", "name the primary, or all servers separated by commas"),
    ("lock timeout", "another server held the lock; try again"),
    ("statement timeout", "the database is busy; try again"),
    ("too many", "raise max_connections: each ghostwire server uses two"),
    ("starting up", "it will be back in a moment"),
    ("shutting down", "it will be back when it is started again"),
    ("No space", "free some space there"),
)
OUT_OF_REACH = "is PostgreSQL running there, and does it listen on this address?"


class Link(psycopg.Connection[Any]):
    """A connection in the writer's thread that gives up after ``patience`` seconds without an answer."""

    patience = ANSWER

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for an answer; OperationalError where none comes, and the connection is closed then."""
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.patience:.0f} s") from None


def granted(link: Link, function: str) -> bool:
    """Whether that lock on using the database was to be had."""
    row = link.execute(f"SELECT {function}(%s, 1)", (LOCKS,)).fetchone()
    return row is not None and bool(row[0])


@contextmanager
def looking(link: Link, begin: str = "BEGIN") -> Iterator[None]:
    """A transaction that changes nothing: whatever it did is undone."""
    link.execute(begin)
    try:
        yield
    finally:
        if not link.closed:
            link.execute("ROLLBACK")


class Target:
    """The database that a URL names; ``where`` says so without its password."""

    def __init__(self, url: str) -> None:
        _check_signs(url)
        try:
            given = conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise StateError(f"the database's URL: {_wrong(error)}") from None
        self.parameters: dict[str, Any] = {**PARAMETERS, **{name: str(value) for name, value in given.items()}}
        self.where = _shown(given)

    def link(self) -> Link:
        """A new connection, in autocommit mode."""
        link = Link.connect(autocommit=True, **self.parameters)
        try:
            link.execute(limits(), list(LIMITS.values()))
        except BaseException:
            link.close()
            raise
        return link

    def check(self, link: psycopg.Connection[Any]) -> None:
        """StateError where the database is too old, or can't hold all texts."""
        version = link.info.server_version
        if version < OLDEST * 10_000:
            found = version // 10_000 if version >= 100_000 else f"{version // 10_000}.{version // 100 % 100}"
            raise StateError(f"{self.where}: PostgreSQL {found} is too old; upgrade it to {OLDEST} or newer")
        encoding = link.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StateError(f"{self.where}: its encoding is {encoding}; create it anew with ENCODING 'UTF8'")


def limits() -> str:
    """One statement that sets `LIMITS` for a session, given their values."""
    return "SELECT " + ", ".join(f"set_config('{name}', %s, false)" for name in LIMITS)


def explained(error: BaseException) -> str:
    """An error of the database's or of the way to it in one line, with what to do."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = _brief(lines) if lines else type(error).__name__
    whole = " ".join(lines)
    for words, advice in ADVICE:
        if words in whole:
            return f"{cause}; {advice}"
    return f"{cause}; {OUT_OF_REACH}" if isinstance(error, psycopg.OperationalError) else cause


def _brief(lines: list[str]) -> str:
    """What the database itself says where it does, without the way there."""
    fatal = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
    return fatal[0] if fatal else lines[0].removeprefix("connection failed: ")


def _check_signs(url: str) -> None:
    """StateError where libpq would take a password's end for the host or what follows, and errors would show it."""
    authority, _, rest = url.partition("://")[2].partition("/")
    if authority.count("@") > 1 or "@" in rest:
        raise StateError(
            "the database's URL: an @ too many; in a password or an option, write an @ as %40 and a / as %2F"
        )


def _wrong(error: psycopg.ProgrammingError) -> str:
    """What libpq says of a URL, where it repeats the name of an option alone: the rest may be a password."""
    said = str(error).strip()
    if "percent-encoded" in said:
        return "a % without two hex digits; in a password, write special characters as %XX, a % as %25"
    return f"{said if 'URI query parameter' in said else 'it cannot be read'}; try postgresql://user@host/database"


def _shown(given: Mapping[str, Any]) -> str:
    host, user = given.get("host") or given.get("hostaddr") or "", given.get("user")
    port = f":{given['port']}" if given.get("port") else ""
    who = f"{user}@" if user else ""
    return f"postgresql://{who}{host}{port}/{given.get('dbname', '')}"

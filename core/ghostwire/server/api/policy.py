"""Administration of the policy; there only where a policy engine is selected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.errors import Finding, NotFound, Refused
from ghostwire.frontdoor.rest import body_of, caller, json_response, route
from ghostwire.model import PolicyVersion
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.policy.explain import Question, explain
from ghostwire.server.policy.policies import MAX_SOURCE, Policies

PATH = "/api/v1/policy"
LIMIT = 3 * MAX_SOURCE + 64 * 1024
"""Bytes of a body: JSON may write a character as six, of which a policy has two at least."""


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy as written, and why it is to be."""

    source: str
    note: str = ""


class Earlier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version to go back to."""

    version: int


class PolicyRoutes(Routes):
    """A version's ``ETag`` is its number, 0 where there is none; a write names the one it replaces in ``If-Match``."""

    name = "policy"

    def __init__(self, mesh: LiveMesh, policies: Policies) -> None:
        self._mesh, self._policies = mesh, policies

    def public(self) -> Sequence[BaseRoute]:
        """None."""
        return []

    def admin(self) -> Sequence[BaseRoute]:
        """Read, write, check, test, explain, history."""
        return [
            route(PATH, self._show),
            route(PATH, self._set, "PUT"),
            route(PATH + "/check", self._check, "POST"),
            route(PATH + "/test", self._test, "POST"),
            route(PATH + "/explain", self._explain, "POST"),
            route(PATH + "/rollback", self._rollback, "POST"),
            route(PATH + "/history", self._history),
            route(PATH + "/history/{number:int}", self._version),
        ]

    async def _show(self, request: Request) -> Response:
        return _tagged(self._policies.version, self._policies.describe()["summary"])

    async def _set(self, request: Request) -> Response:
        expected = _expected(request)
        text = await body_of(request, Text, limit=LIMIT)
        author = caller(request)
        return _tagged(await self._policies.set(text.source, author, expected=expected, note=text.note))

    async def _rollback(self, request: Request) -> Response:
        number = (await body_of(request, Earlier)).version
        return _tagged(await self._policies.rollback(number, caller(request), expected=_expected(request)))

    async def _check(self, request: Request) -> Any:
        checked = await self._policies.check((await body_of(request, Text, limit=LIMIT)).source)
        return {"errors": _findings(checked.errors), "warnings": _findings(checked.warnings)}

    async def _test(self, request: Request) -> Any:
        if self._policies.version is None:
            raise NotFound("no policy is stored whose tests could be run; see: gwctl policy set")
        return {"failures": _findings(await self._policies.test()), "version": self._policies.version.id}

    async def _explain(self, request: Request) -> Any:
        return await explain(self._mesh, self._policies, await body_of(request, Question))

    async def _history(self, request: Request) -> Any:
        return {"versions": [_view(version) for version in reversed(self._policies.history())]}

    async def _version(self, request: Request) -> Any:
        found = self._policies.get(request.path_params["number"])
        return {**_view(found), "source": found.source}


def _expected(request: Request) -> int | None:
    """The version that a write replaces; None with ``?force``: whichever is in force."""
    if "force" in request.query_params:
        return None
    given = request.headers.get("if-match", "").strip().removeprefix("W/").strip('"')
    if not (given.isascii() and given.isdecimal() and len(given) < 19):
        raise Refused("say which version this replaces: If-Match with its number, 0 for none; or ?force", "usage")
    return int(given)


def _tagged(version: PolicyVersion | None, summary: str = "") -> Response:
    shown: Mapping[str, Any] = {"version": 0, "source": "", "summary": summary}
    if version is not None:
        shown = {**_view(version), "source": version.source}
    response = json_response(shown)
    response.headers["ETag"] = f'"{shown["version"]}"'
    return response


def _view(version: PolicyVersion) -> dict[str, Any]:
    return {
        "version": version.id,
        "engine": version.engine,
        "author": version.author,
        "created": version.created,
        "note": version.note,
        "size": len(version.source.encode()),
    }


def _findings(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [finding._asdict() for finding in findings]

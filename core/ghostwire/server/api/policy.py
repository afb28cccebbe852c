"""Administration of the policy; there only where a policy engine is selected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.errors import Finding, NotFound, Refused
from ghostwire.frontdoor.rest import NUMBER, Listing, Page, caller, json_response, paged, route
from ghostwire.model import PolicyVersion
from ghostwire.server.api.views import View
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.policy.explain import Question, explain
from ghostwire.server.policy.policies import MAX_SOURCE, Policies, check_note
from ghostwire.server.texts import Note, described

PATH = "/api/v1/policy"
LAST = 2**63 - 1
LIMIT = 3 * MAX_SOURCE + 64 * 1024
"""Bytes of a body: JSON may write a character as six, of which a policy has two at least."""


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy as written, and why it is to be."""

    source: Annotated[str, described("In the policy engine's language.", format="ghostwire-policy")]
    note: Note = ""


class Earlier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version to go back to."""

    version: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class VersionView(View, frozen=True):
    """A version of the policy, and its size in bytes."""

    version: int
    engine: str
    author: str
    created: int
    note: str
    size: int


class VersionText(VersionView, frozen=True):
    """A version with its text."""

    source: str


class PolicyView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The version in force; where none is stored: version 0, and what holds then."""

    version: int
    source: str
    engine: str | msgspec.UnsetType = msgspec.UNSET
    author: str | msgspec.UnsetType = msgspec.UNSET
    created: int | msgspec.UnsetType = msgspec.UNSET
    note: str | msgspec.UnsetType = msgspec.UNSET
    size: int | msgspec.UnsetType = msgspec.UNSET
    summary: str | msgspec.UnsetType = msgspec.UNSET


class VersionsView(Listing, frozen=True, kw_only=True):
    """Versions, the newest first."""

    versions: tuple[VersionView, ...]


class FindingView(View, frozen=True):
    """What is wrong, or doubtful; both numbers count from 1, 0 where no place is known."""

    line: int
    column: int
    message: str


class CheckedView(View, frozen=True):
    """What would keep a text from being stored, and what is doubtful about it."""

    errors: tuple[FindingView, ...]
    warnings: tuple[FindingView, ...]


class TestedView(View, frozen=True):
    """Which of the tests of the version in force fail."""

    failures: tuple[FindingView, ...]
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
        return [*self._changing(), *self._asking()]

    def _changing(self) -> Sequence[BaseRoute]:
        text, must = VersionText, {"guarded": True, "must": True, "older": ("force",), "errors": (409, 422)}
        put: dict[str, Any] = {"body": Text, "limit": LIMIT, **must}
        back: dict[str, Any] = {"body": Earlier, **must, "errors": (404, 409, 422)}
        return [
            route(PATH, self._show, summary="Show policy", answer=PolicyView),
            route(PATH, self._set, "PUT", summary="Set policy", answer=text, **put),
            route(PATH + "/rollback", self._rollback, "POST", summary="Roll back policy", answer=text, **back),
        ]

    def _asking(self) -> Sequence[BaseRoute]:
        checked: dict[str, Any] = {"body": Text, "limit": LIMIT, "answer": CheckedView}
        many: dict[str, Any] = {"query": Page, "answer": VersionsView, "ids": "/versions/0/version"}
        version: dict[str, Any] = {"answer": VersionText, "paths": {"number": NUMBER}}
        why: dict[str, Any] = {"body": Question, "safe": True, "errors": (404,)}
        return [
            route(PATH + "/check", self._check, "POST", summary="Check policy", safe=True, **checked),
            route(
                PATH + "/test", self._test, "POST", summary="Test policy", safe=True, answer=TestedView, errors=(404,)
            ),
            route(PATH + "/explain", self._explain, "POST", summary="Explain policy", **why),
            route(PATH + "/history", self._history, summary="List policy versions", **many),
            route(PATH + "/history/{number}", self._version, summary="Show policy version", **version),
        ]

    async def _show(self, request: Request) -> Response:
        return _tagged(self._policies.version, self._policies.describe()["summary"])

    async def _set(self, request: Request, text: Text) -> Response:
        expected, author = _expected(request), caller(request)
        return _tagged(await self._policies.set(text.source, author, expected=expected, note=text.note))

    async def _rollback(self, request: Request, earlier: Earlier) -> Response:
        expected, author = _expected(request), caller(request)
        return _tagged(await self._policies.rollback(earlier.version, author, expected=expected))

    async def _check(self, request: Request, text: Text) -> Any:
        check_note(text.note)
        checked = await self._policies.check(text.source)
        return CheckedView(errors=_findings(checked.errors), warnings=_findings(checked.warnings))

    async def _test(self, request: Request) -> Any:
        if self._policies.version is None:
            raise NotFound("no policy is stored whose tests could be run; see: gwctl policy set")
        return TestedView(failures=_findings(await self._policies.test()), version=self._policies.version.id)

    async def _explain(self, request: Request, question: Question) -> Any:
        return await explain(self._mesh, self._policies, question)

    async def _history(self, request: Request, page: Page) -> Any:
        held = list(reversed(self._policies.history()))
        begin = page.after and -page.after
        versions, after = paged(held, Page(page.limit, begin or -LAST), lambda version: -version.id)
        shown = tuple(VersionView(**_view(version)) for version in versions)
        return VersionsView(versions=shown, next=after if after is msgspec.UNSET else -after)

    async def _version(self, request: Request) -> Any:
        return _text(self._policies.get(request.path_params["number"]))


def _expected(request: Request) -> int | None:
    """The version that a write replaces; None with ``*``, or ``?force`` of earlier releases: whichever is in force."""
    given = request.headers.get("if-match", "").strip().removeprefix("W/").strip('"')
    if given == "*" or "force" in request.query_params:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 19):
        how = "If-Match (gRPC: replaces) with its number, 0 for none; * (gRPC: force) for any"
        raise Refused(f"say which version this replaces: {how}", "usage")
    return int(given)


def _tagged(version: PolicyVersion | None, summary: str = "") -> Response:
    none = PolicyView(version=0, source="", summary=summary)
    shown = none if version is None else _text(version)
    response = json_response(shown)
    response.headers["ETag"] = f'"{shown.version}"'
    return response


def _text(version: PolicyVersion) -> VersionText:
    return VersionText(**_view(version), source=version.source)


def _view(version: PolicyVersion) -> dict[str, Any]:
    return {
        "version": version.id,
        "engine": version.engine,
        "author": version.author,
        "created": version.created,
        "note": version.note,
        "size": len(version.source.encode()),
    }


def _findings(findings: Iterable[Finding]) -> tuple[FindingView, ...]:
    return tuple(FindingView(line=each.line, column=each.column, message=each.message) for each in findings)

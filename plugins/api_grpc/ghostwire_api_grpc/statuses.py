"""Errors as gRPC has them: a status and one line, with our own code and the time to wait in the trailing metadata."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from ghostwire.errors import GhostwireError, RemoteProtocolError
from ghostwire.wire import api_errors
from ghostwire.wire.messages import Refused

CODE, RETRY_AFTER = "ghostwire-code", "retry-after"

_STATUS = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    409: Code.ALREADY_EXISTS,
    412: Code.ABORTED,
    413: Code.RESOURCE_EXHAUSTED,
    422: Code.INVALID_ARGUMENT,
    428: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    503: Code.UNAVAILABLE,
}
_STATUS_OF_CODE = {"stale": Code.ABORTED}
"""Of errors whose HTTP status stands for several things."""
_REFUSED = {
    "authentication-failed": Code.UNAUTHENTICATED,
    "conflict": Code.ALREADY_EXISTS,
    "busy": Code.UNAVAILABLE,
    "replaced": Code.ABORTED,
}

_log = logging.getLogger("ghostwire.plugin.api_grpc")


class Failure(Exception):
    """A call that is not answered; ``code`` is ours, ``retry_after`` in seconds."""

    def __init__(self, status: Code, message: str, code: str = "", retry_after: int | str = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after

    @classmethod
    def of_refusal(cls, refused: Refused) -> Failure:
        """As the control plane words it."""
        status = _REFUSED.get(refused.code, Code.FAILED_PRECONDITION)
        return cls(status, refused.message, refused.code, refused.retry_after)

    @classmethod
    def of_answer(cls, status: int, body: Any, retry_after: str) -> Failure:
        """As the REST API words it."""
        error = body.get("error", {}) if isinstance(body, dict) else {}
        message = str(error.get("message", f"refused with status {status}"))
        code = str(error.get("code", ""))
        return cls(_STATUS_OF_CODE.get(code) or _STATUS.get(status, Code.INTERNAL), message, code, retry_after)

    @classmethod
    def of_error(cls, error: GhostwireError) -> Failure:
        """Of an error of ours."""
        if isinstance(error, RemoteProtocolError):
            return cls(Code.INVALID_ARGUMENT, str(error), "malformed")
        status, body = api_errors.encode(error)
        return cls.of_answer(status, body, str(getattr(error, "retry_after", 0)))


@contextmanager
def worded(context: Any) -> Iterator[None]:
    """What is raised within becomes an answer; a bug is logged, and told as no more than that."""
    try:
        yield
    except ConnectError:
        raise
    except (Failure, GhostwireError) as error:
        raise _answer(context, error if isinstance(error, Failure) else Failure.of_error(error)) from None
    except Exception:
        _log.exception("a call failed: internal error")
        raise ConnectError(Code.INTERNAL, "internal error; see the server's log") from None


def _answer(context: Any, failure: Failure) -> ConnectError:
    if failure.code:
        context.response_trailers[CODE] = failure.code
    if failure.retry_after not in (0, "0", ""):
        context.response_trailers[RETRY_AFTER] = str(failure.retry_after)
    return ConnectError(failure.status, str(failure))

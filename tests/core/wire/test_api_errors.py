"""Errors between daemon or server and gwctl: what one side raised, the other raises."""

import pytest

from ghostwire import errors
from ghostwire.wire import api_errors


@pytest.mark.parametrize(
    "error",
    [
        errors.UsageError("no such option"),
        errors.ConfigError("expected text", file="gw.toml", line=3, key="node.mtu"),
        errors.AuthenticationFailed("this key is revoked"),
        errors.PermissionDenied("run as root"),
        errors.NotFound("no such node"),
        errors.Conflict("the name is taken"),
        errors.Refused("bring a join token", "login-required"),
        api_errors.TooLarge("a large body"),
        errors.Unavailable("nobody answers"),
        errors.PlatformError("no TUN"),
        errors.PolicyError([errors.Finding(3, 7, "unknown group")]),
        errors.PluginError("net_linux", "no TUN: load it"),
        errors.PluginError("", "no plugin offers a platform"),
        errors.StateError("the disk is full"),
        errors.GhostwireError("whatever else"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_as_what_it_was(error: errors.GhostwireError) -> None:
    arrived = api_errors.decode(*api_errors.encode(error))
    assert (str(arrived), arrived.exit_code) == (str(error), error.exit_code)
    assert getattr(arrived, "code", "") == getattr(error, "code", "")
    assert getattr(arrived, "plugin", "") == getattr(error, "plugin", "")
    assert getattr(arrived, "findings", ()) == getattr(error, "findings", ())
    assert type(arrived) is type(error)


def test_a_wrong_policys_findings_arrive_all_and_whole() -> None:
    error = errors.PolicyError([errors.Finding(line, 2, f"wrong: {line}") for line in range(1, 20)])
    assert api_errors.decode(*api_errors.encode(error)).findings == error.findings  # type: ignore[attr-defined]


@pytest.mark.parametrize("findings", [None, 7, [], [7], [{"line": 3}]], ids=repr)
def test_a_wrong_policy_without_findings_has_its_message(findings: object) -> None:
    body = {"error": {"code": "policy", "message": "it is wrong", "findings": findings}}
    arrived = api_errors.decode(422, body)
    assert isinstance(arrived, errors.PolicyError)
    assert [finding.message for finding in arrived.findings] == ["it is wrong"]


@pytest.mark.parametrize("body", [None, [], {}, {"error": "no"}, {"error": {"code": 7}}])
def test_an_answer_of_another_shape_is_an_error_by_its_status(body: object) -> None:
    assert type(api_errors.decode(404, body)) is errors.NotFound
    assert type(api_errors.decode(418, body)) is errors.Refused
    assert type(api_errors.decode(502, body)) is errors.GhostwireError

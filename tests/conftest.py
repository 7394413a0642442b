"""Configuration of pytest and Hypothesis for all tests, and the list of permitted skips."""

import fnmatch
import os
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

# Test machines are shared, so the duration of one example means nothing.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# Debian's PATH of a normal user lacks the folder of daemons, tpm2-abrmd for one.
os.environ["PATH"] = ":".join(dict.fromkeys([*os.environ.get("PATH", os.defpath).split(":"), "/usr/sbin", "/sbin"]))


@dataclass(frozen=True)
class Skip:
    """A permitted skip: which tests, for which reason, under which condition; both are shell patterns."""

    tests: str
    reason: str
    allowed: bool


_NOT_ROOT: Final = os.geteuid() != 0
_ONLY_ROOT: Final = (
    *("tests/e2e/*", "tests/broker/*", "tests/frontend/*", "tests/kim/*", "tests/runtime/*"),
    *("tests/providers/pkcs11/*", "tests/providers/tpm/*", "tests/client/*"),
)
SKIPS: Final = (
    *(Skip(tests, reason, _NOT_ROOT) for tests in _ONLY_ROOT for reason in ("only root *", "needs root*")),
    Skip("tests/documentation/test_howtos.py::*", "only root *", _NOT_ROOT),
    Skip("tests/broker/test_deployment.py::*", "groups belong to uids of their own", _NOT_ROOT),
    # The library comes from another distribution, or the tokens have other versions than the page documents.
    Skip("tests/providers/pkcs11/test_mechanisms.py::*", "not in this build of the library", allowed=True),
    Skip("tests/documentation/test_reference.py::*", "docs/reference/tokens.md is about *", allowed=True),
)
"""All permitted skips. A test that is skipped for any other reason fails the run, whatever its markers say."""

_unexpected: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record a test that was skipped without permission."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = text.removeprefix("Skipped: ")
    if not may_skip(report.nodeid, reason):
        _unexpected.append(f"{report.nodeid}: {reason}")


def may_skip(test: str, reason: str) -> bool:
    """Return whether a test may be skipped for a reason."""
    return any(
        skip.allowed and fnmatch.fnmatchcase(test, skip.tests) and fnmatch.fnmatchcase(reason, skip.reason)
        for skip in SKIPS
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if tests were skipped without permission."""
    if _unexpected and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests that were skipped without permission."""
    if _unexpected:
        terminalreporter.section("skipped without permission, see tests/conftest.py")
        for line in _unexpected:
            terminalreporter.line(line)

"""Fixtures of the tests that go through the real socket and real processes."""

from collections.abc import Generator, Iterator

import pytest
from tests.harness.service import Service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One service for the tests of a module, with the usual configuration."""
    with Service() as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the log of the service to the report of every failed test."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Service):
                report.sections.append(("log of the service", value.log()))
    return report

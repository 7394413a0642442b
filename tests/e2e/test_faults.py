"""What is wrong at a start is named by exactly one error line, and what has nothing to do with it is served.

The rows are in tests/harness/faults/rows.py. Faults of different providers share a start, as do settings that the
reader refuses.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Final

import pytest
from tests.harness.faults import rows
from tests.harness.faults.make import at
from tests.harness.faults.rows import Fault
from tests.harness.faults.site import AS_ROOT, Line, Site
from tests.harness.pkcs11.token import Token, softhsm
from tests.harness.tpm.shim import Shim
from tests.harness.tpm.swtpm import Swtpm

from cofferdam_client import Client

PROVIDERS: Final = dict(zip(rows.PROVIDERS, (1, 2, 3), strict=True))
_BARE: Final = {os.strerror(number) for number in range(1, 134)}
"""What an errno says without a path and without a remedy."""
_SHOWN: Final = (
    re.compile(r"\[Errno"),
    re.compile(r"\b[A-Z]\w+(Error|Exception)\b"),
    re.compile(r"CKR_\w+(?! \()(?!\w)"),
    re.compile(r"TPM_RC_\w+ \([^)]*\)(?!; )"),
)
"""Errors of Python, and codes of modules and TPMs without their meaning."""


def makeable(faults: Sequence[Fault]) -> list[Fault]:
    return [fault for fault in faults if AS_ROOT or not fault.root]


def together(*lists: Sequence[Fault]) -> list[tuple[Fault, ...]]:
    """Return one fault of each list at a time."""
    return [tuple(filter(None, faults)) for faults in zip_longest(*map(makeable, lists))]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    return softhsm(tmp_path_factory.mktemp("token"))


@pytest.fixture(scope="module")
def shim() -> Iterator[Shim]:
    with Swtpm() as swtpm, Shim(swtpm.address) as running:
        yield running


@contextmanager
def started(token: Token, shim: Shim, faults: Sequence[Fault]) -> Iterator[Site]:
    """Yield a site with these faults once it has said what it has to say."""
    site = Site(token, shim)
    try:
        for fault in faults:
            fault.make(site)
        site.start()
        site.wait(lambda lines: all(told(site, lines, fault) for fault in faults))
        yield site
    finally:
        site.close()


def told(site: Site, lines: Sequence[Line], fault: Fault) -> set[tuple[str, str]]:
    """Return the different error lines about a fault; a worker that is started again repeats its own."""
    words = [at(site, word) for word in fault.words]
    return {
        (line.event, str({name: value for name, value in line.values.items() if name not in {"pid", "next_try_s"}}))
        for line in lines
        if line.level == "error" and line.component == fault.by and all(word in line.plain() for word in words)
    }


def check(site: Site, faults: Sequence[Fault]) -> None:
    """Check that each fault has its line, and that all lines are fit for an operator."""
    lines = site.lines()
    assert {fault.name: len(told(site, lines, fault)) for fault in faults} == {fault.name: 1 for fault in faults}, (
        "\n".join(line.text for line in lines)
    )
    assert [line.text for line in lines if not line.level] == []
    assert [line.text for line in lines if any(shown.search(line.text) for shown in _SHOWN)] == []
    assert [line.text for line in lines if _BARE & {line.event, *line.values.values()}] == []


@pytest.mark.parametrize(
    "faults",
    [*((fault,) for fault in makeable(rows.FILES)), rows.SETTINGS, rows.RULES],
    ids=lambda faults: faults[0].name,
)
def test_a_configuration_is_refused(token: Token, shim: Shim, faults: Sequence[Fault]) -> None:
    with started(token, shim, faults) as site:
        check(site, faults)
        expected = os.EX_CONFIG if faults[0].by == rows.CONFIG else 1
        assert site.ended() == expected


@pytest.mark.parametrize("fault", makeable(rows.FATAL), ids=lambda fault: fault.name)
def test_the_service_ends(token: Token, shim: Shim, fault: Fault) -> None:
    with started(token, shim, (fault,)) as site:
        check(site, (fault,))
        assert site.ended() == 1


@pytest.mark.parametrize(
    "faults",
    together(rows.OF_SOFTWARE, rows.OF_PKCS11, rows.OF_TPM),
    ids=lambda faults: ", ".join(fault.name for fault in faults),
)
def test_a_provider_is_down_and_the_others_are_served(token: Token, shim: Shim, faults: Sequence[Fault]) -> None:
    with started(token, shim, faults) as site:
        check(site, faults)
        assert site.ended() is None
        down = {next(worker for worker in PROVIDERS if worker in (fault.by, *fault.words)) for fault in faults}
        for worker in PROVIDERS.keys() - down:
            with Client(site.service.endpoint, provider=PROVIDERS[worker]) as client:
                assert len(client.generate_random(8)) == 8
        with Client(site.service.endpoint) as client:
            assert len(client.list_providers()) == 1 + len(PROVIDERS)


def test_there_are_enough_of_them() -> None:
    faults = [
        *rows.FILES,
        *rows.SETTINGS,
        *rows.RULES,
        *rows.FATAL,
        *rows.OF_SOFTWARE,
        *rows.OF_PKCS11,
        *rows.OF_TPM,
    ]
    assert len({(fault.by, fault.name) for fault in faults}) == len(faults) >= 40

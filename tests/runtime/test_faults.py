"""What a process says that ends by an error that nobody catches: one line, with the remedy where there is one."""

import errno
import os
import subprocess
import sys

import pytest
from tests.harness.interpreter import CHECKOUT

from cofferdam_runtime.faults import explain

_PROGRAM = """
import sys
sys.path[:0] = {paths!r}
from cofferdam_runtime.faults import log_what_nobody_catches
log_what_nobody_catches("kim")
{end}
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("bytearray(1 << 62)", 'event="the process cannot go on" cause="no memory is left; raise MemoryMax='),
        ('raise RuntimeError("can\'t start new thread")', "no thread can be started"),
        ("raise OSError(24, 'Too many open files')", "raise LimitNOFILE= of the unit"),
        ("raise KeyError('a secret')", 'event="an unexpected error; please report it" kind=KeyError place='),
    ],
)
def test_the_last_line_says_what_has_run_out_and_no_secret(end: str, said: str) -> None:
    paths = [str(CHECKOUT / "contracts"), str(CHECKOUT / "runtime")]
    words = [sys.executable, "-c", _PROGRAM.format(paths=paths, end=end)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    (line,) = ended.stderr.splitlines()
    assert said in line
    assert "secret" not in line
    assert ended.returncode == 1


@pytest.mark.parametrize(
    ("number", "path", "found", "remedy"),
    [
        (
            errno.ENOENT,
            "/dev/none",
            "found nothing at /dev/none",
            "plug it in, allow it in the unit (PrivateDevices=no, ",
        ),
        (errno.ENOENT, "/etc/none", "found nothing at /etc/none", "make it, or correct provider.tcti"),
        (errno.EPERM, "/dev/null", "which the unit or the container withholds", "DeviceAllow= with the device)"),
        (errno.EPERM, "/etc/passwd", "may not use", "change its owner or mode, or correct provider.tcti"),
        (errno.EPERM, "/dev/none", "may not use", "change its owner or mode, or correct provider.tcti"),
    ],
)
def test_a_device_is_not_made_and_its_mode_is_not_to_blame(number: int, path: str, found: str, remedy: str) -> None:
    """A unit hides devices (ENOENT), or has a control group that withholds them whatever their mode is (EPERM)."""
    said = explain(OSError(number, os.strerror(number)), path, "a TPM", "provider.tcti")
    before, _, after = said.partition("; ")
    assert found in before
    assert remedy in after

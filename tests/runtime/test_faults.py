"""What a process says that ends by an error that nobody catches: one line, with the remedy where there is one."""

import subprocess
import sys

import pytest
from tests.harness.interpreter import CHECKOUT

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

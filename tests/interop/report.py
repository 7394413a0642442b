"""Checks that are counted: one line each, and the sum at the end."""

import contextlib
import time
import traceback
from collections.abc import Iterator


class Report:
    """What passed and what failed so far."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    @contextlib.contextmanager
    def check(self, name: str) -> Iterator[None]:
        """Count what happens within as one check; what it raises is shown and goes no further."""
        started = time.monotonic()
        try:
            yield
        except Exception:  # noqa: BLE001  a failed check must not keep the next ones from running
            self.failed += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
        else:
            self.passed += 1
            print(f"ok      {name} ({time.monotonic() - started:.1f} s)", flush=True)

    def count(self, *, passed: bool, text: str) -> None:
        """Count a check that somebody else made."""
        self.passed += passed
        self.failed += not passed
        print(f"{'ok     ' if passed else 'FAILED '} {text}", flush=True)

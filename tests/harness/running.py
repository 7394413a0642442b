"""Things that run for the length of a `with`, and end with it whatever happens."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self


@contextmanager
def started(
    words: Sequence[str | os.PathLike[str]],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program, which is killed in the end if it still runs."""
    with subprocess.Popen(words, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


class Running:
    """The base of everything that has a `start` and a `close`; it is closed even if the start fails."""

    def start(self) -> None:
        """Start it."""
        raise NotImplementedError

    def close(self) -> None:
        """End all of its processes."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

"""Things that run between `start` and `close`, as context managers that are closed even if the start fails."""

from types import TracebackType
from typing import Self


class Running:
    """The base of everything that can be started and closed."""

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

"""What runs between `start` and `close`: within a `with` statement, and closed also when the start fails."""

from types import TracebackType
from typing import Self


class Running:
    """The base of what can be started and closed."""

    def start(self) -> None:
        """Start it."""
        raise NotImplementedError

    def close(self) -> None:
        """End whatever runs of it."""
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

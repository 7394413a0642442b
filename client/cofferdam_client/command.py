"""The `cofferdam` command: `serve` at once, everything else with the library behind it."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 1 failed, and 2 for a wrong command line."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["serve"]:
        from cofferdam_client.serve import main as serve  # noqa: PLC0415  nothing else is needed before the broker runs

        return serve(words[1:])
    from cofferdam_client.cli import main as run  # noqa: PLC0415

    return run(words)

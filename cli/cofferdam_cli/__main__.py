"""The `cofferdam` command. `serve` loads neither the client library nor the other subcommands."""

import sys


def main() -> int:
    """Run the command line; return the exit status: 0 done, 1 failed, 2 wrong usage."""
    words = sys.argv[1:]
    if words[:1] == ["serve"]:
        from cofferdam_cli.serve import main as serve  # noqa: PLC0415  the broker starts sooner

        return serve(words[1:])
    from cofferdam_cli.modules import become, module_of  # noqa: PLC0415

    if found := module_of(words):
        become(*found)
    from cofferdam_cli.cli import main as run  # noqa: PLC0415

    return run(words)


if __name__ == "__main__":
    sys.exit(main())

"""All subcommands of `cofferdam`: their options, how they run, and how they fail.

The client's subcommands, their options and their output follow parsec-tool.
"""

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Final

from cofferdam_cli.commands import COMMANDS, CURVES, CommandError, Output, with_place
from cofferdam_cli.reload import ReloadError, reload
from cofferdam_cli.serve import add_options, check, serve
from cofferdam_cli.status import DEFAULT_SOCKET, DOWN, StatusError, fetch, parse, socket_of, table
from cofferdam_cli.text import explain, printable
from cofferdam_client.authentication import FirstUsable
from cofferdam_client.client import Client
from cofferdam_client.errors import ClientError, ConnectionFailedError, ServiceStatusError

APPLICATION: Final = "parsec-tool"
"""The application name for Direct authentication. It is parsec-tool's, so both programs see the same keys."""
_TIMEOUT: Final = 60.0
_MAX_DIGITS: Final = 9
"""No number on the command line needs more."""
_INTERRUPTED: Final = 130
"""The status that a shell reports for a program that SIGINT ended."""
_FAILURES: Final = (
    *(ClientError, CommandError, StatusError, ReloadError),
    *(ValueError, OSError),
)
_MAY_HAVE_RUN: Final = "; the service may have carried out the request"

Subparsers = argparse._SubParsersAction  # noqa: SLF001  the type of add_subparsers() has no public name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 1 failed, 2 wrong usage, 3 done and a provider is down."""
    options = parser().parse_args(arguments)
    try:
        output = _run(options)
        write(output)
    except BrokenPipeError:
        # The reader closed the pipe. The interpreter must not try to write the rest when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except _FAILURES as error:
        sys.stderr.write(printable(f"cofferdam: {_asked(options)}: {_reason(error)}") + "\n")
        return 1
    return output.exit_status


def _asked(options: argparse.Namespace) -> str:
    key = getattr(options, "key_name", None)
    return str(options.command) if key is None else f"{options.command} {key!r}"


def _reason(error: Exception) -> str:
    match error:
        case ServiceStatusError():
            return explain(error.status)
        case ConnectionFailedError(may_have_run=True):
            return f"{error}{_MAY_HAVE_RUN}"
        case UnicodeEncodeError():
            return "names must be UTF-8"
        case OSError(filename=str(name)):
            return f"{name}: {error.strerror}"
        case _:
            return str(error)


def write(output: Output) -> None:
    """Write the note to stderr, then the result to stdout, text as UTF-8."""
    if output.note:
        sys.stderr.write(output.note + "\n")
    result = output.result if isinstance(output.result, bytes) else output.result.encode()
    sys.stdout.flush()
    sys.stdout.buffer.write(result)
    sys.stdout.buffer.flush()


def _run(options: argparse.Namespace) -> Output:
    if options.command == "serve":
        serve(options.config)
    if options.command == "check":
        check(options.config, *(word for word in ("devices", "login") if getattr(options, word)))
    if options.command == "status":
        document = fetch(_status_socket(options)).document
        status = parse(document)
        shown = document.rstrip() + b"\n" if options.json else table(status)
        return Output(shown, exit_status=0 if status.is_well else DOWN)
    if options.command == "reload":
        text, exit_status = reload(_status_socket(options), options.config)
        return Output("\n".join(map(printable, text.split("\n"))), exit_status=exit_status)
    timeout = _TIMEOUT if options.timeout is None else options.timeout or None
    with Client(provider=options.provider, auth=FirstUsable(APPLICATION), timeout=timeout) as client:
        try:
            return COMMANDS[options.command](client, options)
        except ServiceStatusError as error:
            raise with_place(client, getattr(options, "key_name", None), error) from error


def _status_socket(options: argparse.Namespace) -> str:
    return str(options.socket or (socket_of(options.config) if options.config else DEFAULT_SOCKET))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="cofferdam",
        description="Start a service that keeps a machine's keys, or use it or any other Parsec service.",
        epilog="PARSEC_SERVICE_ENDPOINT names the service to use; the default is unix:/run/parsec/parsec.sock.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"cofferdam {_version()}")
    _add_client_options(top, None)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_service_commands(commands)
    _add_client_commands(commands)
    return top


def _version() -> str:
    try:
        return importlib.metadata.version("cofferdam")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _add_client_options(target: argparse.ArgumentParser, default: str | None) -> None:
    """Add the options of all client commands, which are accepted both before and after the command."""
    target.add_argument(
        "-p", "--provider", type=_provider, default=default, metavar="ID", help="number of the provider (the first)"
    )
    target.add_argument(
        "-t",
        "--timeout",
        type=_seconds,
        default=default,
        metavar="SECONDS",
        help=f"how long a request may take, 0 for no limit ({_TIMEOUT:g})",
    )


def _add_service_commands(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    start = commands.add_parser("serve", help="start the service in the foreground", allow_abbrev=False)
    add_options(start)
    _add_check(commands)
    # `cofferdam_cli.__main__` hands the words of these two to their own programs; this is for the overview.
    text = "refuse tokens before they end by themselves, see `cofferdam revoke --help`"
    commands.add_parser("revoke", help=text, allow_abbrev=False)
    store = commands.add_parser("store", help="convert a stopped service's key store", allow_abbrev=False)
    store.add_argument("action", choices=["convert"], help="see `cofferdam store convert --help`")
    status = commands.add_parser("status", help="show providers and processes of the service", allow_abbrev=False)
    status.add_argument("--json", action="store_true", help="print the JSON document of the service")
    text = "have the service read its configuration again, and wait for the result"
    for command in (status, commands.add_parser("reload", help=text, description=text, allow_abbrev=False)):
        where = command.add_mutually_exclusive_group()
        where.add_argument("-c", "--config", metavar="PATH", help="the configuration file of the service")
        where.add_argument("--socket", metavar="PATH", help=f"the status socket ({DEFAULT_SOCKET})")


def _add_check(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    tried = commands.add_parser(
        "check",
        help="check the configuration of the service, and its devices",
        description="Say what the service would say about its configuration; start and change nothing.",
        epilog="Exit status: 0 all can be used; 1 a provider lacks something; 3 a provider was tried and cannot be "
        "used, or that remains unknown; 78 the configuration cannot be used.",
        allow_abbrev=False,
    )
    add_options(tried)
    tried.add_argument(
        "--devices",
        action="store_true",
        help="also open modules, tokens and TPMs as the providers do, as confined as they are, beside the service or "
        "without it; a PIN is tried once, and not at all if the token says that few tries may be left",
    )
    tried.add_argument(
        "--login",
        action="store_true",
        help="with --devices: try the PIN also then, and before the service has ever run; never the token's last try",
    )


def _add_client_commands(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    added = {}
    for name, command in COMMANDS.items():
        text = (command.__doc__ or "").rstrip(".")
        added[name] = commands.add_parser(name, help=text[:1].lower() + text[1:], description=text, allow_abbrev=False)
        _add_client_options(added[name], argparse.SUPPRESS)
    for name in _WITH_KEY:
        added[name].add_argument("-k", "--key-name", required=True, metavar="NAME", help="name of the key")
    for name, what in _WITH_INPUT.items():
        source = added[name].add_mutually_exclusive_group(required=True)
        source.add_argument("input_data", nargs="?", metavar="TEXT", help=what)
        source.add_argument("--file", metavar="PATH", help=f"the file with {what}, - for stdin")
    for name in ("create-rsa-key", "import"):
        _add_rsa_options(added[name])
    added["create-rsa-key"].add_argument(
        "-b", "--bits", type=_count, default=2048, metavar="BITS", help="size of the key (%(default)s)"
    )
    added["create-ecc-key"].add_argument("--curve", choices=CURVES, default="p-256", help="the curve (%(default)s)")
    added["import"].add_argument("--file", required=True, metavar="PATH", help="the key in PEM or DER, - for stdin")
    added["export-public-key"].add_argument("--pkcs1", action="store_true", help="as PKCS#1, for RSA keys")
    added["verify"].add_argument("--signature", required=True, metavar="BASE64", help="the signature")
    added["generate-random"].add_argument(
        "-n", "--nbytes", type=_count, required=True, metavar="N", help="how many bytes"
    )
    added["delete-client"].add_argument("-c", "--client", required=True, metavar="NAME", help="name of the client")


_WITH_KEY: Final = (
    "create-rsa-key",
    "create-ecc-key",
    "import",
    "delete-key",
    "export-public-key",
    "sign",
    "verify",
    "encrypt",
    "decrypt",
)
_WITH_INPUT: Final = {
    "sign": "the text to sign",
    "verify": "the text that was signed",
    "encrypt": "the text to encrypt",
    "decrypt": "the ciphertext in base64",
}


def _add_rsa_options(target: argparse.ArgumentParser) -> None:
    target.add_argument("-s", "--for-signing", action="store_true", help="RSA: sign by PKCS#1 v1.5 with SHA-256")
    target.add_argument("-r", "--for-signing-pss", action="store_true", help="RSA: sign by PSS with SHA-256")
    target.add_argument("-o", "--oaep", action="store_true", help="RSA: encrypt by OAEP with SHA-256")


def _provider(text: str) -> int:
    number = _count(text)
    if number > 255:  # noqa: PLR2004  one byte in the header
        raise argparse.ArgumentTypeError("the number of a provider is from 0 to 255")
    return number


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:  # noqa: PLR2004  thirty years; NaN fails as well
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds

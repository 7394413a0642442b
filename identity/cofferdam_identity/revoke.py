"""`cofferdam revoke`: adds a revocation to the file that the identity process watches, or shows what it has."""

import argparse
import datetime as dt
import fcntl
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

from cofferdam_identity.revocations import AUTHENTICATORS, Revocation, RevocationError, add, parse
from cofferdam_identity.tokens import token_hash

FILE: Final = "/var/lib/parsec/identity/revocations.toml"
"""The default of `identity.revocations`."""
_HASH: Final = re.compile("[0-9a-f]{64}")
_FOLDER_MODE: Final = 0o755
_FILE_MODE: Final = 0o644
"""The identity process reads it under its own uid; what is revoked is no secret."""


def main(words: Sequence[str] | None = None) -> int:
    """Revoke tokens; return the exit status: 0 done, 1 failed, 2 wrong usage."""
    options = _parser().parse_args(words)
    try:
        if options.list:
            before = parse(_read(options.file), options.file)
            sys.stdout.write("".join(f"{_shown(entry)}\n" for entry in before.entries))
            return 0
        entry = _wanted(options)
        _add(options.file, entry)
    except (RevocationError, OSError, ValueError) as error:
        sys.stderr.write(f"cofferdam: revoke: {error}\n")
        return 1
    sys.stdout.write(
        f"Revoked: {_shown(entry)}. It is in {options.file}, "
        "which a running service reads within a second, and logs that.\n"
    )
    return 0


def _wanted(options: argparse.Namespace) -> Revocation:
    target, value = next(
        (name, getattr(options, name)) for name in ("token", "subject", "key", "issuer") if getattr(options, name)
    )
    if target == "token":
        value = value if _HASH.fullmatch(value) else _hash_of_file(value)
    if options.before is not None and target != "subject":
        raise ValueError("--before goes with --subject only")
    return Revocation(
        target=target,
        value=value,
        not_before=options.before,
        authenticator=options.authenticator,
        reason=options.reason,
        at=dt.datetime.now(dt.UTC).replace(microsecond=0),
    )


def _hash_of_file(path: str) -> str:
    with open(path, "rb") as file:
        return token_hash(file.read().strip())


def _time(text: str) -> dt.datetime:
    if text == "now":
        # Tokens say the second in which they were issued; those of this one are meant, too.
        return dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=1)
    time = dt.datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without its zone")
    return time


def _shown(entry: Revocation) -> str:
    before = f" issued before {entry.not_before.isoformat()}" if entry.not_before else ""
    by = f" of {entry.authenticator}" if entry.authenticator else ""
    why = f" ({entry.reason})" if entry.reason else ""
    return f"{entry.target} {entry.value}{by}{before}{why}"


def _add(path: str, entry: Revocation) -> None:
    """Add an entry, with whoever else revokes at this time waiting."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        os.mkdir(folder)
        os.chmod(folder, _FOLDER_MODE)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _write(path, folder, add(_read(path), entry, path))
        os.fsync(lock)
    finally:
        os.close(lock)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _write(path: str, folder: str, content: bytes) -> None:
    """Replace the file as a whole, so that nobody sees half of it."""
    descriptor, fresh = tempfile.mkstemp(dir=folder, prefix=".revocations-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), _FILE_MODE)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        os.unlink(fresh)
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cofferdam revoke",
        description="Refuse tokens before they end by themselves.",
        epilog="To take a revocation back, remove its entry from the file.",
        allow_abbrev=False,
    )
    parser.add_argument("--file", default=FILE, help="`identity.revocations` of the configuration (%(default)s)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--token", help="one token: the `token=` of a line in the log, or a file that holds the token")
    what.add_argument("--subject", help="all tokens of an application: its SPIFFE ID, or its name")
    what.add_argument("--key", help="all tokens that a key has signed: its `kid`, or its thumbprint")
    what.add_argument("--issuer", help="all tokens of an issuer, or of a trust domain")
    what.add_argument("--list", action="store_true", help="show what is revoked, and change nothing")
    parser.add_argument("--authenticator", choices=sorted(AUTHENTICATORS), help="only its tokens (those of all)")
    parser.add_argument(
        "--before", type=_time, metavar="TIME", help="with --subject: only tokens issued before; `now`, or ISO 8601"
    )
    parser.add_argument("--reason", help="why, for the log and for whoever reads the file")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""A SoftHSM token in a folder of its own, and a look at a token from outside the service.

    token = softhsm(folder)
    environment = {**os.environ, **token.environment}

SoftHSM crashes at the end of processes that loaded it. It is never loaded into the process that runs the tests.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

PIN: Final = "1234"
SO_PIN: Final = "87654321"
LOOK: Final = Path(__file__).with_name("look.py")
_FOLDERS: Final = (
    "/usr/lib/softhsm",
    "/usr/lib/{machine}-linux-gnu/softhsm",
    "/usr/lib64/pkcs11",
    "/usr/lib64/softhsm",
    "/usr/local/lib/softhsm",
)
_TIMEOUT_S: Final = 30.0
_TRIES: Final = 20
"""Looks at a token that changes meanwhile."""


class ModuleMissingError(Exception):
    """Raised when a module that the tests need is not installed; `./dev setup` installs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An initialised token, and how to reach it."""

    folder: Path
    """Everything that the module writes; it has to be writable to the uid that uses the token, and to no other."""
    library: Path
    environment: Mapping[str, str]
    """The environment variables that a process needs to load the library."""
    configuration: Path | None = None
    """The module's configuration file, if it has one."""
    label: str
    serial: str
    slot: int
    pin: str


@dataclass(frozen=True, slots=True, order=True)
class Object:
    """One object of a token, in the specification's words without prefix: PRIVATE_KEY, EC."""

    object_class: str
    id: str
    """CKA_ID in hex."""
    label: str
    key_type: str


def find_module(name: str, folders: tuple[str, ...]) -> Path:
    """Return the path of an installed module.

    Raises:
        ModuleMissingError: It is in none of the folders.
    """
    for folder in folders:
        path = Path(folder.format(machine=os.uname().machine), name)
        if path.exists():
            return path
    raise ModuleMissingError(f"{name} is in none of {', '.join(folders)}")


def softhsm_library() -> Path:
    """Return the path of SoftHSM."""
    return find_module("libsofthsm2.so", _FOLDERS)


def softhsm(folder: Path, *, label: str = "cofferdam", pin: str = PIN, uid: int | None = None) -> Token:
    """Make a token in a folder, which may have others already.

    Args:
        folder: Gets softhsm2.conf, and the tokens in `tokens`; a uid has to be able to reach it.
        label: What the token is called; two may have the same.
        pin: The user's.
        uid: Who gets the tokens; whoever runs the tests if None.
    """
    tokens = folder / "tokens"
    configuration = folder / "softhsm2.conf"
    tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration.write_text(
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
    )
    environment = {"SOFTHSM2_CONF": str(configuration)}
    output = _run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", pin], environment
    )
    found = re.search(r"reassigned to slot (\d+)", output)
    if not found:
        raise RuntimeError(f"softhsm2-util says: {output}")
    slot = int(found[1])
    give(tokens, uid)
    return Token(
        folder=tokens,
        library=softhsm_library(),
        environment=environment,
        configuration=configuration,
        label=label,
        serial=_serials(environment)[slot],
        slot=slot,
        pin=pin,
    )


def give(folder: Path, uid: int | None) -> None:
    """Make a uid the owner of a folder and its contents."""
    if uid is None:
        return
    os.chown(folder, uid, uid)
    for path in folder.rglob("*"):
        os.chown(path, uid, uid)


def objects(token: Token) -> list[Object]:
    """Return the objects of a token, sorted, as another process with the PIN sees them."""
    output = _run([sys.executable, "-I", str(LOOK), str(token.library), str(token.slot), token.pin], token.environment)
    return sorted(Object(*row) for row in cast("list[list[str]]", json.loads(output)))


def _serials(environment: Mapping[str, str]) -> dict[int, str]:
    """Return the serial numbers by slot."""
    output = _run(["softhsm2-util", "--show-slots"], environment)
    return {
        int(slot): serial
        for slot, serial in re.findall(r"^Slot (\d+)$.*?^ +Serial number: *(\S*)$", output, re.DOTALL | re.MULTILINE)
    }


def _run(words: list[str], environment: Mapping[str, str]) -> str:
    done = _once(words, environment)
    for _ in range(_TRIES):
        if done.returncode != os.EX_TEMPFAIL:
            break
        done = _once(words, environment)
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def _once(words: list[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words,
        check=False,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )

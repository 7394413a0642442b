"""Renders docs/reference/tokens.md by asking the tokens that the tests have, each in a process of its own.

python -m tools.render_tokens > docs/reference/tokens.md
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.harness.pkcs11.second import second
from tests.harness.pkcs11.token import Token, softhsm
from tools.asking import heading, row

ROOT: Final = Path(__file__).resolve().parents[1]
_TIMEOUT_S: Final = 120.0

_HEAD: Final = """\
# What tokens can do

This page is made by `python -m tools.render_tokens`, which opens each of the tests' tokens through the PKCS#11
provider and asks it about every key type, size and algorithm of the protocol. A test compares the two where the same
versions are installed. The answers are those of CanDoCrypto. Another version, another make and another card answer
otherwise: ask yours, with CanDoCrypto or by making the key. Names are those of the protocol; what the software provider
can do is in [operations.md](operations.md), how to configure a token in [pkcs11.md](../howto/pkcs11.md).

An answer is made of the token's list of mechanisms and of what was tried when it was opened, see
[pkcs11.md](../howto/pkcs11.md#limits) for what neither of the two says.
"""
_MECHANISMS: Final = """
The mechanisms that the provider can use, as the token lists them. Sizes are in the token's own unit: mostly bits, bytes
for AES and for secrets.
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A token of the tests with its answers."""

    name: str
    version: str
    answers: dict[str, Any]


def versions_on(page: str) -> dict[str, str]:
    """Return the modules that a page is about, and their versions."""
    return dict(re.findall(r"^## (\w[\w ]*?) (\d[\d.]*)$", page, re.MULTILINE))


def ask_all() -> list[Asked]:
    """Ask the tokens of the tests."""
    made: Sequence[tuple[str, Callable[[Path], tuple[Token, Path]]]] = (("SoftHSM", _softhsm), ("NSS softokn", _nss))
    asked = []
    for name, make in made:
        with tempfile.TemporaryDirectory(prefix="cofferdam-ask-") as folder:
            answers = _ask(*make(Path(folder) / "token"), Path(folder))
        # SoftHSM's module says no more than major and minor number.
        version = _softhsm_version() if name == "SoftHSM" else answers["version"]
        asked.append(Asked(name, version, answers))
    return asked


def render_tokens(asked: list[Asked]) -> str:
    """Return the page."""
    return _HEAD + "".join(part for one in asked for part in _section(one))


def _softhsm(folder: Path) -> tuple[Token, Path]:
    token = softhsm(folder)
    return token, token.library


def _nss(folder: Path) -> tuple[Token, Path]:
    token, shim = second(folder)
    return token, shim.library


def _softhsm_version() -> str:
    return subprocess.run(
        ["softhsm2-util", "--version"], check=True, capture_output=True, text=True, timeout=_TIMEOUT_S
    ).stdout.strip()


def _ask(token: Token, library: Path, folder: Path) -> dict[str, Any]:
    provider = {
        "provider_type": "Pkcs11",
        "key_info_manager": "kim",
        "library_path": str(library),
        "token_label": token.label,
        "user_pin": token.pin,
        "state_folder": str(folder / "state"),
        "module_environment": [f"{name}={value}" for name, value in token.environment.items()],
    }
    configuration = folder / "config.toml"
    configuration.write_text(
        '[core_settings]\n[listener]\nlistener_type = "DomainSocket"\ntimeout = 200\n'
        '[authenticator]\nauth_type = "UnixPeerCredentials"\n'
        '[[key_manager]]\nname = "kim"\nmanager_type = "SQLite"\n[[provider]]\n'
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in provider.items())
    )
    done = subprocess.run(
        [sys.executable, "-m", "tools.ask_token", str(configuration)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    if done.returncode:
        raise RuntimeError(f"the token could not be asked: {done.stdout}{done.stderr}")
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def _section(asked: Asked) -> Iterator[str]:
    answers = asked.answers
    yield f"\n## {asked.name} {asked.version}\n\n### Keys of {asked.name}\n\n"
    yield "Sizes in bits. A key may be imported with size 0, too; it gets the size of its data.\n"
    yield heading("Type", "Generate", "Import")
    yield from (row(*cells) for cells in answers["keys"])
    yield f"\nNot supported in any size: {', '.join(answers['refused'])}.\n"
    yield f"\n### Algorithms of {asked.name}\n"
    yield heading("For", "Algorithm", "Hashes or tag lengths", "Key types")
    yield from (row(*cells) for cells in answers["algorithms"])
    yield f"\nNot supported: {', '.join(answers['absent'])}.\n"
    yield f"\nRSA_OAEP takes a label: {'yes' if answers['labels'] else 'no'}.\n"
    if answers["in_software"]:
        yield f"\nThe public half of these is done outside the token: {', '.join(answers['in_software'])}.\n"
    yield f"\n### Mechanisms of {asked.name}\n{_MECHANISMS}"
    yield heading("Mechanism", "Sizes", "For")
    offered = [cells for cells in answers["mechanisms"] if cells[1] != "not offered"]
    yield from (row(*cells) for cells in offered)
    absent = [name for name, sizes, _ in answers["mechanisms"] if sizes == "not offered"]
    yield f"\nNot on the list: {', '.join(absent)}.\n"


if __name__ == "__main__":
    sys.stdout.write(render_tokens(ask_all()))

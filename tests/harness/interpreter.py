"""How to start the service, also under a uid that may not reach the interpreter or the checkout of the tests.

Tests that run as root often have an interpreter below a home folder that no other uid may enter, pyenv's for one, and
a checkout in a private folder. An unprivileged service then runs on the system's interpreter of the same version, with
the packages copied to where every uid can read them. Where the uid can use everything as it is, nothing is copied.
"""

import atexit
import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = "cofferdam"
_PROBE: Final = "import cofferdam_broker, cofferdam_client, cofferdam_cli, cryptography, msgpack, msgspec"
_START: Final = "import sys; sys.path.insert(0, {!r}); from cofferdam_cli.__main__ import main; sys.exit(main())"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def cofferdam(uid: int | None = None) -> list[str]:
    """Return the words that start the `cofferdam` command, executable by a uid or by whoever runs the tests."""
    if uid is None or _is_usable_by(uid):
        return [os.path.join(os.path.dirname(sys.executable), PROJECT)]
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if not os.path.exists(system):
        raise RuntimeError(f"uid {uid} cannot execute {sys.executable}, and there is no {system}")
    return [system, "-I", "-S", "-c", _START.format(_packages())]


def program_as(uid: int, program: str, *words: str) -> list[str]:
    """Return the words by which root runs a program as another uid, from which it has `os`, `socket` and `sys` only.

    It becomes that uid once it runs, because the uid may not reach the interpreter.
    """
    become = f"import os, socket, sys\nos.setgroups(())\nos.setgid({uid})\nos.setuid({uid})\n"
    return [sys.executable, "-I", "-c", become + program, *words]


def cofferdam_of(checkout: Path) -> list[str]:
    """Return the words that start the `cofferdam` command of another checkout, which has a .venv of its own.

    Raises:
        FileNotFoundError: It has none.
    """
    program = checkout.resolve() / ".venv" / "bin" / PROJECT
    if not program.exists():
        raise FileNotFoundError(f"{program} is missing; `./dev setup` in {checkout} makes it")
    return [str(program)]


@functools.cache
def _is_usable_by(uid: int) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", _PROBE],
            check=False,
            cwd="/",
            user=uid,
            group=uid,
            extra_groups=(),
            capture_output=True,
        )
    except PermissionError:
        return False
    return done.returncode == 0


@functools.cache
def _packages() -> str:
    """Copy the packages to where every uid can read them; they go when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="cofferdam-packages-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    for marker in CHECKOUT.glob(f"*/{PROJECT}_*/py.typed"):
        shutil.copytree(marker.parent, folder / marker.parent.name)
    for source, target in _files_of_requirements():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / target)
    return str(folder)


def _files_of_requirements() -> Iterator[tuple[str, str]]:
    """Yield the files of everything that the project needs to run, with their places in site-packages."""
    pending, seen = [PROJECT], set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # required on another platform only
        # The tests have the extras of the project, and of nothing else.
        required = [text for text in distribution.requires or () if name == PROJECT or "extra ==" not in text]
        pending.extend(match.group() for match in map(_NAME.match, required) if match)
        if name.startswith(PROJECT):
            continue
        for file in distribution.files or ():
            source = str(distribution.locate_file(file))
            if not file.as_posix().startswith("..") and os.path.exists(source):
                yield source, file.as_posix()

"""Starts children for the tests of confinement, and prepares what they attack."""

import _lsprof
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[3]
PATHS: Final = [str(ROOT / "contracts"), str(ROOT / "runtime"), str(ROOT), *(p for p in sys.path if "-packages" in p)]
SCENE: Final = (
    "import json, sys; sys.path[:0] = json.loads(sys.argv.pop(1));from tests.runtime.sandbox.scenes import main; main()"
)
IS_ROOT: Final = os.getuid() == 0
OWN_UID: Final = 60123
"""That a process of a root-started service becomes; nobody has it."""
USER: Final = 60555
"""A normal user who starts the service."""


@dataclass(frozen=True)
class Identity:
    """How the service was started."""

    user: int | None
    """Who starts it, None for whoever runs the tests."""
    uid: int | None
    """What its processes become."""


IDENTITIES: Final[dict[str, Identity]] = (
    {"started by root": Identity(None, OWN_UID), "started by a user": Identity(USER, None)}
    if IS_ROOT
    else {"started by a user": Identity(None, None)}
)


@dataclass(frozen=True)
class Job:
    """One attempt: of which attack, in which role (None: unconfined), without which mechanisms, with what besides."""

    attack: str
    role: str | None = None
    uid: int | None = None
    without: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@contextmanager
def playground() -> Iterator[Path]:
    """Make a folder where everybody may read and write, so that only the sandbox stands between."""
    folder = Path(tempfile.mkdtemp(prefix="cofferdam-test-"))
    try:
        for name in (".", "kim", "credentials", "code"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name).chmod(0o777)
        for name in ("config.toml", "kim/database", "kim/private", "public.sock"):
            (folder / name).write_text("x")
            (folder / name).chmod(0o666)
        (folder / "kim/private").chmod(0o600)
        (folder / "code/planted.py").touch()
        (folder / "code/planted_codec.py").write_text("import codecs\ngetregentry = lambda: codecs.lookup('utf-8')\n")
        shutil.copy(_lsprof.__file__, folder / "module.so")
        yield folder
    finally:
        shutil.rmtree(folder)


def attempt(jobs: Mapping[str, Job], user: int | None) -> dict[str, str]:
    """Run the jobs and return how each went."""
    with playground() as folder:
        request = {"folder": str(folder), "user": user, "jobs": {key: asdict(job) for key, job in jobs.items()}}
        output = python(Path(__file__).with_name("launcher.py").read_text(), json.dumps(PATHS), json.dumps(request))
    result: dict[str, str] = json.loads(output)
    return result


def python(script: str, *arguments: str) -> str:
    """Run a script in an isolated interpreter and return what it prints; it must end well."""
    done = run(script, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in an isolated interpreter."""
    command = [sys.executable, "-I", "-S", "-B", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def scene(name: str, *arguments: str) -> Any:  # noqa: ANN401  whatever JSON value the scene prints
    """Run a scene in an isolated interpreter and return its value."""
    return json.loads(python(SCENE, json.dumps(PATHS), name, *arguments))

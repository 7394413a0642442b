"""Follow the how-tos on this machine, as their reader would: run what they say, and compare what they show.

    python3 -m tools.howtos.follow [--part install] --with systemd tpm

It installs and configures the service and makes users: run it on a machine that is made for this, such as those of
`tools/howtos/scratch.py` and `tools/howtos/machine.sh`. It ends at the first step that fails. Standard library only.
"""

import argparse
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

from tools.howtos.pages import FEATURES, ROOT, Step, feature_words, logs, matches, steps

INSTALLATION: Final = (
    ("docs/howto/operate.md", ("Install",)),
    ("docs/howto/python-client.md", ("Install",)),
)
ROUTE: Final = (
    *INSTALLATION,
    ("docs/howto/operate.md", ("Start under systemd",)),
    ("README.md", ("A session",)),
    ("docs/howto/operate.md", ("The key-encryption keys",)),
    ("docs/howto/pkcs11.md", ()),
    ("docs/howto/tpm.md", ()),
    ("docs/howto/python-client.md", ()),
    ("docs/howto/identities.md", ()),
    ("docs/howto/operate.md", ()),
)
"""The pages in the order in which somebody reads them; without headings: what was not run yet."""
PARTS: Final = {"install": slice(0, len(INSTALLATION)), "use": slice(len(INSTALLATION), None), "all": slice(None)}
"""The parts of the way: the first does not need a running system."""
USER: Final = "ada"
WORK: Final = Path("/run/howtos")
STATE: Final = "cofferdam status"
LOG_S: Final = 120.0
"""How long a line may take to be in the log, and a process to be ready, on a slow machine."""
_PYTHON: Final = "/opt/cofferdam/bin/python"
_ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
}
_PATHS: Final = {
    "root": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "user": "/usr/local/bin:/usr/bin:/bin",
}
_END: Final = "-- end of the block --"


class FailedError(Exception):
    """Raised when a step fails or prints something else than its page says."""


class Done(NamedTuple):
    """What a step printed, on both outputs."""

    worked: bool
    printed: str


class Shell:
    """A shell that keeps its variables and its folder from one block of a page to the next."""

    def __init__(self, user: str, work: Path = WORK) -> None:
        """Start it, as root or as the ordinary user; its blocks are written to a folder."""
        account = pwd.getpwnam(USER if user == "user" else "root")
        self._block = work / "block"
        self._process = subprocess.Popen(
            ["sh", "-e"] if user == "root" else ["/usr/sbin/runuser", "-u", USER, "--", "sh", "-e"],
            cwd=ROOT if user == "root" else account.pw_dir,
            env={**_ENVIRONMENT, "PATH": _PATHS[user], "HOME": account.pw_dir},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, step: Step) -> Done:
        """Run a step; its shell ends if it fails."""
        text = step.text if step.block.language != "python" else f"{_PYTHON} - <<'PROGRAM'\n{step.text}\nPROGRAM\n"
        self._block.write_text(text)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f". {self._block} </dev/null\necho '{_END}'\n")
        self._process.stdin.flush()
        printed: list[str] = []
        for line in self._process.stdout:
            if line.endswith(f"{_END}\n"):
                return Done(worked=True, printed="".join([*printed, line.removesuffix(f"{_END}\n")]))
            printed.append(line)
        return Done(worked=False, printed="".join(printed))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class Walk:
    """The way through the pages on a machine with these features."""

    def __init__(self, features: frozenset[str], part: str) -> None:
        """Prepare; run nothing."""
        self._part = part
        self._features = features
        self._shells: dict[tuple[str, str], Shell] = {}

    def run(self) -> None:
        """Follow all pages.

        Raises:
            FailedError: A step did not do what its page says.
        """
        for step in route(self._part):
            if step.block.features <= self._features:
                self._forget_starts()
                self._run(step)
        for shell in self._shells.values():
            shell.close()

    def summary(self) -> str:
        """Return which steps were run, and which this machine has no place for."""
        steps = route(self._part)
        left = [step for step in steps if not step.block.features <= self._features]
        lines = [f"{len(steps) - len(left)} of {len(steps)} steps were run, with what their pages show"]
        for step in left:
            lacking = "; ".join(FEATURES[feature] for feature in sorted(step.block.features - self._features))
            lines.append(f"not on this machine: {step.block.place}, {step.block.heading}: it needs {lacking}")
        return "\n".join(lines)

    def _forget_starts(self) -> None:
        """Have systemd count starts anew: it allows five in ten seconds, and readers take longer."""
        if "systemd" in self._features:
            subprocess.run(["systemctl", "reset-failed", "cofferdam.service"], check=False, capture_output=True)

    def _run(self, step: Step) -> None:
        began = time.monotonic()
        print(f"== {step.block.place}, {step.block.heading}, {step.user}\n{step.text.rstrip()}", flush=True)
        key = (step.block.page, step.user)
        shell = self._shells.get(key) or self._shells.setdefault(key, Shell(step.user))
        done = _settled(shell, step)
        print(f"-- {time.monotonic() - began:.1f} s\n{done.printed.rstrip()}", flush=True)
        if not done.worked:
            raise FailedError(f"{step.block.place}: it fails:\n{step.text}\nIt printed:\n{done.printed}")
        if step.expected is not None and not matches(step.expected, done.printed):
            raise FailedError(
                f"{step.block.place}: {step.text}\nprinted\n{done.printed}\nand the page says\n{step.expected}"
            )
        if step.logged is not None:
            _wait_for_log(step)


def _settled(shell: Shell, step: Step) -> Done:
    """Run a step, and one that shows the state of the service until it shows what is expected, as processes start."""
    end = time.monotonic() + LOG_S
    while True:
        done = shell.run(step)
        as_expected = step.expected is None or matches(step.expected, done.printed)
        if as_expected or not done.worked or not step.text.startswith(STATE) or time.monotonic() > end:
            return done
        time.sleep(0.2)


def _wait_for_log(step: Step) -> None:
    assert step.logged is not None
    end = time.monotonic() + LOG_S
    while not logs(step.logged, log()):
        if time.monotonic() > end:
            raise FailedError(f"{step.block.place}: the log never has\n{step.logged}")
        time.sleep(0.2)


def log() -> str:
    """Return the log of the service."""
    command = ["journalctl", "-u", "cofferdam", "-o", "cat", "--no-pager"]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout


def route(part: str = "all") -> list[Step]:
    """Return the steps of a part of the way in their order, each once."""
    pages = {page: steps(page) for page, _ in ROUTE}
    legs: list[list[Step]] = []
    for page, headings in ROUTE:
        legs.append([step for step in pages[page] if not headings or step.block.heading in headings])
        pages[page] = [step for step in pages[page] if step not in legs[-1]]
    return [step for leg in legs[PARTS[part]] for step in leg]


def prepare() -> None:
    """Make the ordinary user, and let apt-get ask nothing."""
    WORK.mkdir(parents=True, exist_ok=True)
    WORK.chmod(0o755)
    if subprocess.run(["id", USER], check=False, capture_output=True).returncode != 0:
        subprocess.run(["useradd", "--create-home", USER], check=True)
    # It reads the blocks, and its home, and nobody else's.
    os.umask(0o022)
    Path("/etc/apt/apt.conf.d/90-howtos").write_text('APT::Get::Assume-Yes "true";\n')


def main() -> int:
    """Follow the pages; the exit status tells whether all of it worked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--with", nargs="*", default=[], dest="features", metavar="FEATURE")
    parser.add_argument("--part", choices=PARTS, default="all")
    arguments = parser.parse_args()
    prepare()
    walk = Walk(feature_words(arguments.features), arguments.part)
    try:
        walk.run()
    except FailedError as error:
        print(f"{error}\n-- the log:\n{log()[-20000:]}", file=sys.stderr)
        return 1
    print(f"== {walk.summary()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

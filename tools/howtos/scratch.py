"""Run a command in a machine of its own, as far as namespaces go: nothing that it does to files outlives it.

    UNSHARE... python -m tools.howtos.scratch COMMAND...

The folders that an installation changes are overlays in memory, /run and /tmp are new. It has no network and no devices
of its own. `systemctl` and `journalctl` are those of `tools/howtos/manager.py`, and /opt/cofferdam is this checkout's
.venv, in place of the one that pip would make. Only root can do this.
"""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

from tools.howtos.manager import Manager
from tools.howtos.pages import ROOT

FEATURES: Final = ("swtpm",)
UNSHARE: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts")
"""What it is started with."""
OVERLAID: Final = ("/etc", "/home", "/opt", "/root", "/usr", "/var")
NEW: Final = {"/run": "0755", "/tmp": "1777"}  # noqa: S108  the latter is this machine's own
_SHIM: Final = '#!/bin/sh\ncd {root} && exec {python} -m tools.howtos.manager {name} "$@"\n'


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def enter() -> None:
    """Cover the folders that an installation changes, and the checkout, which stays where it is."""
    scratch = "/mnt"
    _mount("-t", "tmpfs", "-o", "mode=0755", "howtos", scratch)
    checkout = f"{scratch}/checkout"
    os.mkdir(checkout)
    _mount("--bind", str(ROOT), checkout)
    for folder in OVERLAID:
        _cover(folder, folder, f"{scratch}{folder}")
    for folder, mode in NEW.items():
        _mount("-t", "tmpfs", "-o", f"mode={mode}", "howtos", folder)
    os.makedirs(ROOT, exist_ok=True)
    _cover(checkout, str(ROOT), f"{scratch}/changes")
    _mount("-t", "proc", "proc", "/proc")
    os.chdir(ROOT)


def _cover(lower: str, folder: str, upper: str) -> None:
    """Let changes of a folder be made elsewhere."""
    os.mkdir(upper)
    os.mkdir(f"{upper}.work")
    # What is on top decides about owner and mode.
    shutil.copystat(lower, upper)
    _mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={upper}.work", "howtos", folder)


def _admit(path: Path) -> None:
    """Let everybody pass to a file, as to one of an installation; root's home, for one, admits nobody."""
    for folder in path.parents:
        if not folder.stat().st_mode & stat.S_IXOTH and any(folder.is_relative_to(top) for top in (*OVERLAID, ROOT)):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)


def furnish() -> None:
    """Put what the pages take for granted where it belongs, and nothing that they make."""
    for folder in ("/etc/parsec", "/var/lib/parsec", "/opt/cofferdam"):
        shutil.rmtree(folder, ignore_errors=True)
    os.symlink(ROOT / ".venv", "/opt/cofferdam")
    _admit(ROOT / ".venv")
    _admit(Path(sys.executable).resolve())
    for name in ("systemctl", "journalctl"):
        shim = Path("/usr/bin") / name
        shim.unlink(missing_ok=True)
        shim.write_text(_SHIM.format(root=ROOT, python=sys.executable, name=name))
        shim.chmod(0o755)
    # What is installed may be older than what could be: there is no network, and it does not matter here.
    Path("/etc/apt/apt.conf.d/91-scratch").write_text('APT::Get::Upgrade "false";\nAcquire::Retries "0";\n')


def main() -> int:
    """Run the command; return its exit status."""
    enter()
    furnish()
    with Manager():
        return subprocess.run(sys.argv[1:], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

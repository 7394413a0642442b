"""Runs attempts in children of its own: `launcher.py PATHS REQUEST`, both JSON; prints a JSON result.

Every attempt has a fresh child, a fresh scene and a fresh victim. The child is forked while this process is still
unconfined and then enters the sandbox by the way that the service uses.
"""

import _socket
import ctypes
import json
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path[:0] = json.loads(sys.argv[1])

from tests.runtime.sandbox import attacks  # noqa: E402

from cofferdam_contracts.roles import Role  # noqa: E402
from cofferdam_runtime.sandbox import (  # noqa: E402
    child_calls,
    enter,
    identity,
    imports,
    landlock,
    limits,
    prctl,
    seccomp,
    selftest,
)
from cofferdam_runtime.sandbox.policies import POLICIES, for_module  # noqa: E402
from cofferdam_runtime.sandbox.policy import Policy  # noqa: E402

SECONDS: Final = 20
"""After which a child is ended."""


def _nothing(*_arguments: object, **_named: object) -> tuple[()]:
    return ()


def _no_landlock(*_arguments: object, **_named: object) -> int:
    return 0


MUTATIONS: Final[dict[str, tuple[object, str, Callable[..., object]]]] = {
    "capabilities": (prctl, "limit_capabilities", _nothing),
    "conditions on memory": (child_calls, "refuse_executable_memory", _nothing),
    "imports": (imports, "freeze", _nothing),
    "landlock": (landlock, "restrict", _no_landlock),
    "limits": (limits, "apply", _nothing),
    "no executable memory": (child_calls, "refuse_executable_memory", _nothing),
    "no new privileges": (prctl, "forbid_new_privileges", _nothing),
    "seccomp": (seccomp, "load", _nothing),
    "uid": (identity, "drop", _nothing),
}


def make_scene(folder: Path) -> attacks.Scene:
    """Build what attempts look for."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    path = folder / "service.sock"
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(4)
    abstract = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    abstract.bind("")
    abstract.listen(4)
    notify = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    path = folder / "notify.sock"
    path.unlink(missing_ok=True)
    notify.bind(str(path))
    path.chmod(0o666)
    pipe, _ = os.pipe()
    victim = os.fork()
    if not victim:
        signal.pause()
        os._exit(0)
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(attacks.I386_CODE)
    return attacks.Scene(
        folder=folder,
        victim=victim,
        pipe=pipe,
        directory=os.open(folder, os.O_RDONLY | os.O_DIRECTORY),
        listener=listener,
        abstract=abstract.getsockname(),
        notify=notify,
        terminal=os.openpty(),
        code=code,
        keep=abstract,
        secret=ctypes.addressof(attacks.SECRET),
        spare=[_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM) for _ in range(2)],
    )


def attempt(name: str, folder: Path, confine: Callable[[], object]) -> str:
    """Make one attempt in a child and say how it went: done, killed, or how it was stopped."""
    attack = attacks.ATTACKS[name]
    scene = make_scene(folder)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _be_child(attack, scene, confine, writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        report = pipe.read()
    _, status = os.waitpid(child, 0)
    word, _, outcome = report.partition(" ")
    had_effect = attack.had_effect(scene, outcome)
    os.kill(scene.victim, signal.SIGKILL)
    os.waitpid(scene.victim, 0)
    for descriptor in (scene.pipe, scene.directory, *scene.terminal):
        os.close(descriptor)
    code = os.waitstatus_to_exitcode(status)
    if word != "confined":
        return f"not confined: {report} {code}"
    if attack.effect is not None and had_effect != (outcome == "done"):
        return f"{'with' if had_effect else 'without'} effect: {outcome or code}"
    # An exec that worked closes the pipe and ends with status 0.
    return outcome or {-signal.SIGSYS: "killed", 0: "done"}.get(code, f"ended with {code}")


def _be_child(attack: attacks.Attack, scene: attacks.Scene, confine: Callable[[], object], writer: int) -> None:
    # Nothing of this process may go on in its parent's code.
    try:
        signal.alarm(SECONDS)
        confine()
        os.write(writer, b"confined ")
        attack.attempt(scene)
        os.write(writer, b"done")
    except attacks.STOPPED as error:
        os.write(writer, attacks.outcome_of(error).encode())
    except Exception as error:  # noqa: BLE001  everything has to be reported
        os.write(writer, repr(error).encode())
    finally:
        os._exit(3)


def confinement(job: dict[str, Any], folder: Path) -> Callable[[], object]:
    """Return what a child does before the attempt."""
    if job["role"] is None:
        return _nothing
    policy: Policy = for_module(POLICIES[Role[job["role"]]], job["needs"])
    if job["role"] == Role.KIM.name:
        policy = policy.with_paths(writable=(str(folder / "kim"),))
    if "conditions on memory" in job["without"]:
        policy = policy._replace(executable_memory=True)

    def confine() -> None:
        if job["without"]:
            # They would notice what is missing.
            selftest.SelfTest.run = _nothing  # type: ignore[assignment,method-assign]
            identity.verify = _nothing  # type: ignore[assignment]
        for mutation in job["without"]:
            module, function, replacement = MUTATIONS[mutation]
            setattr(module, function, replacement)
        enter.enter_sandbox(policy, uid=job["uid"], parent=os.getppid())

    return confine


def main() -> None:
    """Answer the request."""
    request = json.loads(sys.argv[2])
    folder = Path(request["folder"])
    imports.preload()
    if (user := request["user"]) is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        # As for a program that the user started; a change of uid makes a process untraceable.
        attacks.call("prctl", attacks.PR_SET_DUMPABLE, 1, 0, 0, 0)
    result = {key: attempt(job["attack"], folder, confinement(job, folder)) for key, job in request["jobs"].items()}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()

"""Entering the sandbox: what each role can still do, what the kernel says about it, and what is noticed."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.running import started
from tests.runtime.sandbox.harness import IS_ROOT, OWN_UID, PATHS, SCENE, playground, scene
from tests.runtime.sandbox.loading_scenes import LOADING

from cofferdam_contracts.ipc.control import Level
from cofferdam_contracts.roles import Role
from cofferdam_runtime.sandbox import child_calls, landlock
from cofferdam_runtime.sandbox.inspect import observe, shortfalls

UID = OWN_UID if IS_ROOT else None
BEST = Level.UID if IS_ROOT else Level.LANDLOCK
FULL = {"level": BEST, "abi": child_calls.landlock_version(), "notes": []}


@pytest.fixture
def folder() -> Iterator[Path]:
    with playground() as path:
        yield path


def test_a_frontend_serves_what_it_is_handed() -> None:
    assert scene("frontend") == FULL


def test_a_software_worker_uses_keys_and_its_second_thread_is_confined_too() -> None:
    assert scene("software_worker") == FULL | {"attempts": ["EPERM", "EPERM"]}


def test_the_key_store_works_in_its_folder_only(folder: Path) -> None:
    assert scene("kim", str(folder / "kim")) == FULL | {"rows": 1000, "outside": ["EACCES"]}


def test_the_reader_of_the_configuration_makes_sealed_documents(folder: Path) -> None:
    (folder / "config.toml").write_text("limit = 5\n")
    assert scene("config", str(folder / "config.toml")) == FULL | {"document": {"limit": 5}, "open": True}


OF_A_MODULE = {
    "prepared": ["CDLL", [60100, 60200] if IS_ROOT else []],
    "kept": ["key", ["database", "object", "private"]],
    "late library": ["EACCES"],
    "other file": ["EACCES"],
    "thread": ["EAGAIN"],
    "process": ["EPERM"],
    "connection": ["EPERM"],
    "netlink": ["EPERM"],
}
NEEDED: dict[str, dict[str, list[str]]] = {
    "sockets": {"connection": [], "netlink": ["EAFNOSUPPORT"]},
    "threads": {"thread": []},
    "libraries": {"late library": []},
}


@pytest.mark.parametrize("needs", [(), *((need,) for need in NEEDED), tuple(NEEDED)])
def test_a_module_is_loaded_and_then_has_its_folder_and_what_it_needs(folder: Path, needs: tuple[str, ...]) -> None:
    granted = {name: outcome for need in needs for name, outcome in NEEDED[need].items()}
    (folder / "public.sock").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "public.sock"))
        (folder / "public.sock").chmod(0o666)
        listener.listen()
        assert scene("pkcs11_worker", str(folder), *needs) == FULL | OF_A_MODULE | granted


WHILE_LOADING = {
    **dict.fromkeys(("thread", "file"), "done"),
    **dict.fromkeys(("execve", "io_uring", "trace"), "killed"),
}
"""What is not stopped by EPERM."""
WITH_SOCKETS = {
    **dict.fromkeys(("IPv4 socket", "local socket", "pair of sockets"), "done"),
    **dict.fromkeys(("netlink socket", "vsock socket"), "EAFNOSUPPORT"),
}
WITHOUT_THE_FILTER = {
    "io_uring": {"done", "ENOSYS", "EPERM"},
    "vsock socket": {"done", "EAFNOSUPPORT"},
    "vfork": {"EACCES"},
    "execve": {"EACCES"},
}
"""What the kernel may not have, and programs: they start only as far as Landlock, which lets none run."""


@pytest.mark.parametrize("name", LOADING)
def test_a_module_leaves_nothing_behind_from_before_the_last_filter(folder: Path, name: str) -> None:
    expected = WHILE_LOADING.get(name, "EPERM")
    assert scene("while_loading", str(folder), name) == expected
    assert scene("while_loading", str(folder), name, "sockets threads libraries") == WITH_SOCKETS.get(name, expected)


@pytest.mark.parametrize("name", LOADING)
def test_it_would_without_the_first_filter(folder: Path, name: str) -> None:
    outcome = scene("while_loading", str(folder), name, "sockets", "no")
    assert outcome in WITHOUT_THE_FILTER.get(name, {"done"})


NOWHERE = {
    **dict.fromkeys(("device", "other device"), "EACCES"),
    **dict.fromkeys(("port", "other port", "local socket", "datagrams", "other datagrams"), "EPERM"),
}
REACHED = {
    "": {},
    "opening": {"device": "done"},
    # The families of sockets that no address is granted of do not exist.
    # Before Linux 6.7 Landlock knows no ports, so that every other one can be reached until the last filter closes.
    "tcp_ports": {
        "port": "done",
        "other port": "EACCES" if child_calls.landlock_version() >= min(landlock.NET_SINCE) else "done",
        "local socket": "EAFNOSUPPORT",
    },
    "local_sockets": {"local socket": "done", **dict.fromkeys(("port", "other port"), "EAFNOSUPPORT")},
}


@pytest.mark.parametrize("granted", REACHED)
def test_what_is_granted_until_a_role_is_prepared_is_gone_then(folder: Path, granted: str) -> None:
    (folder / "public.sock").unlink()
    preparing, later = scene("reaching", str(folder), granted)
    datagrams = {name: preparing.pop(name) for name in ("datagrams", "other datagrams")}
    assert set(datagrams.values()) <= {"EPERM", "EAFNOSUPPORT"}
    usual = {name: outcome for name, outcome in NOWHERE.items() if name not in datagrams}
    assert preparing == usual | REACHED[granted] | {"pair of sockets": "EPERM"}
    assert later == NOWHERE


@pytest.mark.parametrize("role", [Role.PKCS11_WORKER, Role.TPM_WORKER])
@pytest.mark.parametrize(("patched", "filters"), [("no", 2), ("yes", 1)])
def test_a_module_that_keeps_the_last_filter_from_closing_is_seen(role: Role, patched: str, filters: int) -> None:
    assert scene("after_loading", role.name, patched) == {"held": [filters, filters], "lacks": patched == "yes"}


@pytest.mark.parametrize("how", ["open", "fchmod"])
@pytest.mark.parametrize("role", [Role.KIM, Role.PKCS11_WORKER])
def test_no_file_is_made_that_runs_as_who_made_it(folder: Path, role: Role, how: str) -> None:
    outcomes = [scene("special_mode", str(folder), role.name, how, mode) for mode in ("755", "4755", "2755")]
    assert outcomes == ["done", "killed", "killed"]


def test_a_path_that_does_not_exist_is_named() -> None:
    found = "cannot grant /nonexistent, which this role needs: found nothing at /nonexistent"
    assert scene("missing_path") == found


def test_what_the_administrator_opened_is_no_hole() -> None:
    assert scene("granted_probe") == FULL


@pytest.mark.parametrize("role", Role)
def test_the_kernel_confirms_it(role: Role) -> None:
    command = [sys.executable, "-I", "-S", "-B", "-c", SCENE, json.dumps(PATHS), "wait", role.name]
    with started(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"confined\n"
        threads = observe(child.pid)
    assert len(threads) == threads[0].threads == (2 if role is Role.SOFTWARE_WORKER else 1)
    assert [shortfalls(thread, uid=UID, seccomp=True) for thread in threads] == [()] * len(threads)


def test_threads_from_before_are_refused() -> None:
    assert scene("late_thread") == "there are 2 threads before confinement"


def test_a_lost_parent_is_noticed() -> None:
    assert scene("wrong_parent").startswith("the parent is ")


@pytest.mark.parametrize("role", [Role.FRONTEND, Role.KIM])
def test_a_kernel_without_landlock_gives_a_lower_level(role: Role) -> None:
    assert scene("without_landlock", role.name) == {"level": Level.SECCOMP, "abi": 0, "notes": []}


@pytest.mark.parametrize(
    ("part", "role", "complaint"),
    [
        ("seccomp", Role.FRONTEND, "the sandbox does not stop: make a network socket"),
        ("landlock", Role.KIM, "the sandbox does not stop: read a file, write a file, make a file"),
        ("imports", Role.FRONTEND, "import a module"),
        ("new privileges", Role.FRONTEND, "may gain privileges by exec"),
        *([("identity", Role.FRONTEND, "has capabilities")] if IS_ROOT else []),
    ],
)
def test_a_mechanism_that_does_nothing_is_noticed(part: str, role: Role, complaint: str) -> None:
    assert complaint in scene("broken", part, role.name)


def test_a_probe_that_never_works_is_reported() -> None:
    notes = ["the self-test could not prove that it stops: read a file"]
    assert scene("unproven") == FULL | {"notes": notes}


def test_a_process_of_the_same_user_cannot_trace_it() -> None:
    assert scene("traced", "no") == ["EPERM"]


def test_only_because_it_is_not_dumpable() -> None:
    assert scene("traced", "yes") == []


def test_it_dies_with_its_parent() -> None:
    assert scene("orphaned") is True


def test_limits(folder: Path) -> None:
    result = scene("limited", str(folder / "log"))
    assert (result["before"], result["after"]) == ([], ["EFBIG"])
    # A limit is never raised again.
    assert result["core, files, processes"] == [[0, 0], [32, 32], [0, 0]]


def test_the_title_shows_the_role() -> None:
    assert scene("titled") == "cofferdam: kim"

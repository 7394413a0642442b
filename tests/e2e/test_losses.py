"""Files and sockets of a running service that are removed, moved away, replaced or full: noticed, and no key lost."""

import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.harness.answers import refused
from tests.harness.events import reload
from tests.harness.identities import AS_ROOT
from tests.harness.interpreter import cofferdam
from tests.harness.service import UNPRIVILEGED_UID, Service, ServiceFailedError
from tests.harness.watch import wait_for
from tests.harness.wire import Request, call

from cofferdam_client import Curve, Hash, Status, ecc_signing_key, ecdsa

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
DIGEST = hashlib.sha256(b"message").digest()
GONE = '"a file of the key store is gone; no key can be made or destroyed"'
BACK = '"the file of the key store is back; keys can be made and destroyed again"'


def wait_until(what: str, service: Service, times: int = 1) -> str:
    """Wait for a line in the log, and return the last one."""
    wait_for(lambda: service.log().count(what) >= times, explain=lambda: service.failure(f"never logged: {what}"))
    return [line for line in service.log().splitlines() if what in line][-1]


def database(service: Service) -> Path:
    return service.folder / "kim" / "kim.sqlite3"


def _status(service: Service) -> tuple[str, int]:
    """Return what `cofferdam status` prints, and its exit status."""
    words = [*cofferdam(), "status", "--socket", service.status_path]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return done.stdout, done.returncode


def _remove(service: Service) -> None:
    for path in database(service).parent.iterdir():
        path.unlink()


def _replace(service: Service) -> None:
    shutil.copy(database(service), service.folder / "copy")
    (service.folder / "copy").rename(database(service))


def _move_folder(service: Service) -> None:
    database(service).parent.rename(service.folder / "elsewhere")


@pytest.mark.parametrize("lose", [_remove, _replace, _move_folder])
def test_a_lost_database_is_noticed_and_no_key_is_made(lose: Callable[[Service], None]) -> None:
    with Service() as service, service.client() as client:
        client.generate_key("known", KEY)
        lose(service)
        # Nobody has to ask for it.
        line = wait_until(GONE, service)
        assert "level=error component=kim" in line
        wait_for(lambda: service.status()["key_store"]["state"] == "down")
        assert f"at {database(service)}; move the file" in service.status()["key_store"]["cause"]
        assert f"file={database(service)} " in line
        for _ in range(3):
            with refused(Status.KEY_INFO_MANAGER_ERROR):
                client.generate_key("new", KEY)
        with refused(Status.KEY_INFO_MANAGER_ERROR):
            client.destroy_key("known")
        client.sign_hash("known", DIGEST, ecdsa())
        assert [key.name for key in client.list_keys()] == ["known"]
        assert service.log().count(GONE) == 1


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_reload_does_not_end_the_keys_of_a_removed_database(*, on_disk: bool) -> None:
    service = Service()
    place, kept, setting = database(service), service.folder / "kept", "sqlite_db_path"
    if on_disk:
        place, setting = service.folder / "mappings" / "cofferdam.sqlite3", "store_path"
        service.configure({"key_manager": {"manager_type": "OnDisk", "store_path": str(place.parent)}})
    with service, service.client() as client:
        client.generate_key("known", KEY)
        place.rename(kept)
        wait_until(GONE, service)
        service.signal(signal.SIGHUP)
        line = wait_until(f"key_manager[0].{setting}: ", service)
        assert f"found nothing at {place} " in line
        wait_until('"the reload is refused, the old configuration goes on"', service)
        client.sign_hash("known", DIGEST, ecdsa())
        kept.rename(place)
        wait_until(BACK, service)
        reload(service)
        client.sign_hash("known", DIGEST, ecdsa())


@pytest.mark.skipif(not AS_ROOT, reason="only root can mount")
def test_a_key_store_without_room() -> None:
    service = Service()
    folder = database(service).parent
    folder.mkdir()
    # Only the service's own mount namespace has this file system.
    words = 'mount -t tmpfs -o size=640k,mode=700 tmpfs "$0" && exec "$@"'
    service.command = ["unshare", "-m", "--propagation", "private", "sh", "-c", words, str(folder), *service.command]

    def inside(*command: str) -> None:
        subprocess.run(["nsenter", "-m", "-t", str(service.pid), *command], check=True, capture_output=True)

    with service, service.client() as client:
        client.generate_key("known", KEY)
        filler = str(folder / "filler")
        inside("sh", "-c", f"head -c 1M /dev/zero > {filler} || true")
        with refused(Status.KEY_INFO_MANAGER_ERROR):
            for number in range(1000):
                client.generate_key(f"filling {number}", KEY)
        assert "disk is full" in wait_until('"the key store failed"', service)
        wait_for(lambda: service.status()["key_store"]["state"] == "down")
        said, status = _status(service)
        assert re.search(
            r"^key store: down, 0:00:0[0-9], .*\n  .* the disk is full; make room on it$", said, re.MULTILINE
        )
        assert status == 3
        inside("rm", filler)
        client.generate_key("room again", KEY)
        wait_for(lambda: service.status()["key_store"]["state"] == "up")
        assert _status(service)[1] == 0


def test_a_folder_that_comes_back_is_used_again() -> None:
    with Service() as service, service.client() as client:
        client.generate_key("known", KEY)
        folder, elsewhere = database(service).parent, service.folder / "elsewhere"
        for times in (1, 2):
            folder.rename(elsewhere)
            wait_until(GONE, service, times)
            with refused(Status.KEY_INFO_MANAGER_ERROR):
                client.generate_key("new", KEY)
            elsewhere.rename(folder)
            wait_until(BACK, service, times)
        client.generate_key("new", KEY)
        service.stop()
        service.start()
        client.sign_hash("new", DIGEST, ecdsa())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use the descriptors of a process that is not dumpable")
def test_a_removed_database_is_copied_back_as_the_line_says() -> None:
    with Service() as service, service.client() as client:
        client.generate_key("known", KEY)
        _remove(service)
        line = wait_until(GONE, service)
        (copy,) = (word for word in line.split() if word.startswith("/proc/"))
        shutil.copy(copy, database(service))
        service.stop()
        service.start()
        client.sign_hash("known", DIGEST, ecdsa())
        client.generate_key("new", KEY)


MADE_AGAIN = '"a socket\'s file was removed and is made again"'
NOT_MADE = '"a socket\'s file is gone; nobody can connect"'


def test_sockets_that_are_removed_are_made_again() -> None:
    with Service() as service, socket.socket(socket.AF_UNIX) as waiting:
        wait_for(lambda: call(service.socket_path, Request()).status == 0)
        for path in (service.socket_path, service.status_path):
            os.unlink(path)
        wait_until(MADE_AGAIN, service, 2)
        assert call(service.socket_path, Request()).status == 0
        assert stat.S_IMODE(os.stat(service.socket_path).st_mode) == 0o666
        assert stat.S_IMODE(os.stat(service.status_path).st_mode) == 0o600
        assert service.status()["phase"] == "running"
        reload(service)
        os.unlink(service.socket_path)
        wait_until(MADE_AGAIN, service, 3)
        assert call(service.socket_path, Request()).status == 0
        waiting.connect(service.socket_path)
        assert service.stop() == 0
        assert not os.path.exists(service.socket_path)


def test_a_socket_in_whose_place_something_else_is_is_left_and_named() -> None:
    with Service() as service:
        os.unlink(service.socket_path)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(service.socket_path)
            other.listen(1)
            line = wait_until(NOT_MADE, service)
            assert "level=error" in line
            assert "another service is listening there" in line
            assert "remedy=" in line
        os.unlink(service.socket_path)
        wait_until(MADE_AGAIN, service)
        assert call(service.socket_path, Request()).status == 0
        assert service.log().count(NOT_MADE) == 1
        other_file = Path(service.socket_path)
        other_file.unlink()
        other_file.write_text("precious")
        wait_until(NOT_MADE, service, 2)
        assert service.stop() == 0
        # It is not the service's to remove.
        assert other_file.read_text() == "precious"


def test_the_folder_of_a_socket_that_goes_and_comes(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = str(folder / "s")
    with Service(tables={"listener": {"socket_path": path}}) as service:
        shutil.rmtree(folder)
        assert "make its folder first" in wait_until(NOT_MADE, service)
        folder.mkdir()
        wait_until(MADE_AGAIN, service)
        assert call(path, Request()).status == 0


def test_a_socket_of_systemd_is_not_made_again(tmp_path: Path) -> None:
    path = str(tmp_path / "activated.sock")
    with Service(tables={"listener": {"socket_path": path}}) as service, socket.socket(socket.AF_UNIX) as listener:
        service.stop()
        listener.bind(path)
        listener.listen(100)
        service.launch(listener=listener)
        wait_for(service.is_ready)
        os.unlink(path)
        line = wait_until(NOT_MADE, service)
        assert "systemctl restart cofferdam.socket" in line
        assert not os.path.exists(path)
        assert service.stop() == 0


def test_a_folder_in_which_a_user_can_make_no_key_store() -> None:
    user = UNPRIVILEGED_UID if AS_ROOT else None
    service = Service(as_user=user)
    closed = service.folder / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    service.configure({"key_manager": {"sqlite_db_path": str(closed / "kim" / "kim.sqlite3")}})
    try:
        with pytest.raises(ServiceFailedError) as caught:
            service.start()
        found = f"{closed} with mode 0555 and owner {os.geteuid()}:{os.getegid()}, closed to uid "
        assert f"{closed}/kim: found {found}{user or os.geteuid()}" in str(caught.value)
        assert "change its owner or mode, or correct the path of the key manager" in str(caught.value)
    finally:
        service.close()

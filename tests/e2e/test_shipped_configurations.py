"""Configurations as they are found with Parsec, and paths through links: the service starts with them, and serves.

The settings are those of the quickstart of parsec-service 1.5.0, of its end-to-end tests, of packages and of container
images. What stands for a machine is put in: a library, a slot, the address of a simulator, how long things may take. As
root they run in a mount namespace, where `/var/lib`, `/run` and `/etc/softhsm` are folders of the test.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import pytest
from tests.harness.interpreter import cofferdam
from tests.harness.pkcs11.service import TokenService
from tests.harness.pkcs11.token import softhsm, softhsm_library
from tests.harness.service import UNPRIVILEGED_UID, Service
from tests.harness.tpm.swtpm import Swtpm

from cofferdam_client import Client, Curve, Direct, Hash, ecc_signing_key, ecdsa

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
DIGEST = hashlib.sha256(b"message").digest()
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has mount namespaces and uids of its own")
MACHINE: Final = """\
set -e
mount --bind "$0/lib" /var/lib
mount --bind "$0/run" /run
mount --bind "$0/softhsm" /etc/softhsm
cd "$0/work"
exec "$@"
"""
CORE = "[core_settings]\nlog_timestamp = false\nlog_error_details = true\nallow_root = true\n"
LISTENER = '[listener]\nlistener_type = "DomainSocket"\ntimeout = 200 # in milliseconds\nsocket_path = "{socket}"\n'
PEERS = '[authenticator]\nauth_type = "UnixPeerCredentials"\n'
DIRECT = '[authenticator]\nauth_type = "Direct"\nadmins = [ { name = "list_clients test" }, { name = "1000" } ]\n'
RUN = LISTENER.replace("{socket}", "/run/parsec/parsec.sock")
HERE = LISTENER.replace("{socket}", "./parsec.sock")
ON_DISK = '[[key_manager]]\nname = "on-disk-manager"\nmanager_type = "OnDisk"\nstore_path = "./mappings"\n'
SQLITE = '[[key_manager]]\nname = "sqlite-manager"\nmanager_type = "SQLite"\n'
MBED = '[[provider]]\nprovider_type = "MbedCrypto"\nkey_info_manager = "{manager}"\n'
TPM = """\
[[provider]]
provider_type = "Tpm"
key_info_manager = "{manager}"
tcti = "@TCTI@"
owner_hierarchy_auth = ""
"""
PKCS11 = """\
[[provider]]
provider_type = "Pkcs11"
key_info_manager = "{manager}"
library_path = "@LIBRARY@"
user_pin = "123456"
slot_number = @SLOT@
"""
_TEST_DATABASE = 'sqlite_db_path = "./kim-mappings/sqlite/sqlite-key-info-manager.sqlite3"\n'


def _with(manager: str, *tables: str) -> str:
    return "".join(table.replace("{manager}", manager) for table in tables)


QUICKSTART = (
    '[core_settings]\nlog_level = "info"\nallow_root = true\n'
    f'{HERE}{PEERS}{SQLITE}sqlite_db_path = "./sqlite-key-info-manager.sqlite3"\n{_with("sqlite-manager", MBED)}'
)


@dataclass(frozen=True)
class Case:
    """A configuration, and what its clients find."""

    text: str
    providers: tuple[int, ...]
    socket: str = "run/parsec/parsec.sock"
    direct: bool = False
    link: str = ""
    """A folder of the machine that is a link to one elsewhere."""


CASES = {
    "quickstart": Case(QUICKSTART, (1,), "work/parsec.sock"),
    "tests-all-on-disk": Case(
        CORE + HERE + DIRECT + ON_DISK + _with("on-disk-manager", MBED, TPM, PKCS11),
        (1, 3, 2),
        "work/parsec.sock", direct=True
    ),
    "tests-all-sqlite-in-another-order": Case(
        _with("sqlite-manager", PKCS11, TPM, MBED) + SQLITE + _TEST_DATABASE + DIRECT + HERE + CORE,
        (2, 3, 1),
        "work/parsec.sock",
        direct=True,
    ),
    "tests-pkcs11-alone": Case(
        CORE + HERE + DIRECT + ON_DISK + _with("on-disk-manager", PKCS11), (2,), "work/parsec.sock", direct=True
    ),
    "tests-various-fields": Case(
        '[core_settings]\nallow_root = true\nthread_pool_size = 2\nidle_listener_sleep_duration = 12\n'
        'log_level = "trace"\nlog_timestamp = true\nbody_len_limit = 1024\nlog_error_details = true\n'
        'buffer_size_limit = 1024\n' + HERE + DIRECT
        + SQLITE.replace("sqlite-manager", "I-want-to-speak-to-the-manager")
        + _TEST_DATABASE + _with("I-want-to-speak-to-the-manager", MBED),
        (1,),
        "work/parsec.sock",
        direct=True,
    ),
    "package": Case(
        '[core_settings]\nlog_level = "info"\n' + RUN + PEERS + SQLITE
        + 'sqlite_db_path = "/var/lib/parsec/kim-mappings/sqlite/sqlite-key-info-manager.sqlite3"\n'
        + _with("sqlite-manager", MBED, TPM),
        (1, 3),
    ),
    "package-with-another-manager": Case(
        CORE + RUN + PEERS + ON_DISK.replace("./mappings", "/var/lib/parsec/mappings")
        + SQLITE + 'store_path = "/var/lib/parsec/mappings"\n' + _with("sqlite-manager", MBED),
        (1,),
    ),
    "container": Case(
        CORE + RUN + DIRECT + SQLITE + 'sqlite_db_path = "/var/lib/parsec/kim.sqlite3"\n'
        + _with("sqlite-manager", MBED, PKCS11),
        (1, 2),
        direct=True,
    ),
    "linked-state-folder": Case(
        CORE + RUN + PEERS + SQLITE + 'sqlite_db_path = "/var/lib/parsec/kim.sqlite3"\n'
        + _with("sqlite-manager", MBED, PKCS11),
        (1, 2),
        link="lib/parsec",
    ),
    "linked-defaults": Case(
        CORE + RUN + PEERS + SQLITE + _with("sqlite-manager", MBED, PKCS11), (1, 2), link="lib/parsec"
    ),
    "linked-on-disk": Case(
        CORE + RUN + PEERS + ON_DISK.replace("./mappings", "/var/lib/parsec/mappings")
        + _with("on-disk-manager", MBED, PKCS11),
        (1, 2),
        link="lib/parsec/mappings",
    ),
    "linked-socket": Case(CORE + RUN + PEERS + SQLITE + _with("sqlite-manager", MBED), (1,), link="run/parsec"),
}  # fmt: skip


def for_shared_machines(text: str) -> str:
    """Return a configuration for a machine on which everything may take long."""
    return text.replace("timeout = 200", "timeout = 20000") + "[limits]\nstart_ms = 60000\nhang_ms = 20000\n"


class Machine:
    """A service in a mount namespace of its own."""

    def __init__(self, case: Case, stack: ExitStack) -> None:
        self._case = case
        self.service = stack.enter_context(_Closing())
        folder = self.service.folder
        for name in ("lib", "run/parsec", "softhsm", "work"):
            (folder / name).mkdir(parents=True)
        if case.link:
            self._link(folder / case.link, folder / "elsewhere")
        text = case.text
        if "@TCTI@" in text:
            swtpm = stack.enter_context(Swtpm())
            text = text.replace("@TCTI@", swtpm.tcti)
        if "@SLOT@" in text:
            token = softhsm(folder / "softhsm", pin="123456")
            # Whatever uid the worker has.
            subprocess.run(["chmod", "-R", "a+rwX", token.folder], check=True)
            text = text.replace("@SLOT@", str(token.slot)).replace("@LIBRARY@", str(softhsm_library()))
        self.service.configuration_path.write_text(for_shared_machines(text))
        self.socket = str(folder / case.socket)
        self.service.status_path = str(Path(self.socket).with_name("cofferdam-status.sock"))
        self._wrapped = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MACHINE, str(folder)]
        self.service.command = [*self._wrapped, *cofferdam()]

    @staticmethod
    def _link(path: Path, target: Path) -> None:
        target.mkdir()
        path.parent.mkdir(exist_ok=True, parents=True)
        if path.is_dir():
            path.rmdir()
        path.symlink_to(target)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run the command on that machine, in the same working directory."""
        command = [*self.service.command, *words, "-c", str(self.service.configuration_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def client(self, provider: int) -> Client:
        auth = Direct("client1") if self._case.direct else None
        return Client(f"unix:{self.socket}", provider=provider, auth=auth)


class _Closing(Service):
    """A service that is closed and not started by `with`."""

    def __enter__(self) -> Self:
        return self


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def use(machine: Machine, providers: tuple[int, ...]) -> None:
    """Make and use a key with each provider, before and after a restart."""
    for attempt in range(2):
        machine.service.start()
        for provider in providers:
            with machine.client(provider) as client:
                assert [info.id for info in client.list_providers()] == [*providers, 0]
                if not attempt:
                    client.generate_key(f"key {provider}", KEY)
                client.sign_hash(f"key {provider}", DIGEST, ecdsa())
        assert machine.run("status").returncode == 0
        assert machine.service.stop() == 0


@needs_root
@pytest.mark.parametrize("name", CASES)
def test_the_service_serves_with_this_configuration(name: str, stack: ExitStack) -> None:
    case = CASES[name]
    machine = Machine(case, stack)
    checked = machine.run("check")
    assert checked.returncode == 0, checked.stdout
    use(machine, case.providers)
    assert machine.run("check").returncode == 0
    log = machine.service.log()
    assert " error " not in log
    assert ("relative, so it is taken from the working directory" in log) == ("./" in case.text)


@needs_root
def test_one_line_says_what_this_build_lacks(stack: ExitStack) -> None:
    provider = (
        '[[provider]]\nprovider_type = "CryptoAuthLib"\nkey_info_manager = "{manager}"\n'
        'device_type = "always-success"\niface_type = "test-interface"\n'
    )
    machine = Machine(Case(CORE + HERE + DIRECT + ON_DISK + _with("on-disk-manager", MBED, provider), (1,)), stack)
    checked = machine.run("check")
    assert checked.returncode == os.EX_CONFIG
    (line,) = (line for line in checked.stdout.splitlines() if line.startswith("error: "))
    assert "no provider of type CryptoAuthLib; remove its table" in line


def test_a_normal_user_serves_the_quickstart() -> None:
    as_user = UNPRIVILEGED_UID if os.geteuid() == 0 else None
    with ExitStack() as stack:
        service = stack.enter_context(_Closing(as_user=as_user))
        service.configuration_path.write_text(for_shared_machines(QUICKSTART))
        if as_user:
            os.chown(service.configuration_path, as_user, as_user)
        service.status_path = str(service.folder / "cofferdam-status.sock")
        service.command = ["sh", "-c", 'cd "$0" && exec "$@"', str(service.folder), *service.command]
        service.start()
        with service.client() as client:
            client.generate_key("key", KEY)
            client.sign_hash("key", DIGEST, ecdsa())
        assert service.stop() == 0
        assert (service.folder / "cofferdam" / "software.kek").exists()


@needs_root
def test_first_starts_do_not_depend_on_who_comes_first(stack: ExitStack) -> None:
    """Whoever makes the folders that all processes share, and whatever the umask."""
    before = os.umask(0o077)
    try:
        for attempt in range(4):
            machine = Machine(CASES["container"], stack)
            if attempt % 2:
                (machine.service.folder / "lib" / "parsec").mkdir(mode=0o755)
                (machine.service.folder / "lib" / "parsec").chmod(0o755)
            for name in ("lib", "run", "run/parsec", "work", "softhsm"):
                (machine.service.folder / name).chmod(0o755)
            (machine.service.folder / "softhsm" / "softhsm2.conf").chmod(0o644)
            machine.service.start()
            for provider in (1, 2):
                with machine.client(provider) as client:
                    client.generate_key(f"key {provider}", KEY)
            machine.service.stop()
            shared = (machine.service.folder / "lib" / "parsec").stat()
            assert (shared.st_uid, shared.st_mode & 0o777) == (0, 0o755)
    finally:
        os.umask(before)


LINKED = {
    "sqlite_db_path": "kim/kim.sqlite3",
    "socket_path": "parsec.sock",
    "status_path": "status.sock",
    "mbed_its_path": "its",
    "key_encryption_key_file": "kek/pkcs11.kek",
    "state_folder": "pkcs11",
    "user_pin_file": "pin",
    "library_path": "module.so",
    "module_readable": "token/softhsm2.conf",
    "module_writable": "token/tokens",
}
_TABLES = {
    "sqlite_db_path": "key_manager",
    "socket_path": "listener",
    "status_path": "service",
    "mbed_its_path": "provider",
}


@pytest.mark.parametrize("key", LINKED)
def test_each_path_may_lead_through_a_link(key: str) -> None:
    service = TokenService()
    (service.folder / "link").symlink_to(service.folder)
    (service.folder / "its").mkdir()
    (service.folder / "pin").write_text(service.token.pin)
    (service.folder / "pin").chmod(0o400)
    (service.folder / "module.so").symlink_to(service.token.library)
    path = str(service.folder / "link" / LINKED[key])
    if key in _TABLES:
        service.set_table(_TABLES[key], **{key: path})
    elif key.startswith("module_"):
        service.configure(**{key: [path]})
    else:
        service.configure(**({"user_pin": None} if key == "user_pin_file" else {}), **{key: path})
    with service:
        with service.client() as client:
            client.generate_key("key", KEY)
        service.service.stop()
        service.start()
        with service.client() as client:
            client.sign_hash("key", DIGEST, ecdsa())

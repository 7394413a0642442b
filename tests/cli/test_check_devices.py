"""`cofferdam check --devices` opens tokens and TPMs as the workers do, says how it went, and changes nothing."""

import errno
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.interpreter import cofferdam
from tests.harness.pkcs11.service import TokenService
from tests.harness.pkcs11.token import objects
from tests.harness.running import started
from tests.harness.service import UNPRIVILEGED_UID, Service
from tests.harness.tpm.service import TpmService
from tests.harness.tpm.swtpm import tool
from tests.harness.watch import wait_for

from cofferdam_client import Curve, Hash, ecc_signing_key

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
AS_ROOT = os.geteuid() == 0
UNUSABLE = 3
TIMEOUT_S = 120.0


def check(path: Path, *options: str, uid: int | None = None) -> tuple[int, str]:
    """Return exit status and output."""
    done = subprocess.run(
        [*cofferdam(uid), "check", "-c", str(path), *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=() if uid is not None else None,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def tried(service: TokenService | TpmService, *options: str) -> tuple[int, str]:
    return check(service.service.configuration_path, "--devices", *options)


def files(service: TokenService | TpmService) -> dict[str, tuple[object, ...]]:
    """Return what is in the folder of a service, with owners, modes and contents.

    The log is left out, and the folder of the token, in which SoftHSM counts its sessions.
    """
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(service.folder.rglob("*")):
        state = path.lstat()
        if path.name != "log" and "token" not in path.parts:
            more = (state.st_mtime_ns, path.read_bytes()) if path.is_file() else ()
            found[str(path)] = (state.st_mode, state.st_uid, *more)
    return found


@pytest.fixture
def token() -> Iterator[TokenService]:
    service = TokenService(before="shim")
    try:
        yield service
    finally:
        service.close()


def served_once(service: TokenService) -> None:
    """Start the service, so that it makes what it needs; make a key; end it."""
    service.start()
    with service.client() as client:
        client.generate_key("k", KEY)
    service.service.stop()


def test_a_token_before_the_service_has_ever_run(token: TokenService) -> None:
    before = files(token)
    status, said = tried(token)
    # There is no folder yet to record an attempt in, so that it could be made twice.
    assert status == UNUSABLE
    assert "the PIN was not tried: there is no provider.state_folder yet" in said
    assert token.shim.count("C_Login") == 0
    status, said = tried(token, "--login")
    assert status == os.EX_OK
    assert f"token={token.token.label} serial={token.token.serial} slot={token.token.slot}" in said
    assert said.count('"a new key-encryption key would be made"') == len(("software", "pkcs11"))
    assert token.shim.count("C_Login") == 1
    assert files(token) == before


def test_a_token_without_the_service_and_beside_it(token: TokenService) -> None:
    served_once(token)
    before, keys = files(token), objects(token.token)
    status, said = tried(token)
    assert status == os.EX_OK
    assert re.search(r'pkcs11-provider: "the token is open" keys=1 ', said)
    assert re.search(
        r'pkcs11-provider: "the key-encryption key is that of the stored rows" file=\S+ id=[0-9a-f]+', said
    )
    assert 'pkcs11-provider: "the key store was read" rows=1' in said
    assert 'pkcs11-provider: "the token took the PIN"' in said
    assert (files(token), objects(token.token)) == (before, keys)
    token.start()
    worker = token.worker()
    status, said = tried(token)
    assert (status, '"the token took the PIN"' in said) == (os.EX_OK, True)
    with token.client() as client:
        assert [key.name for key in client.list_keys()] == ["k"]
    assert token.worker() == worker


def test_a_wrong_pin_is_tried_once(token: TokenService) -> None:
    served_once(token)
    token.configure(user_pin="9999")
    logins = token.shim.count("C_Login")
    status, said = tried(token)
    assert (status, "the token refuses the PIN" in said) == (UNUSABLE, True)
    assert "few tries may be left" in tried(token)[1]
    # Not even by those who insist, and not by the service.
    assert "the token refused this PIN before" in tried(token, "--login")[1]
    token.start()
    assert token.shim.count("C_Login") == logins + 1
    token.service.stop()
    token.configure(user_pin=token.token.pin)
    assert "the PIN was not tried: the token was given a wrong PIN since" in tried(token)[1]
    assert tried(token, "--login")[0] == os.EX_OK
    assert tried(token)[0] == os.EX_OK


def test_another_key_encryption_key_is_found(token: TokenService) -> None:
    served_once(token)
    kek = token.folder / "kek" / "pkcs11.kek"
    kek.chmod(0o600)
    kek.write_bytes(bytes(32))
    kek.chmod(0o400)
    status, said = tried(token)
    assert status == UNUSABLE
    assert re.search(
        r'provider down: pkcs11-provider: "the key-encryption key is not that of.*expected=\w+ found=', said
    )
    kek.unlink()
    status, said = tried(token)
    assert (status, f"{kek} does not exist, and the key store has rows" in said) == (UNUSABLE, True)
    assert not kek.exists()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("C_Initialize segv", "its rehearsal was killed by SIGSEGV"),
        ("C_Initialize return CKR_GENERAL_ERROR", "C_Initialize"),
        ("C_GetSlotList return CKR_DEVICE_REMOVED", "looking for tokens"),
        ("C_OpenSession exit 3", "its rehearsal exited with status 3"),
    ],
)
def test_a_module_that_fails_is_told(token: TokenService, rule: str, words: str) -> None:
    token.shim.set(rule)
    status, said = tried(token, "--login")
    assert status == UNUSABLE
    (line,) = (line for line in said.splitlines() if line.startswith("provider down: pkcs11-provider: "))
    assert words in line
    assert "provider down: mbed-crypto-provider" not in said


def test_what_a_module_writes_does_not_command_the_terminal(token: TokenService) -> None:
    """It may be hostile: the terminal is that of root, and obeys escape sequences."""
    served_once(token)
    ours, terminal = os.openpty()
    try:
        token.shim.set("C_Initialize garbage-stdout", "C_GetSlotList garbage-stdout")
        words = [*cofferdam(), "check", "-c", str(token.service.configuration_path), "--devices"]
        with started(words, stdin=terminal, stdout=terminal, stderr=terminal) as running:
            os.close(terminal)
            terminal = -1
            shown = b"".join(iter(lambda: _part(ours), b""))
            assert running.wait(TIMEOUT_S) == os.EX_OK
    finally:
        for descriptor in {ours, terminal} - {-1}:
            os.close(descriptor)
    said = shown.decode()
    assert [mark for mark in said if not mark.isprintable() and mark not in "\r\n"] == []
    written = [line for line in said.splitlines() if line.startswith("written: pkcs11-provider: ")]
    assert len(written) >= 2
    assert "[31mmodule: " in written[0]
    assert '"the token took the PIN"' in said


def test_a_module_that_writes_without_end_is_cut(token: TokenService) -> None:
    served_once(token)
    token.shim.set("C_GetMechanismInfo@1+ garbage-stdout")
    status, said = tried(token)
    assert status == os.EX_OK
    assert len([line for line in said.splitlines() if line.startswith("written: ")]) == 21
    assert re.search(r"^written: pkcs11-provider: and \d+ more lines$", said, re.MULTILINE)


def _part(descriptor: int) -> bytes:
    """Return what a terminal shows next; nothing when nobody has it open any more."""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError as error:
        assert error.errno == errno.EIO
        return b""


def test_a_module_that_hangs_is_told() -> None:
    service = TokenService(before="shim", tables={"limits": {"start_ms": 3000}})
    try:
        service.shim.set("C_Initialize hang")
        status, said = tried(service)
        assert (status, "did not end within limits.start_ms = 3000" in said) == (UNUSABLE, True)
    finally:
        service.close()


def test_it_is_confined_as_the_worker_is(token: TokenService) -> None:
    token.shim.set("C_GetSlotList slow 2000")
    pids: list[str] = []

    def watch() -> None:
        wait_for(lambda: token.shim.is_asleep("C_GetSlotList"))
        pids.extend(process_of("worker[pkcs11]", token.shim.library))
        token.shim.clear()

    watcher = threading.Thread(target=watch)
    watcher.start()
    tried(token)
    watcher.join()
    (status,) = pids
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    uid = os.geteuid() if token.uid is None else token.uid
    assert re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t{uid}$", status, re.MULTILINE)


def process_of(title: str, library: Path) -> Iterator[str]:
    """Yield the status of processes that have mapped a library; a confined one shows that to root only."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if title in (folder / "cmdline").read_text() and (
                str(library) in (folder / "maps").read_text() if AS_ROOT else _is_below(folder, os.getpid())
            ):
                yield (folder / "status").read_text()
        except OSError:
            continue


def _is_below(folder: Path, ancestor: int) -> bool:
    """Tell whether a process was started by another one, or by what that has started: others run beside this test."""
    pid = int(folder.name)
    while pid > 1:
        pid = int(re.findall(r"^PPid:\t(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[0])
        if pid == ancestor:
            return True
    return False


@pytest.fixture
def tpm() -> Iterator[TpmService]:
    service = TpmService()
    try:
        yield service
    finally:
        service.close()


def test_a_tpm_without_the_service_and_beside_it(tpm: TpmService) -> None:
    before = files(tpm)
    status, said = tried(tpm)
    assert status == os.EX_OK
    assert re.search(r'tpm-provider: "the TPM is open" .*vendor=\S+ .*failed_authorisations="0 of \d+"', said)
    assert "accepts the owner hierarchy's authorisation value" in said
    assert files(tpm) == before
    assert tpm.swtpm.getcap("handles-transient") == tpm.swtpm.getcap("handles-persistent") == ""
    tpm.start()
    # The simulator serves one at a time.
    status, said = tried(tpm)
    assert (status, "another program may have that" in said) == (UNUSABLE, True)
    with tpm.client() as client:
        client.generate_key("k", KEY)


def test_wrong_values_of_a_tpm_cost_no_tries(tpm: TpmService) -> None:
    tool(tpm.swtpm.tools_tcti, "tpm2_changeauth", "-c", "e", "new")
    status, said = tried(tpm)
    assert (status, "keys could not be attested" in said) == (os.EX_OK, True)
    tool(tpm.swtpm.tools_tcti, "tpm2_changeauth", "-c", "o", "new")
    status, said = tried(tpm)
    assert (status, "the password of the owner hierarchy differs from owner_hierarchy_auth" in said) == (UNUSABLE, True)
    assert tpm.swtpm.lockout_counter() == 0
    tpm.swtpm.stop()
    status, said = tried(tpm)
    assert (status, "found nobody who listens there" in said) == (UNUSABLE, True)


@pytest.mark.parametrize("uid", [UNPRIVILEGED_UID] if AS_ROOT else [None])
def test_a_normal_user_can_try_the_providers(uid: int | None) -> None:
    with Service(as_user=uid) as service:
        status, said = check(service.configuration_path, "--devices", uid=uid)
    assert status == os.EX_OK
    assert "provider down" not in said
    assert "mbed-crypto-provider" in said


def test_a_configuration_that_cannot_be_used_is_not_tried(token: TokenService) -> None:
    token.configure(library_path="")
    status, said = tried(token)
    assert (status, "found: " in said, token.shim.calls()) == (os.EX_CONFIG, False, [])


def test_keys_that_another_manager_has_are_found(token: TokenService) -> None:
    served_once(token)
    token.more = f'[[key_manager]]\nname = "files"\nmanager_type = "OnDisk"\nstore_path = "{token.folder}/files"\n'
    token.configure(key_info_manager="files")
    before = files(token)
    _, said = tried(token)
    (line,) = [line for line in said.splitlines() if "in another store" in line]
    assert line.startswith('warning: key store: "a provider is refused, as it has keys in another store"')
    assert f'provider=pkcs11-provider found="1 keys in {token.folder}/kim/kim.sqlite3"' in line
    assert f'there is no key store yet" file={token.folder}/files/' in said
    assert files(token) == before


@pytest.mark.parametrize("content", [None, b"notadb"])
def test_a_database_that_is_none(content: bytes | None) -> None:
    with Service() as service:
        service.stop()
        database = service.folder / "kim" / "kim.sqlite3"
        database.unlink()
        if content is None:
            database.mkdir()
        else:
            database.write_bytes(content)
        status, said = check(service.configuration_path, "--devices")
        assert status == UNUSABLE, said
        found = "something that is no plain file" if content is None else "6 bytes"
        assert f'key store down: "the key store cannot be opened" cause="{database}: found {found}, expected' in said

"""`cofferdam check` says what the service would log about its configuration, and starts nothing."""

import contextlib
import os
import socket
import subprocess
from pathlib import Path

import pytest
from tests.harness.interpreter import cofferdam
from tests.harness.service import Service, ServiceFailedError


def _check(path: Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [*cofferdam(), "check", "-c", str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def _token(folder: Path) -> str:
    return f"""
[[provider]]
provider_type = "Pkcs11"
key_info_manager = "kim"
library_path = "{folder}/none.so"
user_pin_file = "{folder}/none.pin"
"""


def test_a_good_configuration() -> None:
    with Service() as service:
        path = service.configuration_path
        assert _check(path) == (0, f"{path}: can be used\n")


def test_what_a_provider_lacks_is_said_beforehand_and_by_the_service() -> None:
    service = Service()
    try:
        service.configure({}, _token(service.folder))
        status, said = _check(service.configuration_path)
        assert status == 1
        # A normal user may be warned of where new key-encryption keys go.
        lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
        assert [line.partition(": ")[0] for line in lines[:-1]] == ["provider down"] * 2
        assert lines[-1].endswith(": can be used, but not all of its providers")
        # Whether the other providers are served is not for the reader to decide.
        with contextlib.suppress(ServiceFailedError):
            service.start()
        assert all(line.partition(": ")[2] in service.log() for line in lines[:-1])
    finally:
        service.close()


def test_what_others_can_change_is_refused_by_both() -> None:
    service = Service()
    try:
        service.configuration_path.chmod(0o666)
        status, said = _check(service.configuration_path)
        assert status == os.EX_CONFIG
        assert said.startswith("error: ")
        with pytest.raises(ServiceFailedError):
            service.start()
        assert said.splitlines()[0].removeprefix("error: ") in service.log()
    finally:
        service.close()


def _tokens(folder: Path) -> str:
    return f"""
[[additional_authenticator]]
auth_type = "JwtSvid"
workload_endpoint = "unix://{folder}/identity/agent.sock"
trust_domains = ["a.example"]
[[additional_authenticator]]
auth_type = "Jwt"
issuer = "https://issuer.example"
audience = ["parsec"]
key_file = "{folder}/identity/keys.json"
[identity]
revocations = "{folder}/identity/revocations.toml"
"""


def test_what_tokens_need_is_said() -> None:
    service = Service()
    try:
        service.configure({}, _tokens(service.folder))
        path, folder = service.configuration_path, service.folder / "identity"
        status, said = _check(path)
        assert status == os.EX_OK
        for missing in ("agent.sock", "keys.json"):
            assert f"nothing at {folder}/{missing} ({folder}: No such file or directory)" in said
        folder.mkdir()
        keys, revocations = folder / "keys.json", folder / "revocations.toml"
        for file in (keys, revocations):
            file.touch(mode=0o644)
        with socket.socket(socket.AF_UNIX) as agent:
            agent.bind(str(folder / "agent.sock"))
            status, said = _check(path)
            assert (status, "nothing at" in said) == (os.EX_OK, False)
        for file in (keys, revocations):
            file.chmod(0o666)
        status, said = _check(path)
        assert status == os.EX_CONFIG
        assert [line.rpartition("; ")[2] for line in said.splitlines() if line.startswith("error: ")] == [
            f"chmod go-w {keys}",
            f"chmod go-w {revocations}",
        ]
    finally:
        service.close()


def test_credentials_without_their_folder_are_an_error_and_no_traceback() -> None:
    service = Service()
    try:
        status, said = _check(service.configuration_path, CREDENTIALS_DIRECTORY="/none")
        assert (status, "CREDENTIALS_DIRECTORY=/none" in said) == (os.EX_CONFIG, True)
    finally:
        service.close()


@pytest.mark.parametrize("kind", ["folder", "fifo", "link", "nothing"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to("/dev/zero")
        case _:
            pass
    status, said = _check(path)
    assert status == os.EX_CONFIG
    assert said.startswith(f"error: {path}: ")


def test_it_takes_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\n" * (1 << 20))
    assert _check(path)[0] == os.EX_CONFIG

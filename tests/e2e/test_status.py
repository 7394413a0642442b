"""What an operator sees of providers that do not work, and of reloads: `cofferdam status`, `cofferdam reload`."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.harness.interpreter import cofferdam
from tests.harness.pkcs11.service import TokenService
from tests.harness.running import started
from tests.harness.service import UNPRIVILEGED_UID, Service
from tests.harness.tpm.service import TpmService
from tests.harness.tpm.swtpm import Swtpm, SwtpmError, tool
from tests.harness.watch import wait_for

from cofferdam_client import Curve, Hash, ecc_signing_key

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
LOCKED = "TPM_RC_LOCKOUT"
GROUP = 59321
"""Of nobody."""


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    status: int
    out: str
    err: str


def run(service: Service, command: str, *words: str, **identity: object) -> Ran:
    """Run a command of the command line for a service, as somebody."""
    whole = [*cofferdam(UNPRIVILEGED_UID if identity else None), command, "--socket", service.status_path, *words]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=120, cwd="/", **identity)  # type: ignore[call-overload]
    return Ran(done.returncode, done.stdout, done.stderr)


def table(values: Mapping[str, object]) -> str:
    """Return a further provider of a configuration."""
    return "\n".join(["[[provider]]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


def lock(swtpm: Swtpm) -> None:
    """Give a TPM wrong authorisations until it takes none any more."""
    words = ("--setup-parameters", "--max-tries=2", "--recovery-time=1000", "--lockout-recovery-time=1000")
    tool(swtpm.tools_tcti, "tpm2_dictionarylockout", *words)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tool(swtpm.tools_tcti, "tpm2_createprimary", "-C", "o", "-c", "parent", "-p", "right", folder=folder)
        for _ in range(3):
            with pytest.raises(SwtpmError, match=r"DA counter incremented|lockout"):
                tool(
                    swtpm.tools_tcti, "tpm2_create", "-C", "parent", "-P", "wrong", "-u", "u", "-r", "r", folder=folder
                )
            tool(swtpm.tools_tcti, "tpm2_flushcontext", "-t", folder=folder)


@pytest.mark.parametrize("token", ["wrong PIN", "unplugged"])
def test_the_first_status_has_every_trouble_with_its_remedy(token: str) -> None:
    tokens, tpm = TokenService(), TpmService(shim=True)
    try:
        lock(tpm.swtpm)
        values = {**tokens.usual_values(), **({"user_pin": "0000"} if token == "wrong PIN" else {})}
        if token == "unplugged":
            for entry in tokens.token.folder.iterdir():
                shutil.move(entry, tokens.folder / "elsewhere")
        service = tokens.service
        service.configure({}, f"{table(values)}\n{table(tpm.usual_values())}")
        service.start()
        said = run(service, "status")
        assert said.status == 3, said
        rows = {row["type"]: row for row in service.status()["providers"]}
        assert {kind: row["state"] for kind, row in rows.items()} == {
            "MbedCrypto": "up",
            "Pkcs11": "down",
            "Tpm": "down",
        }
        wanted = {
            "wrong PIN": ("CKR_PIN_INCORRECT", "correct it, then reload the service", None),
            "unplugged": ("no token fits label 'cofferdam'", "initialised tokens: none", 15.0),
        }
        *words, next_try = wanted[token]
        assert all(word in rows["Pkcs11"]["cause"] for word in words), rows
        assert (rows["Pkcs11"]["next_try_s"] is None) == (next_try is None)
        assert LOCKED in rows["Tpm"]["cause"]
        assert "tpm2_dictionarylockout --clear-lockout" in rows["Tpm"]["cause"]
        assert "TPM IBM" in rows["Tpm"]["device"]
        for row in rows.values():
            if row["cause"]:
                assert f"{row['name']}: {row['cause']}" in said.out
                assert row["cause"].split(": ", 1)[0] in service.log(), "the words of the log"
        tool(tpm.swtpm.tools_tcti, "tpm2_dictionarylockout", "--clear-lockout")
        wait_for(lambda: service.provider("Tpm")["state"] == "up", 30)
    finally:
        tokens.close()
        tpm.close()


def without_label(service: TokenService) -> None:
    service.configure(token_label="of another")


def without_tokens(service: TokenService) -> None:
    for entry in service.token.folder.iterdir():
        shutil.move(entry, service.folder / entry.name)


def with_a_closed_folder(service: TokenService) -> None:
    service.token.folder.chmod(0)


def with_an_open_pin(service: TokenService) -> None:
    (service.folder / "pin").chmod(0o644)


def without_its_key(service: TokenService) -> None:
    (service.folder / "kek" / "pkcs11.kek").rename(service.folder / "moved")


def reloading(service: Service) -> None:
    assert run(service, "reload").status != 0


def dying(service: Service) -> None:
    """Refuse to reload, and let the worker die: its successor finds what the reload would have found."""
    reloading(service)
    assert service.provider("Pkcs11")["state"] == "up"
    (worker,) = service.pids("worker[pkcs11]")
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: "stays down until a reload" in service.log())


@pytest.mark.parametrize(
    ("harm", "begin", "words"),
    [
        (without_label, reloading, ["no token fits", "label 'cofferdam'"]),
        (without_tokens, reloading, ["no token fits", "initialised tokens: none"]),
        (with_a_closed_folder, reloading, ["change its owner or mode", "with mode 0000 and owner", "closed to uid"]),
        (with_an_open_pin, dying, ["pin has mode 0644", "chmod 0400"]),
        (without_its_key, dying, ["pkcs11.kek does not exist", "move it back"]),
    ],
)
def test_a_token_that_cannot_be_used_any_more_says_why(
    harm: Callable[[TokenService], None], begin: Callable[[Service], None], words: list[str]
) -> None:
    service = TokenService()
    pin = service.folder / "pin"
    pin.write_text(service.token.pin)
    pin.chmod(0o400)
    service.configure(user_pin=None, user_pin_file=str(pin))
    with service:
        with service.client() as client:
            client.generate_key("k", KEY)
        wait_for(lambda: service.service.provider("Pkcs11")["keys"] == 1)
        well = service.service.provider("Pkcs11")
        assert (well["state"], well["cause"]) == ("up", "")
        assert service.token.serial in well["device"]
        assert run(service.service, "status").status == 0
        harm(service)
        begin(service.service)
        assert run(service.service, "status").status == 3
        found = service.service.provider("Pkcs11")
        assert found["state"] == "down"
        assert all(word in found["cause"] for word in words), found
        assert service.service.provider("MbedCrypto")["state"] == "up"


def test_a_token_that_goes_away_is_noticed_without_a_client() -> None:
    with TokenService() as service:
        for entry in service.token.folder.iterdir():
            shutil.move(entry, service.folder / entry.name)
        wait_for(lambda: "no token fits" in service.service.provider("Pkcs11")["cause"], 60)
        found = service.service.provider("Pkcs11")
        assert found["state"] == "down"
        assert found["next_try_s"] is not None
        for entry in service.folder.glob("*-*-*-*"):
            shutil.move(entry, service.token.folder / entry.name)
        wait_for(lambda: service.service.provider("Pkcs11")["state"] == "up", 60)


def test_a_tpm_that_goes_away_is_noticed_without_a_client() -> None:
    with TpmService() as service:
        service.swtpm.kill()
        wait_for(lambda: "the TPM cannot be used" in service.service.provider("Tpm")["cause"], 60)
        found = service.service.provider("Tpm")
        assert (found["state"], found["next_try_s"] is None) == ("down", False)
        service.swtpm.start()
        wait_for(lambda: service.service.provider("Tpm")["state"] == "up", 60)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"owner_hierarchy_auth": "str:wrong"}, ["the TPM cannot be used", "BAD_AUTH"]),
        ({"tcti": "device:/dev/tpm-nowhere"}, ["/dev/tpm-nowhere"]),
        (
            {"tcti": "device:/dev/tpm-nowhere", "skip_if_no_tpm": True},
            ["left out, as there is no device /dev/tpm-nowhere"],
        ),
    ],
)
def test_a_tpm_that_cannot_be_used_says_why(values: dict[str, str | int | bool | list[str]], words: list[str]) -> None:
    swtpm = Swtpm()
    swtpm.start()
    try:
        tool(swtpm.tools_tcti, "tpm2_changeauth", "-c", "owner", "right")
        with TpmService(values=values, swtpm=swtpm) as service:
            assert run(service.service, "status").status == 3
            found = service.service.provider("Tpm")
            assert found["state"] == "down"
            assert all(word in found["cause"] for word in words), found
    finally:
        swtpm.close()


def test_a_worker_that_is_killed_leaves_a_row_until_its_successor_serves() -> None:
    with Service() as service:
        (worker,) = service.pids("worker[software]")
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: service.provider("MbedCrypto")["state"] == "down")
        assert service.provider("MbedCrypto")["cause"] == "its process died: killed by SIGKILL"
        wait_for(lambda: service.provider("MbedCrypto")["state"] == "up")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


def test_a_reload_returns_what_became_of_it(service: Service) -> None:
    assert run(service, "reload").status == 0
    service.configure({"listener": {"timeout": 0}, "core_settings": {"log_level": "loud"}})
    line = next(n for n, text in enumerate(service.configuration_path.read_text().splitlines(), 1) if "loud" in text)
    refused = run(service, "reload")
    assert refused.status == 1
    assert f"{service.configuration_path}:{line}: core_settings.log_level: found" in refused.out
    assert "listener.timeout: found 0, allowed" in refused.out
    shown = run(service, "status").out
    assert all(f"\n  {problem}\n" in shown for problem in refused.out.splitlines()[1:])
    said = service.status()
    assert (said["phase"], said["reload"]["outcome"]) == ("running", "refused")
    assert "last reload: refused" in shown
    service.configure({})
    taken = run(service, "reload")
    assert (taken.status, taken.out) == (0, f"taken over: {service.configuration_path}\n")
    assert service.status()["reload"]["problems"] == []


def test_a_file_that_the_service_does_not_read_is_not_reloaded(service: Service, tmp_path: Path) -> None:
    other = tmp_path / "config.toml"
    shutil.copy(service.configuration_path, other)
    asked = service.status()["reload"]["asked"]
    done = subprocess.run([*cofferdam(), "reload", "-c", other], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"reads {service.configuration_path} at a reload, not {other}" in done.stderr
    assert service.status()["reload"]["asked"] == asked
    link = tmp_path / "link.toml"
    link.symlink_to(service.configuration_path)
    subprocess.run([*cofferdam(), "reload", "-c", link], check=True)
    assert service.status()["reload"]["asked"] == asked + 1


def test_reloads_at_one_time_all_get_their_answer(service: Service) -> None:
    words = [*cofferdam(), "reload", "--socket", service.status_path]
    with ExitStack() as running:
        asking = [running.enter_context(started(words, stdout=subprocess.PIPE)) for _ in range(3)]
        done = [(one.communicate(timeout=120)[0].decode(), one.returncode) for one in asking]
    assert done == [(f"taken over: {service.configuration_path}\n", 0)] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_group_may_read_the_status_but_not_whom_a_frontend_serves() -> None:
    with Service(tables={"service": {"status_group": GROUP}}) as service:
        with service.client() as client:
            client.ping()
        assert {row["principal"] for row in service.rows("frontend")} >= {0}
        member = {"user": UNPRIVILEGED_UID, "group": GROUP, "extra_groups": ()}
        said = run(service, "status", "--json", **member)
        assert said.status == 0, said
        assert {row["principal"] for row in json.loads(said.out)["processes"]} == {None}
        asked = run(service, "reload", **member)
        assert (asked.status, "you may not signal process" in asked.err) == (1, True)
        stranger = run(service, "status", **(member | {"group": UNPRIVILEGED_UID}))
        assert stranger.status == 1
        assert (
            f"you may not connect to {service.status_path}: the socket is of user root, of group {GROUP}"
            in stranger.err
        )
        # A socket that is made again is the group's as well.
        os.unlink(service.status_path)
        wait_for(lambda: os.path.exists(service.status_path) and os.stat(service.status_path).st_gid == GROUP)
        assert run(service, "status", **member).status == 0
        # Without the group it is root's alone again.
        service.configure({})
        assert run(service, "reload").status == 0
        assert run(service, "status", **member).status == 1

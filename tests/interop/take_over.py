"""Take a key store and three providers over from the reference service, use and make keys, and give all of it back.

Once with a database, once with mapping files, and once with these for the token and a database for the rest. Needs root
and the lab, which installs the reference in a tree of its own (LAB_DIR, by default in the temporary directory). Both
services run; what one signs or encrypts the other has to verify or decrypt, before and after each change of hands.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from tests.harness.answers import refused
from tests.harness.lab import lab_file
from tests.harness.pkcs11.token import Token, give, softhsm_library
from tests.harness.three_providers import PKCS11, SOFTWARE, TPM, Providers
from tests.harness.tpm.swtpm import Swtpm
from tests.interop.report import Report

from cofferdam_client import (
    RSA_PKCS1V15_ENCRYPTION,
    Client,
    Hash,
    Status,
    ecc_signing_key,
    ecdsa,
    rsa_encryption_key,
    rsa_pkcs1v15,
    rsa_signing_key,
)

INSTANCE: Final = "take-over"
ALL: Final = (SOFTWARE, PKCS11, TPM)
DIGEST: Final = bytes(range(32))
TEXT: Final = b"for the key"
_TIME_S: Final = 600
"""The first start installs the reference."""
_OWNER: Final = 39871
"""The reference's uid in the lab."""


_BOTH: Final = """#!/bin/sh
{
    sed '/provider_type = "Pkcs11"/{n;s/"kim"/"files"/}' "$2"
    printf '[[key_manager]]\\nname = "files"\\nmanager_type = "OnDisk"\\nstore_path = "%s/kim/mappings"\\n' "${2%/*}"
} >both.toml
exec /usr/bin/parsec -c both.toml
"""
"""In place of the reference: gives the token's provider a second key manager."""


class Used(NamedTuple):
    """What a key has done for one service, for the other to compare with."""

    public: bytes
    result: bytes
    """A signature of `DIGEST`, or `TEXT` encrypted."""


KEYS: Final = {"ecc": ecc_signing_key(), "rsa": rsa_signing_key(2048), "crypt": rsa_encryption_key(2048)}
_ALGORITHMS: Final = {"ecc": ecdsa(), "rsa": rsa_pkcs1v15(Hash.SHA_256)}


def run(report: Report) -> None:
    """Take over and give back, with each kind of key store."""
    for kind in ("sqlite", "ondisk", "both"):
        with report.check(f"{kind}: the keys went over and back"), Reference(kind) as reference:
            _there_and_back(reference, report)


class Reference:
    """The reference service of the lab, with state of its own that is removed at the end."""

    def __init__(self, kind: str) -> None:
        self.kind: Final = kind
        self.folder: Final = Path(_lab("path", INSTANCE).strip())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _lab("stop", INSTANCE, "--wipe")

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Run it for a while; give its endpoint."""
        kind, more = self.kind, tuple[str, ...]()
        if self.kind == "both":
            program = self.folder / "parsec-both"
            self.folder.mkdir(parents=True, exist_ok=True)
            program.write_text(_BOTH)
            program.chmod(0o755)
            kind, more = "sqlite", ("--bin", f"/inst/{INSTANCE}/{program.name}")
        _lab("start", INSTANCE, "all", "--kim", kind, "--timeout", "1000", *more)
        try:
            yield f"unix:{self.folder / 'parsec.sock'}"
        finally:
            _lab("stop", INSTANCE)

    def serial(self) -> str:
        """Return the serial number of its token."""
        (line,) = [line for line in (self.folder / "config.toml").read_text().splitlines() if "serial_number" in line]
        return line.split('"')[1]


def _lab(*words: str) -> str:
    done = subprocess.run(
        ["sh", str(lab_file("setup_peer.sh")), *words], check=False, capture_output=True, text=True, timeout=_TIME_S
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr}"
    return done.stdout


def _there_and_back(reference: Reference, report: Report) -> None:
    used: dict[tuple[int, str], Used] = {}
    with reference.running() as endpoint:
        for provider in ALL:
            for kind in KEYS:
                used[provider, f"{kind}-{provider}"] = _made(endpoint, provider, f"{kind}-{provider}")
        # Each name is there once in a manager.
        for provider in (SOFTWARE, PKCS11) if reference.kind == "both" else ():
            used[provider, "ecc-same"] = _made(endpoint, provider, "ecc-same")
    with Swtpm() as tpm:
        tpm.stop()
        shutil.copytree(reference.folder / "tpm", tpm.folder / "state", dirs_exist_ok=True)
        tpm.start()
        service = Providers(tpm, lambda folder, uid: _token(reference, folder, uid))
        _take(reference, service)
        with service, report.check(f"{reference.kind}: every key of the reference was used here"):
            _use_all(service.service.endpoint, used)
            for provider in ALL:
                _destroyed(service.service.endpoint, provider, f"rsa-{provider}")
                del used[provider, f"rsa-{provider}"]
            for provider in (PKCS11, TPM):
                used[provider, f"new-ecc-{provider}"] = _made(service.service.endpoint, provider, f"new-ecc-{provider}")
            service.service.stop()
            tpm.stop()
            _give_back(reference, service, tpm)
    with reference.running() as endpoint, report.check(f"{reference.kind}: every key was used by the reference again"):
        _use_all(endpoint, used)


def _take(reference: Reference, service: Providers) -> None:
    """Give a service what the reference left, except token and TPM."""
    its = service.folder / "its"
    its.mkdir()
    for path in (reference.folder / "work").glob("*.psa_its"):
        shutil.copy(path, its)
    changes: dict[str, dict[str, str | int | bool | list[str] | None]] = {
        "kim": {"give_back": True},
        "software": {"mbed_its_path": str(its)},
    }
    store = service.folder / "kim"
    shutil.copytree(reference.folder / "kim", store)
    if reference.kind == "ondisk":
        changes["key_manager"] = {"manager_type": "OnDisk", "store_path": str(store / "mappings")}
    if reference.kind == "both":
        changes["pkcs11"] = {"key_info_manager": "files"}
        folder = store / "mappings"
        assert len(list(folder.glob("*/2/*"))) == len(list(folder.glob("*/*/*"))) == len(KEYS) + 1
        service.more = f'[[key_manager]]\nname = "files"\nmanager_type = "OnDisk"\nstore_path = "{folder}"\n'
    service.changes = changes
    service.configure()


def _token(reference: Reference, folder: Path, uid: int | None) -> Token:
    tokens, configuration = folder / "tokens", folder / "softhsm2.conf"
    shutil.copytree(reference.folder / "tokens", tokens)
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    give(tokens, uid)
    return Token(
        folder=tokens,
        library=softhsm_library(),
        environment={"SOFTHSM2_CONF": str(configuration)},
        configuration=configuration,
        label="lab",
        serial=reference.serial(),
        slot=0,
        pin="123456",
    )


def _give_back(reference: Reference, service: Providers, tpm: Swtpm) -> None:
    """Do what docs/howto/operate.md says of giving back. There are no keys that the reference cannot use."""
    for name, source in (
        ("kim", service.folder / "kim"),
        ("tokens", service.token.folder),
        ("tpm", tpm.folder / "state"),
    ):
        target = reference.folder / name
        shutil.rmtree(target)
        shutil.copytree(source, target)
    if reference.kind != "ondisk":
        with contextlib.closing(sqlite3.connect(reference.folder / "kim" / "kim.sqlite3")) as database:
            assert database.execute("SELECT count(*) FROM key_mapping WHERE key_id_version <> 1").fetchone() == (0,)
            assert database.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    for path in reference.folder.rglob("*"):
        os.chown(path, _OWNER, _OWNER)


def _made(endpoint: str, provider: int, name: str) -> Used:
    kind = _kind(name)
    with Client(endpoint, provider=provider) as client:
        client.generate_key(name, KEYS[kind])
        result = (
            client.sign_hash(name, DIGEST, _ALGORITHMS[kind])
            if kind in _ALGORITHMS
            else client.asymmetric_encrypt(name, TEXT, RSA_PKCS1V15_ENCRYPTION)
        )
        return Used(client.export_public_key(name), result)


def _kind(name: str) -> str:
    return name.split("-")[-2]


def _destroyed(endpoint: str, provider: int, name: str) -> None:
    with Client(endpoint, provider=provider) as client:
        client.destroy_key(name)


def _use_all(endpoint: str, used: dict[tuple[int, str], Used]) -> None:
    with Client(endpoint) as client:
        found = {(int(key.provider_id), key.name): key.attributes for key in client.list_keys()}
    assert found == {where: KEYS[_kind(where[1])] for where in used}
    for (provider, name), before in used.items():
        kind = _kind(name)
        with Client(endpoint, provider=provider) as client:
            assert client.export_public_key(name) == before.public
            if kind in _ALGORITHMS:
                client.verify_hash(name, DIGEST, before.result, _ALGORITHMS[kind])
                client.verify_hash(name, DIGEST, client.sign_hash(name, DIGEST, _ALGORITHMS[kind]), _ALGORITHMS[kind])
            else:
                assert client.asymmetric_decrypt(name, before.result, RSA_PKCS1V15_ENCRYPTION) == TEXT
    for provider in ALL:
        with Client(endpoint, provider=provider) as client, refused(Status.PSA_ERROR_DOES_NOT_EXIST):
            client.export_public_key("absent")

"""Take a TPM and a key store over from the reference service, make keys as with `give_back`, and give both back.

python -m tools.give_back_check

Needs root and the lab, which installs the reference in a tree of its own (LAB_DIR, by default in the temporary
directory). The reference's keys are used here, ours by the reference; parsec-tool asks it, and openssl is the judge.
The key store's own process is not started: its code writes the database as it does there.
"""

import base64
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from msgspec.structs import replace
from tests.harness.lab import lab_file
from tests.harness.tpm.channel import LOOPBACK
from tests.harness.tpm.swtpm import Swtpm
from tests.interop.openssl import encrypt, is_signature
from tests.interop.report import Report

from cofferdam_client.attributes import ecc_signing_key, rsa_encryption_key, rsa_signing_key
from cofferdam_contracts import operations
from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.algorithm import AsymmetricEncryption, AsymmetricSignature, Hash
from cofferdam_contracts.psa.attributes import KeyAttributes, KeyKind
from cofferdam_contracts.psa.encoding import decode_attributes, encode_attributes
from cofferdam_contracts.registry import PROVIDERS, AuthType, ProviderId
from cofferdam_contracts.settings import LogSettings, ProviderEntry, TctiSettings, TpmSettings, WorkerSettings
from cofferdam_kim.location import prepare
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import MappingStore
from cofferdam_providers.base.key_encryption_key import KeyEncryptionKey
from cofferdam_providers.base.provider import OWN_FORM, REFERENCE_FORM, Key, StoredKey
from cofferdam_providers.pyca.asym_sign import hashed
from cofferdam_providers.tpm.credentials import Credentials
from cofferdam_providers.tpm.keys import TpmKey
from cofferdam_providers.tpm.provider import TpmProvider
from cofferdam_runtime.log import Log

INSTANCE: Final = "give-back"
APPLICATION: Final = "1000"
"""The uid of parsec-tool, which is what UnixPeerCredentials calls a client."""
MESSAGE: Final = "the tide is out"
_TPM: Final = PROVIDERS[ProviderId.TPM]
_TPM_ENTRY: Final = ProviderEntry(id=_TPM.id, uuid=_TPM.uuid, name=_TPM.name, opcodes=())
_OAEP: Final = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256")
_TIME_S: Final = 600.0
_SHOWN: Final = 100
KEYS: Final[Mapping[str, tuple[Sequence[str], KeyAttributes]]] = {
    "ecc": (("create-ecc-key",), ecc_signing_key()),
    "rsa-sign": (("create-rsa-key", "--for-signing"), rsa_signing_key()),
    "rsa-oaep": (("create-rsa-key", "--oaep"), rsa_encryption_key(oaep=Hash.SHA_256)),
    "rsa-pkcs1v15": (("create-rsa-key",), rsa_encryption_key()),
}
"""How parsec-tool makes a key, and what it asks the service for in doing so."""


class Reference:
    """The reference service of the lab, with a TPM of its own."""

    def __init__(self) -> None:
        """Know it; start nothing."""
        self.folder: Final = Path(self._run("path", INSTANCE).strip())
        self.database: Final = self.folder / "kim" / "kim.sqlite3"
        self.state: Final = self.folder / "tpm" / "tpm2-00.permall"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let it run for a while, on what it has."""
        self._run("start", INSTANCE, "tpm")
        try:
            yield
        finally:
            print((self.folder / "parsec.log").read_text(), end="", flush=True)
            self._run("stop", INSTANCE)

    def wipe(self) -> None:
        """Let it have nothing."""
        self._run("stop", INSTANCE, "--wipe")

    def tool(self, *words: str) -> str:
        """Run parsec-tool and return what it prints, without the end of the line."""
        print(f"$ {shlex.join(['parsec-tool', '-p', str(int(_TPM.id)), *words])[:_SHOWN]}", flush=True)
        return self._run("tool", INSTANCE, "-p", str(int(_TPM.id)), *words).removesuffix("\n")

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            ["sh", str(lab_file("setup_peer.sh")), *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=_TIME_S,
            env={**os.environ, "TOOL_USER": f"{APPLICATION}:{APPLICATION}"},
        )
        assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr}"
        return done.stdout


class StoreRows:
    """The key store as the provider sees it."""

    def __init__(self, store: MappingStore) -> None:
        """Use this one."""
        self._store = store

    def lookup(self, identity: KeyIdentity) -> StoredKey:
        """Return what is stored."""
        record = self._store.lookup(_TPM_ENTRY, identity)
        return StoredKey(key_id=record.key_id, version=record.version, attributes=decode_attributes(record.attributes))

    def reserve(self, identity: KeyIdentity, planned: StoredKey) -> None:
        """Take a name."""
        self._store.reserve(_TPM_ENTRY, identity, _record(planned))

    def activate(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Store something under it."""
        self._store.activate(_TPM_ENTRY, identity, _record(stored))


class Ours:
    """The TPM provider, which stores keys as the reference can use them, and the key store."""

    def __init__(self, provider: TpmProvider, store: MappingStore) -> None:
        """Use these."""
        self._provider = provider
        self._rows = StoreRows(store)
        provider.attach(self._rows, lambda _busy: None)

    def make(self, name: str, wanted: KeyAttributes) -> None:
        """Make a key as a request does."""
        attributes, identity = replace(wanted, usage=wanted.usage.widened()), _identity(name)
        self._provider.check_generate(attributes)
        self._rows.reserve(identity, StoredKey(key_id=b"", version=OWN_FORM, attributes=attributes))
        made = self._provider.generate_key(identity, attributes, b"")
        assert made.version == REFERENCE_FORM
        self._rows.activate(identity, made)

    def attributes(self, name: str) -> bytes:
        """Return the stored attributes of a key, encoded."""
        return encode_attributes(self._rows.lookup(_identity(name)).attributes)

    def sign(self, name: str) -> bytes:
        """Sign the message, and return the signature as openssl takes it."""
        key = self._key(name)
        algorithm = key.attributes.algorithm
        assert isinstance(algorithm, AsymmetricSignature)
        digest = hashed(operations.SignMessage(name, algorithm, MESSAGE.encode()))
        (signature,) = self._provider.perform(key, operations.SignHash(name, algorithm, digest))
        if key.attributes.type.kind is not KeyKind.ECC_KEY_PAIR:
            return signature
        size = len(signature) // 2
        return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))

    def decrypt(self, name: str, ciphertext: bytes) -> str:
        """Decrypt a text."""
        key = self._key(name)
        algorithm = key.attributes.algorithm
        assert isinstance(algorithm, AsymmetricEncryption)
        operation = operations.AsymmetricDecrypt(name, algorithm, ciphertext, b"")
        return self._provider.perform(key, operation)[0].decode()

    def _key(self, name: str) -> Key[TpmKey]:
        return self._provider.open_key(_identity(name), self._rows.lookup(_identity(name)))


@contextmanager
def take_over(reference: Reference) -> Iterator[Ours]:
    """Have the reference's TPM and key store while it does not run; without a key store make one."""
    tpm = Swtpm()
    shutil.copy(reference.state, tpm.folder / "state")
    owner = reference.state.stat()
    with tpm, tempfile.TemporaryDirectory() as folder:
        assert isinstance(tpm.address, int)
        database = Path(folder) / "kim" / "kim.sqlite3"
        database.parent.mkdir(mode=0o700)
        if reference.database.exists():
            shutil.copy(reference.database, database)
        provider = TpmProvider(
            _settings(tpm.address),
            Credentials(owner_auth=b"", endorsement_auth=b"", kek=KeyEncryptionKey(os.urandom(32), "")),
            Log("give-back"),
        )
        prepare(str(database))
        with closing(MappingStore.open(str(database), (_TPM_ENTRY,))) as store:
            provider.open()
            yield Ours(provider, store)
            provider.close()
        # The provider keeps its connection for as long as it is there, so the TPM is not told of its end.
        tpm.kill()
        shutil.copyfile(tpm.folder / "state" / reference.state.name, reference.state)
        shutil.copyfile(database, reference.database)
        os.chown(reference.database, owner.st_uid, owner.st_gid)
        left = [path.name for path in database.parent.iterdir() if path != database]
        assert left == [], f"the key store leaves {left} beside the database"


def check(reference: Reference, report: Report) -> None:
    """Take over what the reference has, and give it back with keys of ours."""
    public = {}
    with reference.running():
        for kind, (words, _) in KEYS.items():
            reference.tool(*words, "-k", f"theirs-{kind}")
            public[kind] = reference.tool("export-public-key", "-k", f"theirs-{kind}")
    with take_over(reference) as ours:
        for kind, (_, attributes) in KEYS.items():
            with report.check(f"{kind}: we use the reference's key"):
                _use_theirs(ours, f"theirs-{kind}", public[kind], attributes)
            with report.check(f"{kind}: we make a key with the same attributes in every bit"):
                ours.make(f"ours-{kind}", attributes)
                assert ours.attributes(f"ours-{kind}") == ours.attributes(f"theirs-{kind}")
    with reference.running():
        _check_use(reference, report, ("ours", "theirs"))
        with report.check("the reference destroys a key of ours"):
            reference.tool("delete-key", "-k", "ours-ecc")
            assert "ours-ecc" not in reference.tool("list-keys")


def check_new(reference: Reference, report: Report) -> None:
    """Give the reference a key store that it never saw, with the Name of the storage root key as we keep it."""
    with reference.running():
        pass
    reference.database.unlink()
    with take_over(reference) as ours:
        for kind, (_, attributes) in KEYS.items():
            ours.make(f"new-{kind}", attributes)
    with reference.running():
        _check_use(reference, report, ("new",))


def main() -> int:
    """Check it; the exit status tells whether everything was as it should be."""
    reference, report = Reference(), Report()
    for work in (check, check_new):
        reference.wipe()
        try:
            with report.check(f"everything was tried: {work.__doc__}"):
                work(reference, report)
        finally:
            reference.wipe()
    print(f"\n{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


def _use_theirs(ours: Ours, name: str, pem: str, attributes: KeyAttributes) -> None:
    if isinstance(attributes.algorithm, AsymmetricSignature):
        assert is_signature(pem, MESSAGE.encode(), ours.sign(name))
    else:
        assert ours.decrypt(name, encrypt(pem, MESSAGE.encode(), *_options(attributes))) == MESSAGE


def _check_use(reference: Reference, report: Report, whose: Sequence[str]) -> None:
    listed = reference.tool("list-keys")
    for kind, (_, attributes) in KEYS.items():
        for name in (f"{one}-{kind}" for one in whose):
            with report.check(f"the reference uses {name}"):
                assert name in listed
                _ask_for(reference, name, attributes)


def _ask_for(reference: Reference, name: str, attributes: KeyAttributes) -> None:
    pem = reference.tool("export-public-key", "-k", name)
    if isinstance(attributes.algorithm, AsymmetricSignature):
        signature = base64.b64decode(reference.tool("sign", "-k", name, MESSAGE))
        assert is_signature(pem, MESSAGE.encode(), signature)
        return
    theirs = base64.b64decode(reference.tool("encrypt", "-k", name, MESSAGE))
    for ciphertext in (theirs, encrypt(pem, MESSAGE.encode(), *_options(attributes))):
        assert reference.tool("decrypt", "-k", name, base64.b64encode(ciphertext).decode()) == MESSAGE


def _options(attributes: KeyAttributes) -> Sequence[str]:
    assert isinstance(attributes.algorithm, AsymmetricEncryption)
    return () if attributes.algorithm.hash is None else _OAEP


def _identity(name: str) -> KeyIdentity:
    return KeyIdentity(int(AuthType.UNIX_PEER_CREDENTIALS), APPLICATION, name)


def _record(stored: StoredKey) -> KeyRecord:
    return KeyRecord(stored.key_id, stored.version, encode_attributes(stored.attributes))


def _settings(port: int) -> TpmSettings:
    worker = WorkerSettings(
        log=LogSettings(),
        provider=_TPM_ENTRY,
        authenticators=(),
        buffer_size_limit=1 << 20,
        body_len_limit=1 << 20,
        allow_deprecated=False,
        key_cache=16,
        memory_limit=0,
        adopt_rows=False,
    )
    return TpmSettings(
        worker=worker,
        tcti=TctiSettings(kind="swtpm", path=None, host=LOOPBACK, port=port, bus_name=None, bus_type=None),
        owner_auth="",
        owner_auth_file=None,
        endorsement_auth=None,
        endorsement_auth_file=None,
        skip_if_no_tpm=False,
        kek_file="",
        kek_create=False,
        give_back=True,
        application_parents=False,
        bus_protection=True,
        groups=(),
    )


if __name__ == "__main__":
    sys.exit(main())

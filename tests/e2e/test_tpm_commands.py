"""What goes over the wire to a TPM: how many commands, and no secret."""

import os
from collections.abc import Iterator

import pytest
from tests.harness.answers import refused
from tests.harness.tpm.service import WORKER, TpmService
from tests.harness.tpm.swtpm import Swtpm, tool
from tests.harness.watch import contains

from cofferdam_client import (
    Client,
    Curve,
    Hash,
    Status,
    ecc_signing_key,
    ecdsa,
    public_key_of,
    rsa_encryption_key,
    rsa_oaep,
)

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
OAEP = rsa_oaep(Hash.SHA_256)
DECRYPTING = rsa_encryption_key(2048, oaep=Hash.SHA_256)
DIGEST = bytes(range(32))
TEXT = b"a text that nobody else may see"


@pytest.fixture(scope="module")
def service() -> Iterator[TpmService]:
    with TpmService(shim=True) as running:
        yield running


@pytest.fixture
def client(service: TpmService) -> Iterator[Client]:
    with service.client() as connected:
        connected.generate_key("ecc", KEY)
        yield connected
        for key in connected.list_keys():
            connected.destroy_key(key.name)


def test_each_operation_has_its_commands(service: TpmService, client: Client) -> None:
    signature, ciphertext = b"", b""

    def sign() -> None:
        nonlocal signature
        signature = client.sign_hash("ecc", DIGEST, ecdsa())

    def encrypt() -> None:
        nonlocal ciphertext
        ciphertext = client.asymmetric_encrypt("rsa", TEXT, OAEP)

    def decrypt() -> None:
        assert client.asymmetric_decrypt("rsa", ciphertext, OAEP) == TEXT

    client.generate_key("rsa", DECRYPTING)
    # Whatever it takes to be where the list begins.
    sign()
    steps = [
        (sign, ["Sign"]),
        (sign, ["Sign"]),
        (lambda: client.verify_hash("ecc", DIGEST, signature, ecdsa()), ["VerifySignature"]),
        (lambda: client.export_public_key("ecc"), []),
        (client.list_keys, []),
        (encrypt, ["Load", "RSA_Encrypt"]),
        (encrypt, ["RSA_Encrypt"]),
        (decrypt, ["RSA_Decrypt"]),
        (sign, ["Sign"]),
        (lambda: client.generate_random(64), ["GetRandom"]),
        (lambda: client.generate_random(100), ["GetRandom", "GetRandom"]),
        # A key is generated in a slot and evicts the least recently used key, but is not loaded.
        (lambda: client.generate_key("new", KEY), ["ContextSave", "FlushContext", "Create"]),
        (lambda: client.sign_hash("new", DIGEST, ecdsa()), ["Load", "Sign"]),
        # It was evicted by the new one, and is restored from its context, without its parent.
        (
            lambda: client.asymmetric_decrypt("rsa", ciphertext, OAEP),
            ["ContextSave", "FlushContext", "ContextLoad", "RSA_Decrypt"],
        ),
        (lambda: client.destroy_key("rsa"), ["FlushContext"]),
    ]
    for number, (step, expected) in enumerate(steps):
        before = service.shim.mark()
        step()
        assert service.shim.commands(since=before) == expected, number


def test_the_endorsement_key_is_made_once(service: TpmService, client: Client) -> None:
    client.prepare_key_attestation("ecc")
    before = service.shim.mark()
    for _ in range(3):
        client.prepare_key_attestation("ecc")
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE, Status.PSA_ERROR_INVALID_ARGUMENT):
            client.attest_key("ecc", bytes(66), bytes(256))
    assert service.shim.count("CreatePrimary", since=before) == 0


@pytest.mark.parametrize("size", [2049, 4096, 1 << 16, 200_000])
def test_what_no_tpm_takes_is_not_sent_to_it(service: TpmService, client: Client, size: int) -> None:
    worker = service.worker()
    before = service.shim.mark()
    for blob, secret in ((bytes(size), bytes(256)), (bytes(66), bytes(size))):
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            client.attest_key("ecc", blob, secret)
    assert service.shim.count("ActivateCredential", since=before) == 0
    client.sign_hash("ecc", DIGEST, ecdsa())
    assert service.worker() == worker
    assert service.swtpm.getcap("handles-loaded-session").count("0x") == 1


def use_everything(client: Client) -> list[bytes]:
    """Do whatever has a secret in it, and return the secrets."""
    client.generate_key("rsa", DECRYPTING)
    ciphertext = client.asymmetric_encrypt("rsa", TEXT, OAEP)
    assert client.asymmetric_decrypt("rsa", ciphertext, OAEP) == TEXT
    random = client.generate_random(32)
    client.sign_hash("ecc", DIGEST, ecdsa())
    client.import_key("public", public_key_of(KEY), client.export_public_key("ecc"))
    return [TEXT, random, DIGEST]


def test_no_secret_is_on_the_wire(service: TpmService, client: Client) -> None:
    before = service.shim.mark()
    secrets = use_everything(client)
    wire = service.shim.wire(since=before)
    assert len(wire) > 1000
    for secret in secrets:
        assert secret not in wire


def test_secrets_are_on_a_wire_that_is_not_protected() -> None:
    with TpmService(shim=True, values={"bus_protection": False}) as service, service.client() as client:
        client.generate_key("ecc", KEY)
        before = service.shim.mark()
        secrets = use_everything(client)
        wire = service.shim.wire(since=before)
        # This proves that the test above can fail.
        assert all(secret in wire for secret in secrets)
        assert service.shim.count("StartAuthSession") == 0


def test_keys_of_two_worlds_live_side_by_side() -> None:
    """The parent of a key is part of its row, so that changing the configuration breaks nothing."""
    with TpmService(shim=True, values={"application_parents": True}) as service, service.client() as client:
        client.generate_key("own", KEY)
        assert service.shim.count("CreatePrimary") == 2
        service.configure(application_parents=False)
        service.service.stop()
        service.service.start()
        client.generate_key("root", KEY)
        for name in ("own", "root"):
            client.verify_hash(name, DIGEST, client.sign_hash(name, DIGEST, ecdsa()), ecdsa())
        digest = os.urandom(32)
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.verify_hash("own", digest, client.sign_hash("root", digest, ecdsa()), ecdsa())


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into other processes")
@pytest.mark.parametrize("place", ["configuration", "file"])
def test_the_owner_s_password_is_in_one_process(place: str) -> None:
    needle = "needle-2719-7733"
    with Swtpm() as tpm:
        tool(tpm.tools_tcti, "tpm2_changeauth", "-c", "owner", needle)
        tpm.flush()
        with TpmService(swtpm=tpm, shim=True, values={"owner_hierarchy_auth": needle}) as service:
            if place == "file":
                path = service.folder / "owner"
                path.write_text(f"{needle}\n")
                path.chmod(0o400)
                service.configure(owner_hierarchy_auth=None, owner_hierarchy_auth_file=str(path))
                service.service.stop()
                service.service.start()
            with service.client() as client:
                client.generate_key("k", KEY)
                client.sign_hash("k", DIGEST, ecdsa())
            processes = {row["role"]: row["pid"] for row in service.service.status()["processes"]}
            holders = {role for role, pid in processes.items() if contains(pid, needle.encode())}
            # In the configuration it comes in hexadecimal digits, which are not kept.
            assert holders <= {WORKER}
            assert holders or place == "configuration"
            assert not contains(service.service.pid, needle.encode())
            assert needle not in service.service.log()
            assert needle.encode() not in service.shim.wire()

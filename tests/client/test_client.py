"""The request of each method of the client, its result, and authentication."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.simulator import Simulator, raise_status, respond, service
from tests.contracts.golden import BODIES, vector

from cofferdam_client import (
    AES_GCM,
    CMAC,
    AuthenticatorInfo,
    CheckType,
    Cipher,
    CipherMode,
    Client,
    ClientError,
    ConnectionFailedError,
    Curve,
    Direct,
    FirstUsable,
    Hash,
    JwtSvid,
    NoAuth,
    NothingUsableError,
    Opcode,
    ProviderId,
    ProviderInfo,
    ServiceStatusError,
    Status,
    UnixPeerCredentials,
    aes_cmac_key,
    aes_gcm_key,
    chacha20_poly1305_key,
    ecc_signing_key,
    ecdh_key,
    ecdsa,
    hmac_key,
    hmac_with,
    public_key_of,
    rsa_encryption_key,
    rsa_oaep,
    rsa_pss,
    rsa_signing_key,
    truncated,
)
from cofferdam_client.connection import MAX_BODY, Connection
from cofferdam_client.endpoint import socket_path
from cofferdam_client.session import CHANGING_OPCODES, Session
from cofferdam_contracts import operations
from cofferdam_contracts.operations import Operation
from cofferdam_contracts.psa.attributes import KeyAttributes, KeyKind, Usage
from cofferdam_contracts.registry import CORE_OPCODES, AuthType
from cofferdam_contracts.wire.bodies import KeyInfo, Result, encode_operation
from cofferdam_contracts.wire.header import HEADER, MAGIC, ResponseHeader

P256 = ecc_signing_key()
ECB = Cipher(CipherMode.ECB_NO_PADDING)

CALLS: dict[Opcode, tuple[Callable[[Client], object], Operation, Result, object]] = {
    Opcode.PING: (lambda c: c.ping(), operations.Ping(), (1, 0), (1, 0)),
    Opcode.LIST_PROVIDERS: (
        lambda c: c.list_providers(),
        operations.ListProviders(),
        [ProviderInfo("uuid", "text", "vendor", (0, 1, 2), 1)],
        [ProviderInfo("uuid", "text", "vendor", (0, 1, 2), 1)],
    ),
    Opcode.LIST_AUTHENTICATORS: (
        lambda c: c.list_authenticators(),
        operations.ListAuthenticators(),
        [AuthenticatorInfo("text", (0, 1, 0), 3)],
        [AuthenticatorInfo("text", (0, 1, 0), 3)],
    ),
    Opcode.LIST_OPCODES: (lambda c: c.list_opcodes(), operations.ListOpcodes(1), [3, 2], frozenset({2, 3})),
    Opcode.LIST_KEYS: (
        lambda c: c.list_keys(),
        operations.ListKeys(),
        [KeyInfo(1, "e", P256)],
        [KeyInfo(1, "e", P256)],
    ),
    Opcode.LIST_CLIENTS: (lambda c: c.list_clients(), operations.ListClients(), ["a", "b"], ["a", "b"]),
    Opcode.DELETE_CLIENT: (lambda c: c.delete_client("a"), operations.DeleteClient("a"), (), None),
    Opcode.PSA_GENERATE_KEY: (lambda c: c.generate_key("e", P256), operations.GenerateKey("e", P256), (), None),
    Opcode.PSA_IMPORT_KEY: (lambda c: c.import_key("e", P256, b"d"), operations.ImportKey("e", P256, b"d"), (), None),
    Opcode.PSA_DESTROY_KEY: (lambda c: c.destroy_key("e"), operations.DestroyKey("e"), (), None),
    Opcode.PSA_EXPORT_PUBLIC_KEY: (lambda c: c.export_public_key("e"), operations.ExportPublicKey("e"), (b"p",), b"p"),
    Opcode.PSA_EXPORT_KEY: (lambda c: c.export_key("e"), operations.ExportKey("e"), (b"k",), b"k"),
    Opcode.PSA_SIGN_HASH: (
        lambda c: c.sign_hash("e", b"h", ecdsa()),
        operations.SignHash("e", ecdsa(), b"h"),
        (b"s",),
        b"s",
    ),
    Opcode.PSA_VERIFY_HASH: (
        lambda c: c.verify_hash("e", b"h", b"s", ecdsa()),
        operations.VerifyHash("e", ecdsa(), b"h", b"s"),
        (),
        None,
    ),
    Opcode.PSA_SIGN_MESSAGE: (
        lambda c: c.sign_message("e", b"m", rsa_pss()),
        operations.SignMessage("e", rsa_pss(), b"m"),
        (b"s",),
        b"s",
    ),
    Opcode.PSA_VERIFY_MESSAGE: (
        lambda c: c.verify_message("e", b"m", b"s", rsa_pss()),
        operations.VerifyMessage("e", rsa_pss(), b"m", b"s"),
        (),
        None,
    ),
    Opcode.PSA_ASYMMETRIC_ENCRYPT: (
        lambda c: c.asymmetric_encrypt("e", b"p", rsa_oaep(), b"l"),
        operations.AsymmetricEncrypt("e", rsa_oaep(), b"p", b"l"),
        (b"c",),
        b"c",
    ),
    Opcode.PSA_ASYMMETRIC_DECRYPT: (
        lambda c: c.asymmetric_decrypt("e", b"c", rsa_oaep(), b"l"),
        operations.AsymmetricDecrypt("e", rsa_oaep(), b"c", b"l"),
        (b"p",),
        b"p",
    ),
    Opcode.PSA_AEAD_ENCRYPT: (
        lambda c: c.aead_encrypt("e", b"n", b"p", AES_GCM, b"a"),
        operations.AeadEncrypt("e", AES_GCM, b"n", b"a", b"p"),
        (b"c",),
        b"c",
    ),
    Opcode.PSA_AEAD_DECRYPT: (
        lambda c: c.aead_decrypt("e", b"n", b"c", AES_GCM, b"a"),
        operations.AeadDecrypt("e", AES_GCM, b"n", b"a", b"c"),
        (b"p",),
        b"p",
    ),
    Opcode.PSA_CIPHER_ENCRYPT: (
        lambda c: c.cipher_encrypt("e", b"p", ECB),
        operations.CipherEncrypt("e", ECB, b"p"),
        (b"c",),
        b"c",
    ),
    Opcode.PSA_CIPHER_DECRYPT: (
        lambda c: c.cipher_decrypt("e", b"c", ECB),
        operations.CipherDecrypt("e", ECB, b"c"),
        (b"p",),
        b"p",
    ),
    Opcode.PSA_MAC_COMPUTE: (
        lambda c: c.mac_compute("e", b"i", hmac_with(Hash.SHA_512)),
        operations.MacCompute("e", hmac_with(Hash.SHA_512), b"i"),
        (b"m",),
        b"m",
    ),
    Opcode.PSA_MAC_VERIFY: (
        lambda c: c.mac_verify("e", b"i", b"m", truncated(CMAC, 8)),
        operations.MacVerify("e", truncated(CMAC, 8), b"i", b"m"),
        (),
        None,
    ),
    Opcode.PSA_RAW_KEY_AGREEMENT: (
        lambda c: c.raw_key_agreement("e", b"p"),
        operations.RawKeyAgreement("e", ecdh_key().algorithm, b"p"),  # type: ignore[arg-type]
        (b"s",),
        b"s",
    ),
    Opcode.PSA_GENERATE_RANDOM: (lambda c: c.generate_random(3), operations.GenerateRandom(3), (b"rnd",), b"rnd"),
    Opcode.PSA_HASH_COMPUTE: (
        lambda c: c.hash_compute(b"i", Hash.SHA_512),
        operations.HashCompute(Hash.SHA_512, b"i"),
        (b"h",),
        b"h",
    ),
    Opcode.PSA_HASH_COMPARE: (
        lambda c: c.hash_compare(b"i", b"h", Hash.SHA_512),
        operations.HashCompare(Hash.SHA_512, b"i", b"h"),
        (),
        None,
    ),
    Opcode.CAN_DO_CRYPTO: (
        lambda c: c.can_do_crypto(CheckType.USE, P256),
        operations.CanDoCrypto(CheckType.USE, P256),
        (),
        True,
    ),
    Opcode.ATTEST_KEY: (
        lambda c: c.attest_key("e", b"b", b"s"),
        operations.AttestKey("e", "", b"b", b"s"),
        (b"c",),
        b"c",
    ),
    Opcode.PREPARE_KEY_ATTESTATION: (
        lambda c: c.prepare_key_attestation("e", "a"),
        operations.PrepareKeyAttestation("e", "a"),
        (b"n", b"p", b"k"),
        (b"n", b"p", b"k"),
    ),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_every_operation_has_a_method(path: Path, opcode: Opcode) -> None:
    call, operation, result, returned = CALLS[opcode]
    asked: list[object] = []

    def answer(received: object) -> Result:
        asked.append(received)
        return result

    with (
        service(path, {opcode: answer}) as simulator,
        Client(simulator.endpoint, provider=1, auth=Direct("app")) as client,
    ):
        assert call(client) == returned
    assert asked == [operation]


@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_every_method_raises_the_status_of_the_service(path: Path, opcode: Opcode) -> None:
    with (
        service(path, {opcode: raise_status(Status.PSA_ERROR_NOT_PERMITTED)}) as simulator,
        Client(simulator.endpoint, provider=1, auth=Direct("app")) as client,
        pytest.raises(ServiceStatusError) as caught,
    ):
        CALLS[opcode][0](client)
    assert (caught.value.status, caught.value.opcode) == (Status.PSA_ERROR_NOT_PERMITTED, opcode)


def test_the_operations_that_are_never_repeated_are_those_without_a_result() -> None:
    """The others that return nothing only compare or check."""
    harmless = {
        Opcode.PSA_VERIFY_HASH,
        Opcode.PSA_VERIFY_MESSAGE,
        Opcode.PSA_MAC_VERIFY,
        Opcode.PSA_HASH_COMPARE,
        Opcode.CAN_DO_CRYPTO,
    }
    assert {opcode for opcode, (_, _, result, _) in CALLS.items() if result == ()} - harmless == CHANGING_OPCODES


# Requests.

REQUESTS: dict[str, Callable[[Client], object]] = {
    "ListOpcodes request for provider 1": lambda c: c.list_opcodes(),
    "ListOpcodes request for Core": lambda c: c.list_opcodes(ProviderId.CORE),
    "PsaGenerateRandom request": lambda c: c.generate_random(32),
    "ListKeys request": lambda c: c.list_keys(),
    "PsaDestroyKey request": lambda c: c.destroy_key("e"),
    "PsaGenerateKey request": lambda c: c.generate_key("e", ecc_signing_key()),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_the_published_ones(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refusal = vector("fallback error, e.g. wrong version")
    with (
        Simulator(path, [[respond(refusal)]]) as simulator,
        Client(simulator.endpoint, provider=1, auth=UnixPeerCredentials()) as client,
        pytest.raises(ServiceStatusError),
    ):
        REQUESTS[name](client)
    (request,) = simulator.requests
    assert request[:8] + bytes(2) + request[10:] == vector(name)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("KeyAttributes of tool create-ecc-key", ecc_signing_key()),
        ("KeyAttributes of tool create-rsa-key", rsa_encryption_key()),
        ("KeyAttributes of tool create-rsa-key --oaep", rsa_encryption_key(oaep=Hash.SHA_256)),
        ("KeyAttributes of tool create-rsa-key --for-signing", rsa_signing_key()),
    ],
)
def test_attributes_are_the_published_ones(name: str, attributes: KeyAttributes) -> None:
    body = BODIES[name]
    assert encode_operation(operations.GenerateKey("", attributes)) == b"\x12" + bytes([len(body)]) + body


def test_attributes_follow_the_arguments() -> None:
    assert rsa_signing_key(3072, Hash.SHA_384, pss=True).algorithm == rsa_pss(Hash.SHA_384)
    assert Usage.EXPORT in aes_gcm_key(128, exportable=True).usage
    assert Usage.EXPORT not in aes_gcm_key(128).usage
    assert chacha20_poly1305_key().bits == 256
    assert ecdh_key(Curve.X25519).bits == 255
    assert (hmac_key(Hash.SHA_384).bits, hmac_key(bits=512).bits) == (384, 512)
    assert hmac_key(Hash.SHA_384).algorithm == hmac_with(Hash.SHA_384)
    assert (aes_cmac_key().type.kind, aes_cmac_key(128).bits) == (KeyKind.AES, 128)
    assert hmac_key(exportable=True).usage == Usage.SIGN_MESSAGE | Usage.VERIFY_MESSAGE | Usage.EXPORT
    public = public_key_of(rsa_encryption_key())
    assert (public.type.kind, public.usage) == (KeyKind.RSA_PUBLIC_KEY, Usage.ENCRYPT)
    assert public_key_of(ecc_signing_key()).usage == Usage.VERIFY_HASH | Usage.VERIFY_MESSAGE


# The default provider and authentication.

MBED = ProviderInfo("", "", "", (0, 1, 0), 1)
CORE = ProviderInfo("", "", "", (0, 1, 0), 0)
DIRECT = AuthenticatorInfo("", (0, 1, 0), AuthType.DIRECT)
PEER = AuthenticatorInfo("", (0, 1, 0), AuthType.UNIX_PEER_CREDENTIALS)
SVID = AuthenticatorInfo("", (0, 1, 0), AuthType.JWT_SVID)


def test_the_first_provider_and_the_first_usable_authenticator_are_taken_once(path: Path) -> None:
    asked: list[str] = []

    def note(result: Result) -> Callable[[object], Result]:
        def answer(operation: object) -> Result:
            asked.append(type(operation).__name__)
            return result

        return answer

    answers = {
        Opcode.LIST_PROVIDERS: note([ProviderInfo("", "", "", (0, 1, 0), 2), MBED, CORE]),
        Opcode.LIST_AUTHENTICATORS: note([SVID, DIRECT, PEER]),
        Opcode.PSA_DESTROY_KEY: note(()),
    }
    with service(path, answers) as simulator, Client(simulator.endpoint) as client:
        client.destroy_key("a")
        client.destroy_key("b")
        assert client.provider == 2
    assert asked == ["ListProviders", "ListAuthenticators", "DestroyKey", "DestroyKey"]


def test_a_service_without_crypto_provider_is_an_error(path: Path) -> None:
    with (
        service(path, {Opcode.LIST_PROVIDERS: lambda _: [CORE]}) as simulator,
        Client(simulator.endpoint, auth=NoAuth()) as client,
        pytest.raises(NothingUsableError),
    ):
        client.generate_random(1)


@pytest.mark.parametrize(
    ("application", "listed", "expected"),
    [
        (None, [PEER], UnixPeerCredentials()),
        (None, [DIRECT, PEER], UnixPeerCredentials()),
        ("app", [DIRECT, PEER], Direct("app")),
        ("app", [PEER, DIRECT], UnixPeerCredentials()),
        ("app", [SVID, DIRECT], Direct("app")),
    ],
)
def test_the_first_usable_authenticator_is_chosen(
    application: str | None, listed: list[AuthenticatorInfo], expected: object
) -> None:
    assert FirstUsable(application).choose(listed) == expected


@pytest.mark.parametrize("listed", [[], [SVID], [DIRECT]])
def test_no_usable_authenticator_is_an_error(listed: list[AuthenticatorInfo]) -> None:
    with pytest.raises(NothingUsableError):
        FirstUsable().choose(listed)


def test_authentication_fields_are_as_the_protocol_says() -> None:
    assert NoAuth().field() == b""
    assert Direct("äpp").field() == "äpp".encode()
    assert UnixPeerCredentials().field() == os.geteuid().to_bytes(4, "little")
    assert JwtSvid("a.b.c").field() == b"a.b.c"
    assert "a.b.c" not in repr(JwtSvid("a.b.c"))


@pytest.mark.parametrize("name", ["", "x" * 65536, "\ud800"])
def test_a_name_that_cannot_be_encoded_is_rejected(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  three kinds of it
        Direct(name)


# Results beyond decoding.


@pytest.mark.parametrize(("offered", "status"), [([32], None), ([13], Status.PSA_ERROR_NOT_SUPPORTED)])
def test_can_do_crypto_tells_no_from_unsupported(path: Path, offered: list[int], status: Status | None) -> None:
    answers: dict[Opcode, Callable[[Any], Result]] = {
        Opcode.CAN_DO_CRYPTO: raise_status(Status.PSA_ERROR_NOT_SUPPORTED),
        Opcode.LIST_OPCODES: lambda _: offered,
    }
    with service(path, answers) as simulator, Client(simulator.endpoint, provider=1, auth=Direct("a")) as client:
        if status is None:
            assert not client.can_do_crypto(CheckType.GENERATE, P256)
        else:
            with pytest.raises(ServiceStatusError):
                client.can_do_crypto(CheckType.GENERATE, P256)


def test_the_attributes_of_a_key_are_those_in_the_provider_of_the_client(path: Path) -> None:
    keys = [KeyInfo(2, "a", aes_gcm_key()), KeyInfo(1, "b", aes_gcm_key()), KeyInfo(1, "a", P256)]
    with (
        service(path, {Opcode.LIST_KEYS: lambda _: keys}) as simulator,
        Client(simulator.endpoint, provider=1, auth=Direct("a")) as client,
    ):
        assert client.key_attributes("a") == P256
        with pytest.raises(ServiceStatusError) as caught:
            client.key_attributes("c")
        assert [client.provider_of(name) for name in ("b", "c")] == [1, None]
    assert caught.value.status is Status.PSA_ERROR_DOES_NOT_EXIST


# Arguments.


@pytest.mark.parametrize("endpoint", ["unix:/a/b.sock", "unix:///a/b.sock"])
def test_an_endpoint_names_a_socket(endpoint: str) -> None:
    assert socket_path(endpoint) == "/a/b.sock"


def test_the_endpoint_comes_from_the_environment_or_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", "unix:/x")
    assert socket_path(None) == "/x"
    assert socket_path("unix:/y") == "/y"
    monkeypatch.delenv("PARSEC_SERVICE_ENDPOINT")
    assert socket_path(None) == "/run/parsec/parsec.sock"


@pytest.mark.parametrize("endpoint", ["", "/run/parsec/parsec.sock", "unix:", "unix:x", "tcp://h:1", "unix:/a\0b"])
def test_a_malformed_endpoint_is_rejected(endpoint: str) -> None:
    with pytest.raises(ConnectionFailedError, match="the endpoint is"):
        Client(endpoint)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.generate_random(-1),
        lambda c: c.generate_random(1 << 64),
        lambda c: c.destroy_key("\ud800"),
        lambda _: Client("unix:/x", timeout=0),
        lambda _: Client("unix:/x", provider=0).generate_random(1),
    ],
)
def test_arguments_that_cannot_be_encoded_are_value_errors(call: Callable[[Client], object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whoever finds it words it
        call(Client("unix:/nonexistent", provider=1, auth=NoAuth()))


# Any response.


class _Said(Connection):
    """A connection on which the service has already said what it will say."""

    def __init__(self, header: ResponseHeader, body: bytes) -> None:
        super().__init__("", None)
        self._said = header, body

    def exchange(self, request: bytes, *, repeatable: bool) -> tuple[ResponseHeader, bytes]:
        del request, repeatable
        return self._said


@given(
    st.sampled_from(sorted(CALLS)),
    st.sampled_from([Status.SUCCESS, *Status]) | st.integers(0, 65535),
    st.binary(max_size=80) | st.sampled_from(sorted(BODIES.values())),
)
def test_any_body_is_a_result_or_a_client_error(opcode: Opcode, status: int, body: bytes) -> None:
    provider = ProviderId.CORE if opcode in CORE_OPCODES else ProviderId.MBED_CRYPTO
    session = Session("", ProviderId.MBED_CRYPTO, NoAuth(), None)
    session._connection = _Said(ResponseHeader(provider, 0, len(body), opcode, status), body)
    client = Client("unix:/x")
    client._session = session
    try:
        CALLS[opcode][0](client)
    except ClientError as error:
        assert str(error)


@given(data=st.data())
def test_any_stream_is_a_result_or_a_client_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    stream = data.draw(st.binary(max_size=120))
    if data.draw(st.booleans()):
        length = data.draw(st.sampled_from([len(stream), 0, len(stream) + 1, MAX_BODY, MAX_BODY + 1, (1 << 32) - 1]))
        stream = HEADER.pack(MAGIC, 30, 1, 0, 0, 0, 0, 0, 0, 0, length, 0, 8, 0, 0, 0) + stream
    path = tmp_path_factory.mktemp("any") / "s"
    with Simulator(path, [[respond(stream)]]) as simulator, Client(simulator.endpoint) as client:
        try:
            assert isinstance(client.list_providers(), list)
        except ClientError as error:
            assert str(error)

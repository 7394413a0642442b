"""Every decoder of the project under atheris: `python -m tools.fuzz_decoders TARGET FOLDER [OPTION...]`.

The rule for each: any bytes give a value or the documented error. Whatever else is raised is a defect and ends the
run; libFuzzer then writes the input to .cache/fuzz. It begins with good input, puts what leads to new ways into the
folder, and changes all of that. The options are libFuzzer's.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import atheris
from h2.config import H2Configuration
from h2.connection import H2Connection
from tests.harness import malformed, wire
from tests.harness.configuration import configuration
from tests.harness.interpreter import CHECKOUT

_CODE = ["cofferdam_contracts", "cofferdam_config", "cofferdam_fetcher", "cofferdam_identity"]
with atheris.instrument_imports(include=_CODE):
    # They import the code under test too.
    from tests.fetcher.agent import HEADERS, framed, message
    from tests.identity import forge
    from tests.identity.certificates import certificate

    from cofferdam_config.host_facts import HostFacts
    from cofferdam_config.kinds import NotAllowedError
    from cofferdam_config.plan import read
    from cofferdam_config.source import ConfigError
    from cofferdam_config.token_uri import parse
    from cofferdam_contracts.endpoints import EndpointError, HttpsUrl, parse_endpoint, parse_url
    from cofferdam_contracts.ipc import errors, framing, keystore, requests
    from cofferdam_contracts.ipc.control import decode
    from cofferdam_contracts.operations import CanDoCrypto, GenerateKey, SignHash
    from cofferdam_contracts.psa.encoding import (
        EncodingError,
        decode_algorithm,
        decode_attributes,
        encode_algorithm,
        encode_attributes,
    )
    from cofferdam_contracts.registry import CORE_OPCODES, AuthType, Opcode
    from cofferdam_contracts.status import ServiceError
    from cofferdam_contracts.wire.bodies import decode_operation, decode_result, encode_operation
    from cofferdam_contracts.wire.decoder import Limits, NeedData, RequestDecoder, WireError
    from cofferdam_contracts.wire.header import HeaderError, decode_response
    from cofferdam_fetcher.bundle_stream import BundleStream
    from cofferdam_fetcher.bundles import decode_bundles
    from cofferdam_fetcher.discovery import jwks_of
    from cofferdam_fetcher.http_get import Get
    from cofferdam_fetcher.resolver import decode_answer, encode_question
    from cofferdam_fetcher.source import SourceError
    from cofferdam_identity.keys import BundleError, parse_bundle
    from cofferdam_identity.revocations import RevocationError
    from cofferdam_identity.revocations import parse as parse_revocations
    from cofferdam_identity.spiffe import SpiffeError, parse_id
    from cofferdam_identity.tokens import TokenError, verify

_LIMIT: Final = 1 << 16
_OPCODES: Final = sorted(Opcode)
_URL: Final = HttpsUrl("issuer.example", 443, "/")
_QUESTION: Final = encode_question(7, "issuer.example", 1)
_FINDINGS: Final = CHECKOUT / ".cache" / "fuzz"


def wire_requests(data: bytes) -> None:
    """Decode a stream in two pieces: whole requests, or one refusal that stays."""
    decoder = RequestDecoder(Limits(body_len=_LIMIT))
    half = len(data) // 2
    try:
        for piece in (data[:half], data[half:]):
            decoder.feed(piece)
            while not isinstance(decoder.next_event(), NeedData):
                pass
    except WireError:
        return


def wire_response(data: bytes) -> None:
    """Decode the header of a response."""
    try:
        decode_response(data)
    except HeaderError:
        return


def operation_bodies(data: bytes) -> None:
    """Decode the body of a request, and encode what came of it."""
    try:
        operation = decode_operation(_opcode(data), data[1:])
    except ServiceError:
        return
    again = decode_operation(operation.opcode, encode_operation(operation))
    if again != operation:
        raise AssertionError(f"{operation} became {again}")


def result_bodies(data: bytes) -> None:
    """Decode the body of a response."""
    try:
        decode_result(_opcode(data), data[1:])
    except ServiceError:
        return


def channel_requests(data: bytes) -> None:
    """Decode a message from a frontend to a worker."""
    message = _message(data)
    if message is not None:
        try:
            requests.decode_request(message)
        except errors.ForbiddenMessageError:
            return


def channel_answers(data: bytes) -> None:
    """Decode a message from a worker to a frontend."""
    message = _message(data)
    if message is not None:
        try:
            requests.decode_answer(message)
        except errors.ForbiddenMessageError:
            return


def keystore_questions(data: bytes) -> None:
    """Check a message to the key store against every question there is."""
    message = _message(data)
    if message is not None:
        for schema in keystore.SCHEMAS.values():
            schema.accepts(message[1:])


def channel_parts(data: bytes) -> None:
    """Put a sequence of datagrams together."""
    assembler = framing.Assembler(_LIMIT)
    size = 1 + (data[0] if data else 0)
    try:
        for start in range(1, len(data), size):
            assembler.feed(data[start : start + size])
    except framing.FramingError:
        return


def control_records(data: bytes) -> None:
    """Decode a control record."""
    try:
        decode(data, None)
    except ValueError:
        return


def stored_attributes(data: bytes) -> None:
    """Decode key attributes as they are stored."""
    try:
        decode_attributes(data)
    except EncodingError:
        return


def stored_algorithms(data: bytes) -> None:
    """Decode an algorithm as it is stored."""
    try:
        decode_algorithm(data)
    except EncodingError:
        return


def configurations(data: bytes) -> None:
    """Read a configuration."""
    try:
        read(data, path="fuzz.toml", facts=HostFacts(credentials={}, groups={}, is_root=False))
    except ConfigError:
        return


def token_uris(data: bytes) -> None:
    """Read the URI of a token."""
    try:
        parse("pkcs11:" + data.decode(errors="replace"))
    except NotAllowedError:
        return


def tokens(data: bytes) -> None:
    """Verify a token, signed and not: with a good signature the claims are looked at too."""
    header, _, claims = data.partition(b".")
    for token in (data, forge.signer().token(claims, header)):
        for rules in (forge.SVID, forge.JWT):
            try:
                verify(token, rules, lambda _: forge.bundle(), forge.NOW)
            except TokenError:
                pass


def key_bundles(data: bytes) -> None:
    """Read a JWK set or PEM."""
    try:
        parse_bundle(data, "fuzz")
    except BundleError:
        return


def revocation_files(data: bytes) -> None:
    """Read a file of revocations."""
    try:
        parse_revocations(data, "fuzz")
    except RevocationError:
        return


def spiffe_ids(data: bytes) -> None:
    """Read a SPIFFE ID, which has one spelling."""
    text = data.decode(errors="replace")
    try:
        again = str(parse_id(text))
    except SpiffeError:
        return
    if again != text:
        raise AssertionError(f"{text!r} became {again!r}")


def endpoints(data: bytes) -> None:
    """Read the endpoint of a Workload API, and the URL of a key set."""
    text = data.decode(errors="replace")
    for parse in (parse_endpoint, parse_url):
        try:
            parse(text)
        except EndpointError:
            continue


def bundle_streams(data: bytes) -> None:
    """Take what an agent sends, in two pieces."""
    _stop_at_refusal(BundleStream().receive, data)


def bundles(data: bytes) -> None:
    """Decode a message of an agent."""
    _stop_at_refusal(decode_bundles, data)


def key_sets(data: bytes) -> None:
    """Take an answer with a key set, in two pieces."""
    _stop_at_refusal(Get(_URL, _LIMIT).receive, data)


def metadata(data: bytes) -> None:
    """Decode the metadata of an issuer."""
    _stop_at_refusal(lambda piece: jwks_of(piece, "https://issuer.example"), data)


def name_servers(data: bytes) -> None:
    """Decode the answer of a name server."""
    _stop_at_refusal(lambda piece: decode_answer(_QUESTION[:2] + piece, _QUESTION), data)


def _stop_at_refusal(receive: Callable[[bytes], object], data: bytes) -> None:
    half = len(data) // 2
    try:
        for piece in (data[:half], data[half:]):
            receive(piece)
    except SourceError:
        return


def _opcode(data: bytes) -> Opcode:
    return _OPCODES[data[0] % len(_OPCODES)] if data else Opcode.PING


def _message(data: bytes) -> tuple[object, ...] | None:
    try:
        return framing.Assembler(_LIMIT).feed(data)
    except framing.FramingError:
        return None


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (
        wire_requests,
        wire_response,
        operation_bodies,
        result_bodies,
        channel_requests,
        channel_answers,
        keystore_questions,
        channel_parts,
        control_records,
        stored_attributes,
        stored_algorithms,
        configurations,
        token_uris,
        tokens,
        key_bundles,
        revocation_files,
        spiffe_ids,
        endpoints,
        bundle_streams,
        bundles,
        key_sets,
        metadata,
        name_servers,
    )
}


def seeds(target: str) -> list[bytes]:
    """Return good input for a target, as far as that helps to get past its first look."""
    good = [base.request for base in malformed.bases(wire.Caller(0))]
    operations = [decode_operation(Opcode(request.opcode), request.body) for request in good]
    keyed = [operation for operation in operations if isinstance(operation, GenerateKey | CanDoCrypto)]
    signing = [operation for operation in operations if isinstance(operation, SignHash)]
    questions = [
        requests.encode_request(operation, 1, 2, AuthType.DIRECT, "application")  # type: ignore[arg-type]
        for operation in operations
        if operation.opcode not in CORE_OPCODES
    ]
    folder = Path("/seed")
    document = configuration(folder, authenticators=["Direct"], admins=["admin"], tables={}, extra="[limits]\n")
    found = {
        "wire_requests": [request.to_bytes() for request in good],
        "operation_bodies": [
            bytes([_OPCODES.index(Opcode(request.opcode))]) + request.body for request in good if request.body
        ],
        "channel_requests": [framing.pack(question) for question in questions],
        "stored_attributes": [encode_attributes(operation.attributes) for operation in keyed],
        "stored_algorithms": [encode_algorithm(operation.alg) for operation in signing],
        "configurations": [document.encode()],
        "token_uris": [b"token=a%20b;serial=1;slot-id=2;library-version=3.4?pin-source=file:/p&module-path=/m"],
        "tokens": [
            forge.signer().token(forge.claims()),
            b".".join(json.dumps(part).encode() for part in (forge.header(), forge.claims())),
            b".".join(json.dumps(part).encode() for part in (forge.header(), forge.jwt_claims())),
        ],
        "key_bundles": [
            forge.jwk_set(*(forge.signer(name).jwk() for name in ("ES256", "RS256", "EdDSA"))),
            certificate(forge.signer()),
        ],
        "revocation_files": [b'[[revocation]]\nsubject = "a"\nnot_before = 2026-12-01T00:00:00Z\nreason = "lost"\n'],
        "spiffe_ids": [forge.SUBJECT.encode()],
        "endpoints": [b"unix:///run/agent.sock", b"tcp://127.0.0.1:8081", b"https://issuer.example:8443/keys?a=b"],
        "bundle_streams": [_agent_bytes()],
        "bundles": [message(("spiffe://example.org", b"{}"), ("spiffe://other.example", b"{}"))],
        "key_sets": [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\nAge: 3\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ],
        "metadata": [b'{"issuer":"https://issuer.example","jwks_uri":"https://issuer.example/keys"}'],
        "name_servers": [
            bytes.fromhex("81800001000100000000")
            + _QUESTION[12:-11]
            + bytes.fromhex("c00c000100010000003c00047f000001")
        ],
    }
    return found.get(target, [])


def _agent_bytes() -> bytes:
    """Return what an agent sends for one message and the end of the call."""
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    server.receive_data(BundleStream().unsent())
    server.send_headers(1, HEADERS)
    server.send_data(1, framed(message(("example.org", b"{}"))))
    server.send_headers(1, [("grpc-status", "0")], end_stream=True)
    return server.data_to_send()


def main() -> int:
    """Run one target, or list them all."""
    if sys.argv[1:2] == ["--list"]:
        print("\n".join(TARGETS))
        return 0
    target = TARGETS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if target is None or len(sys.argv) < 3:
        print(f"usage: fuzz_decoders --list | {'|'.join(TARGETS)} FOLDER [OPTION...]", file=sys.stderr)
        return 2
    print(f"decoder {target.__name__}", flush=True)
    folder, *options = sys.argv[2:]
    for number, seed in enumerate(seeds(target.__name__)):
        Path(folder, f"seed-{number}").write_bytes(seed)
    _FINDINGS.mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], f"-artifact_prefix={_FINDINGS}/{target.__name__}-", *options, folder], target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Where the time of a signature goes: every stage of a PsaSignHash request alone, in one process, without waiting.

    .venv/bin/python -m tools.stages

Prints a Markdown table: microseconds of each stage (median of several rounds) and its share. What `./dev bench`
measures on top of the sum is the kernel: connecting, passing the connection on, waking the next process.
"""

import os
import statistics
import timeit
from collections.abc import Callable
from typing import Final

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.ipc.framing import Assembler, pack
from cofferdam_contracts.ipc.requests import decode_answer, decode_request, encode_answer, encode_request
from cofferdam_contracts.operations import SignHash
from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.registry import AuthType, Opcode, ProviderId
from cofferdam_contracts.settings import AuthenticatorSettings
from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.bodies import decode_operation, encode_operation, encode_result
from cofferdam_contracts.wire.decoder import Limits, Request, RequestDecoder
from cofferdam_contracts.wire.header import request_bytes, response_bytes
from cofferdam_frontend.auth import Authentication
from cofferdam_providers.base.checks import check_use
from cofferdam_providers.base.peers import Principal
from cofferdam_providers.software.provider import SoftwareProvider

ROUNDS: Final = 7
CALLS: Final = 4000
LIMIT: Final = 1 << 21
ALGORITHM: Final = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
ATTRIBUTES: Final = KeyAttributes(
    KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1), 256, (Usage.SIGN_HASH | Usage.VERIFY_HASH).widened(), ALGORITHM
)
UID: Final = 1000


def stages() -> dict[str, Callable[[], object]]:
    """Return the stages of one request in their order, each ready to be run again and again."""
    operation = SignHash("a key", ALGORITHM, os.urandom(32))
    raw = request_bytes(
        Opcode.PSA_SIGN_HASH,
        ProviderId.MBED_CRYPTO,
        encode_operation(operation),
        AuthType.UNIX_PEER_CREDENTIALS,
        UID.to_bytes(4, "little"),
    )
    limits = Limits(body_len=1 << 20)

    def take() -> Request:
        decoder = RequestDecoder(limits)
        decoder.feed(raw)
        request = decoder.next_event()
        if not isinstance(request, Request):
            raise TypeError("not a whole request")
        return request

    request = take()
    authenticators = (AuthenticatorSettings(auth_type=AuthType.UNIX_PEER_CREDENTIALS),)
    authentication = Authentication(authenticators, UID, {})
    message = pack(encode_request(operation, 1, 1 << 62, AuthType.UNIX_PEER_CREDENTIALS, ""))
    asked, answered = Assembler(LIMIT), Assembler(LIMIT)
    principal = Principal(uid=UID, number=0, authenticators=frozenset({3}), granted=Application)
    received = decode_request(asked.feed(message) or ())
    provider = SoftwareProvider(os.urandom(32))
    identity = KeyIdentity(AuthType.UNIX_PEER_CREDENTIALS, str(UID), "a key")
    key = provider.open_key(identity, provider.generate_key(identity, ATTRIBUTES, b""))
    (signature,) = provider.perform(key, operation)
    answer = pack(encode_answer(operation.opcode, 1, Status.SUCCESS, (signature,)))
    return {
        "frontend: request out of the stream": take,
        "frontend: authentication": lambda: authentication.authenticate(3, request.auth, 0),
        "frontend: body to operation": lambda: decode_operation(request.header.opcode, request.body),
        "frontend: operation to message": lambda: pack(encode_request(operation, 1, 1 << 62, 3, "")),
        "worker: message to operation": lambda: decode_request(asked.feed(message) or ()),
        "worker: identity of the channel": lambda: principal.application(received),
        "worker: usage, policy, type, values": lambda: check_use(key, operation.opcode, operation),
        "worker: signature": lambda: provider.perform(key, operation),
        "worker: answer to message": lambda: pack(encode_answer(operation.opcode, 1, Status.SUCCESS, (signature,))),
        "frontend: message to answer": lambda: decode_answer(answered.feed(answer) or ()),
        "frontend: answer to response": lambda: response_bytes(
            request.header, Status.SUCCESS, encode_result(Opcode.PSA_SIGN_HASH, (signature,))
        ),
    }


def main() -> None:
    """Print the table."""
    measured = {
        name: statistics.median(timeit.repeat(stage, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6
        for name, stage in stages().items()
    }
    total = sum(measured.values())
    print("| stage | µs | share |\n|---|---|---|")
    for name, microseconds in measured.items():
        print(f"| {name} | {microseconds:.1f} | {microseconds / total:.0%} |")
    print(f"| all | {total:.1f} | |")


if __name__ == "__main__":
    main()

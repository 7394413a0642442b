"""Renders docs/reference/statuses.md from the statuses of the protocol and what each of them means here.

python -m tools.render_statuses > docs/reference/statuses.md
"""

import sys
from collections.abc import Mapping
from typing import Final

from cofferdam_contracts.status import Status

MEANINGS: Final[Mapping[Status, str]] = {
    Status.SUCCESS: "Done.",
    Status.CONTENT_TYPE_NOT_SUPPORTED: "The content type of the request is not 0 (protobuf).",
    Status.ACCEPT_TYPE_NOT_SUPPORTED: "The accept type of the request is not 0 (protobuf).",
    Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED: "The request has a version of the wire protocol other than 1.0.",
    Status.PROVIDER_NOT_REGISTERED: "The provider exists in the protocol, but is not configured.",
    Status.PROVIDER_DOES_NOT_EXIST: "The protocol has no provider with this number.",
    Status.DESERIALIZING_BODY_FAILED: "The body is not the protobuf message of the operation.",
    Status.SERIALIZING_BODY_FAILED: "The result cannot be encoded. A fault of the service: please report it.",
    Status.OPCODE_DOES_NOT_EXIST: "The protocol has no operation with this number.",
    Status.RESPONSE_TOO_LARGE: "More random bytes than `buffer_size_limit`, or a listing of more than 4 MiB.",
    Status.AUTHENTICATION_ERROR: "The authentication field is not the peer's uid, or is not a usable name.",
    Status.AUTHENTICATOR_DOES_NOT_EXIST: "The protocol has no authenticator with this number.",
    Status.AUTHENTICATOR_NOT_REGISTERED: "The authenticator exists in the protocol, but is not configured.",
    Status.KEY_INFO_MANAGER_ERROR: "The key store failed, did not answer in time, or is read-only; the log says why.",
    Status.CONNECTION_ERROR: "The client fell silent or closed the connection before its request was complete.",
    Status.INVALID_ENCODING: "The body is valid protobuf, but a value in it is missing, unknown or out of range.",
    Status.INVALID_HEADER: "The bytes do not begin with a header of the protocol.",
    Status.NOT_AUTHENTICATED: "The operation needs an identity, but the request has none.",
    Status.BODY_SIZE_EXCEEDS_LIMIT: "The body is longer than `body_len_limit`.",
    Status.ADMIN_OPERATION: "The operation is for administrators only.",
    Status.DEPRECATED_PRIMITIVE: "A key with a deprecated algorithm or type, while `allow_deprecated` is not set.",
    Status.PSA_ERROR_GENERIC_ERROR: "DeleteClient could not destroy every key, see the log; the TPM refused the"
    " password of the endorsement hierarchy; or an unexpected error: the log has its source location, please report"
    " it.",
    Status.PSA_ERROR_NOT_PERMITTED: "The key's usage flags, its policy or its type do not allow the operation.",
    Status.PSA_ERROR_NOT_SUPPORTED: "The provider cannot do this. With CanDoCrypto: no. With an operation that "
    "ListOpcodes does not list: there may be no such key.",
    Status.PSA_ERROR_INVALID_ARGUMENT: "A value is invalid for this kind of key or algorithm.",
    Status.PSA_ERROR_BAD_STATE: "The key store was asked for a change that its state does not allow: the name is not "
    "reserved, or an earlier key of the same name is not resolved yet.",
    Status.PSA_ERROR_ALREADY_EXISTS: "A key with this name exists, or is being created or destroyed.",
    Status.PSA_ERROR_DOES_NOT_EXIST: "The client has no key with this name in this provider.",
    Status.PSA_ERROR_INSUFFICIENT_STORAGE: "The application has as many keys as `limits.max_keys` allows, or "
    "the token is full.",
    Status.PSA_ERROR_INSUFFICIENT_MEMORY: "Too much at once: `max_in_flight` requests of this uid are in flight, its "
    "requests and responses fill `frontend_buffer_mb`, or 16 key generations are waiting. Nothing was done, or there "
    "was no room for a large result. Or the token's module is short of memory.",
    Status.PSA_ERROR_COMMUNICATION_FAILURE: "The provider did not answer within `answer_timeout_ms`, or its process "
    "died. The operation may have been carried out. With a token also: it refuses the PIN, or its module fails for a "
    "reason that has no status of its own.",
    Status.PSA_ERROR_HARDWARE_FAILURE: "The token is missing, or reports a failure.",
    Status.PSA_ERROR_INSUFFICIENT_ENTROPY: "The token has no random number generator.",
    Status.PSA_ERROR_INVALID_SIGNATURE: "The signature, tag or digest does not match the data.",
    Status.PSA_ERROR_INVALID_PADDING: "The padding or the label of a ciphertext is wrong.",
    Status.PSA_ERROR_CORRUPTION_DETECTED: "A stored key was changed or moved to another name, was encrypted under "
    "another key-encryption key, or its file holds another key than its row says. Or two objects of a token have the "
    "key's id.",
    Status.PSA_ERROR_DATA_CORRUPT: "The stored data of the key (with DeleteClient, of a remaining key) cannot be "
    "understood, or the token's object is another key than the key store says.",
}
"""What the service means by a status; the others of the protocol it never sends."""

_HEAD: Final = """\
# Response statuses

This page is generated by `python -m tools.render_statuses`; a test checks that it is up to date. A response with
a status other than success has no body, and clients get no other information. The reason is in the service's log: set
`core_settings.log_level = "info"` to see what the workers refuse, `"debug"` to see what the frontends refuse as well.

| Status | Name | What it means here |
|---|---|---|
"""


def render_statuses() -> str:
    """Return the page."""
    rows = [f"| {status.value} | {status.name} | {meaning} |\n" for status, meaning in sorted(MEANINGS.items())]
    unused = ", ".join(f"{status.name} ({status.value})" for status in Status if status not in MEANINGS)
    return f"{_HEAD}{''.join(rows)}\nNever sent by this version: {unused}.\n"


if __name__ == "__main__":
    sys.stdout.write(render_statuses())

"""The subcommands that use a service as its client. Each returns the text that it prints."""

import base64
import binascii
import hashlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from cofferdam_cli.text import AUTHENTICATOR_NAMES, describe, explain, named, opcode_name, printable, provider_name
from cofferdam_client.attributes import Curve, ecc_signing_key, public_key_of, rsa_encryption_key, rsa_signing_key
from cofferdam_client.client import Client
from cofferdam_client.errors import ClientError, KeyExistsError, ServiceStatusError
from cofferdam_contracts.psa.algorithm import ANY_HASH, AsymmetricEncryption, AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import PUBLIC_KINDS, RSA_KINDS, KeyAttributes
from cofferdam_contracts.registry import ProviderId
from cofferdam_contracts.status import Status

CURVES: Final = {curve.name.lower().replace("_", "-"): curve for curve in Curve if "X" not in curve.name}
"""Curves for signing, by their names on the command line."""
_DIGESTS: Final = {
    Hash.SHA_224: "sha224",
    Hash.SHA_256: "sha256",
    Hash.SHA_384: "sha384",
    Hash.SHA_512: "sha512",
    Hash.SHA3_224: "sha3_224",
    Hash.SHA3_256: "sha3_256",
    Hash.SHA3_384: "sha3_384",
    Hash.SHA3_512: "sha3_512",
}
_RSA_SIZES: Final = (1024, 2048, 3072, 4096)
_WRONG_SIZE: Final = frozenset({Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_NOT_SUPPORTED})
_DER_SIGNATURES: Final = frozenset({SignatureScheme.ECDSA, SignatureScheme.DETERMINISTIC_ECDSA})


class CommandError(Exception):
    """Raised when a command fails for another reason than an error of the service."""


class Output(Struct, frozen=True):
    """The result of a command, for stdout, and a note for the user, for stderr."""

    result: str | bytes = ""
    note: str = ""
    exit_status: int = 0


def ping(client: Client, _arguments: Namespace) -> Output:
    """Ask for the version of the wire protocol."""
    return Output("{}.{}\n".format(*client.ping()), "Service wire protocol version")


def list_providers(client: Client, _arguments: Namespace) -> Output:
    """List the providers."""
    blocks = [
        f"ID: 0x{provider.id:02x} ({provider_name(provider.id)})\n"
        f"Description: {printable(provider.description)}\n"
        f"Version: {_version(provider.version)}\n"
        f"Vendor: {printable(provider.vendor) or 'Unspecified'}\n"
        f"UUID: {printable(provider.uuid)}\n"
        for provider in client.list_providers()
    ]
    return Output("\n".join(blocks), "Available providers:")


def list_authenticators(client: Client, _arguments: Namespace) -> Output:
    """List the authenticators."""
    blocks = [
        f"ID: 0x{entry.id:02x} ({AUTHENTICATOR_NAMES.get(entry.id, 'unknown')})\n"
        f"Description: {printable(entry.description)}\n"
        f"Version: {_version(entry.version)}\n"
        for entry in client.list_authenticators()
    ]
    return Output("\n".join(blocks), "Available authenticators:")


def _version(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


def list_opcodes(client: Client, arguments: Namespace) -> Output:
    """List the operations of a provider, by default those of the core provider."""
    provider = ProviderId.CORE if arguments.provider is None else arguments.provider
    lines = [f"* 0x{opcode:02x} ({opcode_name(opcode)})\n" for opcode in sorted(client.list_opcodes(provider))]
    return Output("".join(lines), f"Available opcodes for {provider_name(provider)}:")


def list_keys(client: Client, _arguments: Namespace) -> Output:
    """List the caller's keys in all providers."""
    lines = [
        f"* {printable(key.name)} ({provider_name(key.provider_id)}, {describe(key.attributes)})\n"
        for key in client.list_keys()
    ]
    return Output("".join(lines), "Available keys:" if lines else "No keys currently available.")


def list_clients(client: Client, _arguments: Namespace) -> Output:
    """List the applications that have keys."""
    names = [f"{printable(name)}\n" for name in client.list_clients()]
    return Output("".join(names), "Parsec clients:" if names else "No clients in the service.")


def delete_client(client: Client, arguments: Namespace) -> Output:
    """Destroy all keys of an application."""
    had_keys = _has_keys(client, arguments.client)
    client.delete_client(arguments.client)
    if not had_keys:
        return Output(note=f'There was nothing to delete: "{printable(arguments.client)}" has no keys.')
    return Output(note="Client data deleted.")


def _has_keys(client: Client, name: str) -> bool:
    """Tell whether an application is listed; the answer to a deletion is the same for one that never was."""
    try:
        return name in client.list_clients()
    except ServiceStatusError as error:
        if error.status == Status.RESPONSE_TOO_LARGE:
            return True
        raise


def create_rsa_key(client: Client, arguments: Namespace) -> Output:
    """Generate an RSA key."""
    bits: int = arguments.bits
    try:
        client.generate_key(arguments.key_name, _rsa_attributes(arguments, bits))
    except ServiceStatusError as error:
        if bits in _RSA_SIZES or error.status not in _WRONG_SIZE:
            raise
        sizes = ", ".join(map(str, _RSA_SIZES))
        raise CommandError(f"{explain(error.status)}: RSA keys have {sizes} bits, not {bits}") from error
    return Output(note=f'Key "{printable(arguments.key_name)}" created.')


def with_place(client: Client, name: str | None, error: ServiceStatusError) -> ServiceStatusError | CommandError:
    """Return what to say about an error: where a key name is wrong, with the provider that has a key of that name.

    Names are an application's own in all providers together, while a key can be used and deleted in its provider only.
    """
    if isinstance(error, KeyExistsError):
        place, advice = error.provider, "a key of that name; choose another name, or delete it with delete-key -p"
    elif error.status == Status.PSA_ERROR_DOES_NOT_EXIST and name is not None:
        place, advice = _elsewhere(client, name), "the key of that name: -p"
    else:
        return error
    if place is None:
        return error
    return CommandError(f"{named(Status(error.status))}: the {provider_name(place)} has {advice} {place}")


def _elsewhere(client: Client, name: str) -> int | None:
    """Return the other provider that has the key of a name; None if none has it, or keys cannot be listed."""
    try:
        place = client.provider_of(name)
    except ClientError:
        return None
    return place if place != client.provider else None


def create_ecc_key(client: Client, arguments: Namespace) -> Output:
    """Generate an elliptic-curve key for signing."""
    client.generate_key(arguments.key_name, ecc_signing_key(CURVES[arguments.curve]))
    return Output(note=f'Key "{printable(arguments.key_name)}" created.')


def _rsa_attributes(arguments: Namespace, bits: int) -> KeyAttributes:
    if arguments.for_signing or arguments.for_signing_pss:
        return rsa_signing_key(bits, pss=not arguments.for_signing)
    return rsa_encryption_key(bits, oaep=Hash.SHA_256 if arguments.oaep else None)


def import_key(client: Client, arguments: Namespace) -> Output:
    """Import a key from a file."""
    from cofferdam_cli.pem import key_to_import  # noqa: PLC0415  slow, see pem

    key_type, bits, data = key_to_import(_read(arguments.file))
    if key_type.kind in RSA_KINDS:
        attributes = _rsa_attributes(arguments, bits)
    else:
        curve = next(curve for curve in Curve if curve.value == (key_type.family, bits))
        attributes = ecc_signing_key(curve)
    if key_type.kind in PUBLIC_KINDS:
        attributes = public_key_of(attributes)
    client.import_key(arguments.key_name, attributes, data)
    return Output(note=f'Key "{printable(arguments.key_name)}" imported.')


def delete_key(client: Client, arguments: Namespace) -> Output:
    """Destroy a key."""
    client.destroy_key(arguments.key_name)
    return Output(note=f'Key "{printable(arguments.key_name)}" deleted.')


def export_public_key(client: Client, arguments: Namespace) -> Output:
    """Print a public key as PEM."""
    from cofferdam_cli.pem import public_key_pem  # noqa: PLC0415  slow, see pem

    data = client.export_public_key(arguments.key_name)
    return Output(public_key_pem(client.key_attributes(arguments.key_name), data, pkcs1=arguments.pkcs1))


def sign(client: Client, arguments: Namespace) -> Output:
    """Hash and sign the input; print the signature in base64, an ECDSA signature in DER."""
    algorithm, _ = _signature_algorithm(client, arguments.key_name)
    signature = client.sign_hash(arguments.key_name, _digest(algorithm, _input(arguments)), algorithm)
    if algorithm.scheme in _DER_SIGNATURES:
        from cofferdam_cli.pem import signature_to_der  # noqa: PLC0415  slow, see pem

        signature = signature_to_der(signature)
    return Output(_base64(signature))


def verify(client: Client, arguments: Namespace) -> Output:
    """Verify a signature in the form that `sign` prints."""
    algorithm, bits = _signature_algorithm(client, arguments.key_name)
    signature = _from_base64(arguments.signature.encode(), "the signature")
    if algorithm.scheme in _DER_SIGNATURES:
        from cofferdam_cli.pem import signature_from_der  # noqa: PLC0415  slow, see pem

        signature = signature_from_der(signature, bits or _curve_bits(client, arguments.key_name))
    client.verify_hash(arguments.key_name, _digest(algorithm, _input(arguments)), signature, algorithm)
    return Output(note="The signature is valid.")


def _curve_bits(client: Client, key_name: str) -> int:
    """Return the size in bits of a key that the service lists without a size, from the length of its point."""
    return len(client.export_public_key(key_name)) // 2 * 8


def _signature_algorithm(client: Client, key_name: str) -> tuple[AsymmetricSignature, int]:
    """Return the signature algorithm of a key, and its size in bits."""
    attributes = client.key_attributes(key_name)
    algorithm = attributes.algorithm
    if not isinstance(algorithm, AsymmetricSignature):
        raise CommandError("the key is not a signing key; list-keys shows its algorithm")
    if algorithm.hash is ANY_HASH:
        algorithm = AsymmetricSignature(algorithm.scheme, Hash.SHA_256)
    return algorithm, attributes.bits


def _digest(algorithm: AsymmetricSignature, data: bytes) -> bytes:
    name = _DIGESTS.get(algorithm.hash) if isinstance(algorithm.hash, Hash) else None
    if name is None:
        known = ", ".join(member.name for member in _DIGESTS)
        raise CommandError(f"this command supports only keys with one of the hashes {known}")
    return hashlib.new(name, data).digest()


def encrypt(client: Client, arguments: Namespace) -> Output:
    """Encrypt the input; print the ciphertext in base64."""
    algorithm = _encryption_algorithm(client, arguments.key_name)
    return Output(_base64(client.asymmetric_encrypt(arguments.key_name, _input(arguments), algorithm)))


def decrypt(client: Client, arguments: Namespace) -> Output:
    """Decrypt base64; print the plaintext, followed by a newline unless the input is a file."""
    algorithm = _encryption_algorithm(client, arguments.key_name)
    ciphertext = _from_base64(_input(arguments), "the ciphertext")
    plaintext = client.asymmetric_decrypt(arguments.key_name, ciphertext, algorithm)
    return Output(plaintext if arguments.file is not None else plaintext + b"\n")


def _encryption_algorithm(client: Client, key_name: str) -> AsymmetricEncryption:
    algorithm = client.key_attributes(key_name).algorithm
    if not isinstance(algorithm, AsymmetricEncryption):
        raise CommandError("the key is not an asymmetric encryption key; list-keys shows its algorithm")
    return algorithm


def generate_random(client: Client, arguments: Namespace) -> Output:
    """Print random bytes in hexadecimal."""
    return Output(client.generate_random(arguments.nbytes).hex(" ").upper() + "\n", "Random bytes:")


def _input(arguments: Namespace) -> bytes:
    """Return the bytes of the text on the command line, or the content of the file."""
    return os.fsencode(arguments.input_data) if arguments.file is None else _read(arguments.file)


def _read(path: str) -> bytes:
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode() + "\n"


def _from_base64(data: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error as error:
        raise CommandError(f"{what} is not base64") from error


COMMANDS: Final[Mapping[str, Callable[[Client, Namespace], Output]]] = {
    "ping": ping,
    "list-providers": list_providers,
    "list-authenticators": list_authenticators,
    "list-opcodes": list_opcodes,
    "list-keys": list_keys,
    "list-clients": list_clients,
    "delete-client": delete_client,
    "create-rsa-key": create_rsa_key,
    "create-ecc-key": create_ecc_key,
    "import": import_key,
    "delete-key": delete_key,
    "export-public-key": export_public_key,
    "sign": sign,
    "verify": verify,
    "encrypt": encrypt,
    "decrypt": decrypt,
    "generate-random": generate_random,
}
"""The subcommands by name."""

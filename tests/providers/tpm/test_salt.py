"""TPMs that salt RSA-PSS differently from PSA: those before revision 1.38 of the specification use the longest salt."""

from typing import cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from tests.providers.support import attributes, refused

from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import KeyKind, Usage
from cofferdam_contracts.status import Status
from cofferdam_providers.tpm import asym_sign
from cofferdam_providers.tpm.blobs import Blob
from cofferdam_providers.tpm.codes import Algorithm, Command
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.keys import TpmKey
from cofferdam_providers.tpm.marshal import U16, Reader, sized
from cofferdam_providers.tpm.public import RsaPart

PSS = AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_256)
DIGEST = bytes(range(32))
KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505  the smallest that there is


class Salting:
    """A TPM that signs with a salt of one length."""

    def __init__(self, salt: int) -> None:
        self._salt = salt

    def execute_with(self, command: Command, used: TpmKey, parameters: bytes) -> Reader:
        assert command is Command.SIGN
        pad = padding.PSS(padding.MGF1(hashes.SHA256()), self._salt)
        signature = KEY.sign(DIGEST, pad, Prehashed(hashes.SHA256()))
        return Reader(U16.pack(Algorithm.RSAPSS) + U16.pack(Algorithm.SHA256) + sized(signature))


@pytest.mark.parametrize("salt", [32, 31, 94])
def test_a_signature_is_given_out_only_if_others_take_it(salt: int) -> None:
    device = cast("TpmDevice", Salting(salt))
    modulus = KEY.public_key().public_numbers().n.to_bytes(128)
    wanted = attributes(KeyKind.RSA_KEY_PAIR, 1024, PSS, usage=Usage.SIGN_HASH)
    key = TpmKey(device, wanted, Blob(part=RsaPart(modulus), private=b"private", auth=b""), cast("TpmKey", None))
    if salt == 32:
        asym_sign.verify_hash(device, key, PSS, DIGEST, asym_sign.sign_hash(device, key, PSS, DIGEST))
        return
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        asym_sign.sign_hash(device, key, PSS, DIGEST)

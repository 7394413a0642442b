"""What an swtpm takes without a service: `python -m tools.tpm_floor PORT OPERATION SECONDS`.

Four loops of one thread, one after the other:

    password   the call of the TSS (ESAPI, by tpm2-pytss) with a key that is loaded, authorised by a password
    session    the same, in a salted session with HMACs and parameter encryption
    reference  what Parsec's provider does for a request: load the key, use it, flush it, all in such a session
    own        the provider's own `Device`, without anything around it, in its session

Parsec asks for random bytes without a session and needs no key for them: there, `reference` is `password`.
"""

import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

# Libraries read it when they are loaded.
os.environ["TSS2_LOG"] = "all+NONE"

import tpm2_pytss as tss

from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.settings import TctiSettings
from cofferdam_providers.tpm import asym_sign, blobs, generate_random, key_management
from cofferdam_providers.tpm.connection import TpmConnection
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.keys import TpmKey
from cofferdam_providers.tpm.transport import open_transport

Call = Callable[[], object]

_HOST: Final = "127.0.0.1"
_DIGEST: Final = hashlib.sha256(b"a message").digest()
_AUTH: Final = b"x" * 32
_RANDOM: Final = 32
_WARM_UP_S: Final = 0.1
_ECDSA: Final = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
_RSASSA: Final = AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256)
_KEYS: Final = {
    "ecdsa": ("ecc256:ecdsa-sha256:null", KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1), 256, _ECDSA),
    "rsa": ("rsa2048:rsassa-sha256:null", KeyType(KeyKind.RSA_KEY_PAIR), 2048, _RSASSA),
}
"""By the first word of an operation: the key for the TSS, its type and bits, and the algorithm."""
_ATTRIBUTES: Final = (
    tss.TPMA_OBJECT.USERWITHAUTH
    | tss.TPMA_OBJECT.FIXEDTPM
    | tss.TPMA_OBJECT.FIXEDPARENT
    | tss.TPMA_OBJECT.SENSITIVEDATAORIGIN
)


class Tss:
    """The calls that go through the TSS."""

    def __init__(self, esapi: tss.ESAPI, operation: str) -> None:
        """Make parent, session and key."""
        self._esapi, self._operation = esapi, operation
        kind = self._kind("rsa2048:aes128cfb", tss.TPMA_OBJECT.RESTRICTED | tss.TPMA_OBJECT.DECRYPT)
        self._parent = esapi.create_primary(tss.TPM2B_SENSITIVE_CREATE(), kind)[0]
        self._session = self._start_session()
        self._loaded = [self._parent, self._session]
        self.calls: dict[str, Call] = {
            "password": lambda: self._esapi.get_random(_RANDOM),
            "session": lambda: self._esapi.get_random(_RANDOM, session1=self._session),
        }
        if operation == "random":
            self.calls["reference"] = self.calls["password"]
            return
        scheme = _KEYS[operation.partition("-")[0]][0]
        secret = tss.TPM2B_SENSITIVE_CREATE(tss.TPMS_SENSITIVE_CREATE(userAuth=_AUTH))
        kind = self._kind(scheme, tss.TPMA_OBJECT.SIGN_ENCRYPT)
        self._blob = esapi.create(self._parent, secret, kind)[:2]
        key = self._load()
        self._loaded.append(key)
        self._signature = esapi.sign(key, *self._to_sign())
        none = tss.ESYS_TR.NONE if operation.endswith("verify") else tss.ESYS_TR.PASSWORD
        self.calls = {
            "password": lambda: self._use(key, none),
            "session": lambda: self._use(key, self._session),
            "reference": self._as_parsec,
        }

    def close(self) -> None:
        """Leave nothing in the TPM."""
        for handle in self._loaded:
            self._esapi.flush_context(handle)

    def _use(self, key: tss.ESYS_TR, session: tss.ESYS_TR) -> None:
        if self._operation.endswith("verify"):
            self._esapi.verify_signature(key, _DIGEST, self._signature, session1=session)
        else:
            self._esapi.sign(key, *self._to_sign(), session1=session)

    def _as_parsec(self) -> None:
        key = self._load()
        self._use(key, self._session)
        self._esapi.flush_context(key)

    def _load(self) -> tss.ESYS_TR:
        key = self._esapi.load(self._parent, *self._blob, session1=self._session)
        self._esapi.tr_set_auth(key, _AUTH)
        return key

    def _start_session(self) -> tss.ESYS_TR:
        cipher = tss.TPMT_SYM_DEF(
            algorithm=tss.TPM2_ALG.AES,
            keyBits=tss.TPMU_SYM_KEY_BITS(aes=128),
            mode=tss.TPMU_SYM_MODE(aes=tss.TPM2_ALG.CFB),
        )
        session = self._esapi.start_auth_session(
            self._parent, tss.ESYS_TR.NONE, tss.TPM2_SE.HMAC, cipher, tss.TPM2_ALG.SHA256
        )
        flags = tss.TPMA_SESSION.CONTINUESESSION | tss.TPMA_SESSION.DECRYPT | tss.TPMA_SESSION.ENCRYPT
        self._esapi.trsess_set_attributes(session, flags)
        return session

    @staticmethod
    def _kind(scheme: str, more: tss.TPMA_OBJECT) -> tss.TPM2B_PUBLIC:
        return tss.TPM2B_PUBLIC.parse(scheme, objectAttributes=_ATTRIBUTES | more)

    @staticmethod
    def _to_sign() -> tuple[bytes, tss.TPMT_SIG_SCHEME, tss.TPMT_TK_HASHCHECK]:
        ticket = tss.TPMT_TK_HASHCHECK(tag=tss.TPM2_ST.HASHCHECK, hierarchy=tss.TPM2_RH.NULL)
        return _DIGEST, tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL), ticket


def main() -> None:
    """Measure all four, and print JSON."""
    port, operation, seconds = sys.argv[1:]
    with tss.ESAPI(f"swtpm:host={_HOST},port={port}") as esapi:
        through = Tss(esapi, operation)
        found = {name: _repeat(call, float(seconds)) for name, call in through.calls.items()}
        through.close()
    way = TctiSettings(kind="swtpm", path=None, host=_HOST, port=int(port), bus_name=None, bus_type=None)
    connection = TpmConnection(open_transport(way))
    device = TpmDevice(connection, owner_auth=b"", endorsement_auth=b"", protected=True, busy=lambda _: None)
    device.open()
    found["own"] = _repeat(_own(device, operation), float(seconds))
    device.close()
    connection.close()
    json.dump(found, sys.stdout)


def _own(device: TpmDevice, operation: str) -> Call:
    if operation == "random":
        return lambda: generate_random.random_bytes(device, _RANDOM)
    _, kind, bits, algorithm = _KEYS[operation.partition("-")[0]]
    usage = Usage.SIGN_HASH | Usage.VERIFY_HASH
    attributes = KeyAttributes(type=kind, bits=bits, usage=usage, algorithm=algorithm)
    blob = key_management.generate(device, device.root, blobs.ROOT_PARENT, attributes)
    key = TpmKey(device, attributes, blob, device.root)
    signature = asym_sign.sign_hash(device, key, algorithm, _DIGEST)
    if operation.endswith("verify"):
        return lambda: asym_sign.verify_hash(device, key, algorithm, _DIGEST, signature)
    return lambda: asym_sign.sign_hash(device, key, algorithm, _DIGEST)


def _repeat(call: Call, seconds: float) -> dict[str, float]:
    """Return calls per second, the median time of one, and its processor time in this process."""
    _run(call, _WARM_UP_S)
    cpu = time.process_time()
    span, took = _run(call, seconds)
    cpu = time.process_time() - cpu
    rate = len(took) / span
    return {"rate": rate, "p50_us": statistics.median(took) * 1e6, "cpu_us": cpu / len(took) * 1e6}


def _run(call: Call, seconds: float) -> tuple[float, list[float]]:
    """Return how long it took in all, and each time."""
    took = []
    begin = before = time.perf_counter()
    while before - begin < seconds:
        call()
        after = time.perf_counter()
        took.append(after - before)
        before = after
    return before - begin, took


if __name__ == "__main__":
    main()

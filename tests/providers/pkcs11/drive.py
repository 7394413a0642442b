"""The process that uses a module: `drive.py LIBRARY SLOT PIN` takes steps, one per line.

It answers each with a line: the result, bytes in hex, or the name of an error. It exits without the module's own
clean-up, which SoftHSM does not survive.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

ID: Final = bytes(range(16))
_DIGEST: Final = bytes(32)
_DATA: Final = b"plain text"
_GCM: Final = {"mechanism": Mechanism.AES_GCM, "mechanism_param": pkcs11.GCMParams(bytes(12), b"", 128)}


def main() -> None:
    """Take the steps."""
    library, slot, pin = sys.argv[1:]
    module = pkcs11.lib(library)
    (found,) = [one for one in module.get_slots(token_present=True) if one.slot_id == int(slot)]
    session = found.get_token().open(user_pin=pin, rw=True)
    for line in sys.stdin:
        try:
            done = STEPS[line.strip()](session)
        except pkcs11.PKCS11Error as error:
            done = type(error).__name__
        print(done, flush=True)  # noqa: T201  how it answers
    os._exit(0)


def _ec(session: pkcs11.Session) -> str:
    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(
        store=True, id=ID, label="ec", mechanism=Mechanism.EC_KEY_PAIR_GEN
    )
    return "ok"


def _sign(session: pkcs11.Session) -> str:
    signature: bytes = _key(session, ObjectClass.PRIVATE_KEY).sign(_DIGEST, mechanism=Mechanism.ECDSA)
    return signature.hex()


def _verify(session: pkcs11.Session) -> str:
    public = _key(session, ObjectClass.PUBLIC_KEY)
    return str(public.verify(_DIGEST, bytes.fromhex(_sign(session)), mechanism=Mechanism.ECDSA))


def _rsa(session: pkcs11.Session) -> str:
    pair: Any = session.generate_keypair(KeyType.RSA, 2048, store=True, id=bytes(16), label="rsa")
    public, private = pair
    signature = private.sign(_DATA, mechanism=Mechanism.SHA256_RSA_PKCS)
    return str(public.verify(_DATA, signature, mechanism=Mechanism.SHA256_RSA_PKCS))


def _aes(session: pkcs11.Session) -> str:
    session.generate_key(KeyType.AES, 128, store=True, id=ID, label="aes")
    return "ok"


def _gcm(session: pkcs11.Session) -> str:
    sealed: bytes = _key(session, ObjectClass.SECRET_KEY).encrypt(_DATA, **_GCM)
    return sealed.hex()


def _ungcm(session: pkcs11.Session) -> str:
    opened: bytes = _key(session, ObjectClass.SECRET_KEY).decrypt(bytes.fromhex(_gcm(session)), **_GCM)
    return opened.hex()


def _hmac(session: pkcs11.Session) -> str:
    key: Any = session.generate_key(
        KeyType.GENERIC_SECRET, 256, mechanism=Mechanism.GENERIC_SECRET_KEY_GEN, store=True, id=bytes(16),
        capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
    )  # fmt: skip
    code = key.sign(_DATA, mechanism=Mechanism.SHA256_HMAC)
    return str(key.verify(_DATA, code, mechanism=Mechanism.SHA256_HMAC))


def _random(session: pkcs11.Session) -> str:
    return session.generate_random(128).hex()


def _label(session: pkcs11.Session) -> str:
    return str(_key(session, ObjectClass.PRIVATE_KEY)[Attribute.LABEL])


def _descriptors(_session: pkcs11.Session) -> str:
    return str(len(os.listdir("/proc/self/fd")))


def _resident(_session: pkcs11.Session) -> str:
    with open("/proc/self/statm") as file:
        return str(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024)


def _handle(session: pkcs11.Session) -> str:
    """Return the handle of a new session; SoftHSM numbers them."""
    other: Any = session.token.open()
    handle = other.handle
    other.close()
    return str(handle)


def _claimed(session: pkcs11.Session) -> str:
    """Return the length that C_Encrypt claims for 16 bytes in a buffer of 20."""
    key = _key(session, ObjectClass.SECRET_KEY)
    own: Any = session
    module = ctypes.CDLL(sys.argv[1])
    handle, length, output = ctypes.c_ulong(own.handle), ctypes.c_ulong(20), ctypes.create_string_buffer(20)
    mechanism = (ctypes.c_ulong * 3)(Mechanism.AES_ECB, 0, 0)
    module.C_EncryptInit(handle, mechanism, ctypes.c_ulong(key.handle))
    module.C_Encrypt(handle, bytes(16), ctypes.c_ulong(16), output, ctypes.byref(length))
    return str(length.value)


def _key(session: pkcs11.Session, object_class: ObjectClass) -> Any:  # noqa: ANN401  what it can do is its mix-ins
    return session.get_key(object_class=object_class, id=ID)


STEPS: Final[dict[str, Callable[[pkcs11.Session], str]]] = {
    "ec": _ec,
    "sign": _sign,
    "verify": _verify,
    "rsa": _rsa,
    "aes": _aes,
    "gcm": _gcm,
    "ungcm": _ungcm,
    "hmac": _hmac,
    "random": _random,
    "label": _label,
    "descriptors": _descriptors,
    "resident": _resident,
    "handle": _handle,
    "claimed": _claimed,
}
if __name__ == "__main__":
    main()

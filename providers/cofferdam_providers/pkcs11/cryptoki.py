"""The functions of a PKCS#11 module that requests and the login need; each method is one call of the module.

python-pkcs11 loads and initialises the module, and finds the token. Requests go through here instead, because
python-pkcs11 asks for the size of every output first, and reads ten attributes of every object it meets. Both use the
same module: a library that is loaded twice is the same library (dlopen(3)).

Sizes of outputs are known in advance, so they are not asked for; a module that reports more bytes than it was given
room for is not trusted any more. Structures: OASIS PKCS#11 v2.40, sections 3.4 to 3.6, and "Current Mechanisms".
"""

import ctypes
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pkcs11 import Attribute

from cofferdam_providers.pkcs11.codes import Return, in_words

UNAVAILABLE: Final = (1 << (8 * ctypes.sizeof(ctypes.c_ulong))) - 1
"""CK_UNAVAILABLE_INFORMATION."""
USER: Final = 1
"""CKU_USER."""
CONTEXT_SPECIFIC: Final = 2
"""CKU_CONTEXT_SPECIFIC: the login that a single operation of an ALWAYS_AUTHENTICATE key requires."""
USER_STATES: Final = frozenset({1, 3})
"""CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS."""
_BATCH: Final = 1000
"""Handles asked for at a time."""
_ROOM: Final = 2048
"""Bytes first offered for an attribute; more than the modulus of any supported key."""
_NUMBERS: Final = frozenset({Attribute.CLASS, Attribute.KEY_TYPE})
"""Attributes that are a CK_ULONG. For one of these NSS rejects a buffer of any other size as too small."""
_MOST_ROOM: Final = 1 << 21
"""Longest output buffer that a module may request: longer than any request's body."""
_FUNCTIONS: Final = (
    *("Initialize", "Finalize", "GetInfo", "GetFunctionList", "GetSlotList", "GetSlotInfo", "GetTokenInfo"),
    *("GetMechanismList", "GetMechanismInfo", "InitToken", "InitPIN", "SetPIN", "OpenSession", "CloseSession"),
    *("CloseAllSessions", "GetSessionInfo", "GetOperationState", "SetOperationState", "Login", "Logout"),
    *("CreateObject", "CopyObject", "DestroyObject", "GetObjectSize", "GetAttributeValue", "SetAttributeValue"),
    *("FindObjectsInit", "FindObjects", "FindObjectsFinal", "EncryptInit", "Encrypt", "EncryptUpdate", "EncryptFinal"),
    *("DecryptInit", "Decrypt", "DecryptUpdate", "DecryptFinal", "DigestInit", "Digest", "DigestUpdate", "DigestKey"),
    *("DigestFinal", "SignInit", "Sign", "SignUpdate", "SignFinal", "SignRecoverInit", "SignRecover", "VerifyInit"),
    *("Verify", "VerifyUpdate", "VerifyFinal", "VerifyRecoverInit", "VerifyRecover", "DigestEncryptUpdate"),
    *("DecryptDigestUpdate", "SignEncryptUpdate", "DecryptVerifyUpdate", "GenerateKey", "GenerateKeyPair", "WrapKey"),
    *("UnwrapKey", "DeriveKey", "SeedRandom", "GenerateRandom", "GetFunctionStatus", "CancelFunction"),
    "WaitForSlotEvent",
)
"""CK_FUNCTION_LIST in its order, without the prefix C_."""
_ULONG: Final = struct.Struct("@L")

Value = bool | int | bytes | Sequence[int]
"""Types of an attribute's value: CK_BBOOL, CK_ULONG, bytes, or an array of CK_ULONG."""
Template = Mapping[Attribute, Value]


class CryptokiError(Exception):
    """Raised when a function of the module returns anything but CKR_OK; `code` is its return code."""

    def __init__(self, function: str, code: int) -> None:
        super().__init__(function, code)
        self.function = function
        self.code = code

    def __str__(self) -> str:
        """Name the function and the code."""
        return f"C_{self.function}: {in_words(self.code)}"


class ImplausibleAnswerError(Exception):
    """Raised when the module reports success and returns something impossible."""


class SessionState(NamedTuple):
    """The result of C_GetSessionInfo."""

    state: int
    device_error: int


class _FunctionList(ctypes.Structure):
    """CK_FUNCTION_LIST."""

    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * len(_FUNCTIONS)))


class Mechanism(ctypes.Structure):
    """CK_MECHANISM."""

    _fields_ = (
        ("mechanism", ctypes.c_ulong),
        ("pParameter", ctypes.c_void_p),
        ("ulParameterLen", ctypes.c_ulong),
    )


class PssParameters(ctypes.Structure):
    """CK_RSA_PKCS_PSS_PARAMS; the length of the salt is in bytes."""

    _fields_ = (("hashAlg", ctypes.c_ulong), ("mgf", ctypes.c_ulong), ("sLen", ctypes.c_ulong))


class OaepParameters(ctypes.Structure):
    """CK_RSA_PKCS_OAEP_PARAMS."""

    _fields_ = (
        ("hashAlg", ctypes.c_ulong),
        ("mgf", ctypes.c_ulong),
        ("source", ctypes.c_ulong),
        ("pSourceData", ctypes.c_char_p),
        ("ulSourceDataLen", ctypes.c_ulong),
    )


class GcmParameters(ctypes.Structure):
    """CK_GCM_PARAMS of v2.40 errata 01."""

    _fields_ = (
        ("pIv", ctypes.c_char_p),
        ("ulIvLen", ctypes.c_ulong),
        ("ulIvBits", ctypes.c_ulong),
        ("pAAD", ctypes.c_char_p),
        ("ulAADLen", ctypes.c_ulong),
        ("ulTagBits", ctypes.c_ulong),
    )


class CtrParameters(ctypes.Structure):
    """CK_AES_CTR_PARAMS."""

    BLOCK = ctypes.c_ubyte * 16
    _fields_ = (("ulCounterBits", ctypes.c_ulong), ("cb", BLOCK))


class _SessionInfo(ctypes.Structure):
    """CK_SESSION_INFO."""

    _fields_ = (
        ("slotID", ctypes.c_ulong),
        ("state", ctypes.c_ulong),
        ("flags", ctypes.c_ulong),
        ("ulDeviceError", ctypes.c_ulong),
    )


class _AttributeValue(ctypes.Structure):
    """CK_ATTRIBUTE."""

    _fields_ = (("type", ctypes.c_ulong), ("pValue", ctypes.c_void_p), ("ulValueLen", ctypes.c_ulong))


_KNOWN: Final = frozenset(map(int, Return))
_PARTLY: Final = frozenset({0, Return.ATTRIBUTE_SENSITIVE, Return.ATTRIBUTE_TYPE_INVALID})
"""Codes of C_GetAttributeValue with which some attributes may be withheld while the others are returned."""
_HANDLE: Final = ctypes.c_ulong
_LENGTH: Final = ctypes.POINTER(ctypes.c_ulong)
_ARGUMENTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "GetSessionInfo": (ctypes.POINTER(_SessionInfo),),
    "Login": (ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong),
    "CreateObject": (ctypes.POINTER(_AttributeValue), ctypes.c_ulong, _LENGTH),
    "DestroyObject": (_HANDLE,),
    "GetAttributeValue": (_HANDLE, ctypes.POINTER(_AttributeValue), ctypes.c_ulong),
    "FindObjectsInit": (ctypes.POINTER(_AttributeValue), ctypes.c_ulong),
    "FindObjects": (_LENGTH, ctypes.c_ulong, _LENGTH),
    "FindObjectsFinal": (),
    **dict.fromkeys(("SignInit", "VerifyInit", "EncryptInit", "DecryptInit"), (ctypes.POINTER(Mechanism), _HANDLE)),
    **dict.fromkeys(("Sign", "Encrypt", "Decrypt"), (ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, _LENGTH)),
    "Verify": (ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong),
    "GenerateKey": (ctypes.POINTER(Mechanism), ctypes.POINTER(_AttributeValue), ctypes.c_ulong, _LENGTH),
    "GenerateKeyPair": (
        ctypes.POINTER(Mechanism),
        *(ctypes.POINTER(_AttributeValue), ctypes.c_ulong) * 2,
        *(_LENGTH, _LENGTH),
    ),
    "GenerateRandom": (ctypes.c_char_p, ctypes.c_ulong),
}
"""Parameter types of each function after the session."""


def mechanism(number: int, parameters: ctypes.Structure | bytes | None = None) -> Mechanism:
    """Return a mechanism that keeps its parameters alive."""
    made = Mechanism(number, None, 0)
    if parameters is not None:
        kept: Any = parameters
        if isinstance(parameters, bytes):
            kept = ctypes.create_string_buffer(parameters, len(parameters))
        made.pParameter = ctypes.cast(ctypes.pointer(kept), ctypes.c_void_p)
        made.ulParameterLen = ctypes.sizeof(kept)
        made.kept = kept
    return made


def pack(value: Value) -> bytes:
    """Return the bytes of an attribute's value."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return bytes((value,))
    if isinstance(value, int):
        return _ULONG.pack(value)
    return b"".join(map(_ULONG.pack, value))


def number_of(data: bytes) -> int:
    """Return the CK_ULONG of an attribute.

    Raises:
        ImplausibleAnswerError: It has another length.
    """
    if len(data) != _ULONG.size:
        raise ImplausibleAnswerError(f"a number of {len(data)} bytes")
    (number,) = _ULONG.unpack(data)
    return int(number)


class Cryptoki:
    """A session of a loaded and initialised module."""

    def __init__(self, library_path: str, session: int) -> None:
        """Find the functions of the module, which python-pkcs11 has loaded from the same path.

        Raises:
            OSError: The library cannot be loaded, or has no C_GetFunctionList.
        """
        self._session = session
        found = ctypes.POINTER(_FunctionList)()
        library = ctypes.CDLL(library_path)
        code = _function(library, "C_GetFunctionList")(ctypes.byref(found))
        if code:
            raise OSError(f"C_GetFunctionList of {library_path} returns {code:#x}")
        addresses = dict(zip(_FUNCTIONS, found.contents.functions, strict=True))
        self._call = {
            name: ctypes.CFUNCTYPE(ctypes.c_ulong, _HANDLE, *arguments)(addresses[name])
            for name, arguments in _ARGUMENTS.items()
            if addresses[name]
        }
        self._missing = _ARGUMENTS.keys() - self._call.keys()
        self._sign_init, self._sign = self._find("SignInit"), self._find("Sign")
        self._room = ctypes.create_string_buffer(1 << 16)
        self._length = ctypes.c_ulong()

    def sign(self, key: int, how: Mechanism, data: bytes, size: int) -> bytes:
        """Return a signature or MAC of at most `size` bytes."""
        code = self._sign_init(self._session, how, key)
        if code:
            raise CryptokiError("SignInit", code)
        self._length.value = size
        code = self._sign(self._session, data, len(data), self._output(size), self._length)
        if code:
            return self._again("Sign", code, data)
        return self._result(size)

    def verify(self, key: int, how: Mechanism, data: bytes, signature: bytes) -> None:
        """Check a signature or MAC."""
        self._do("VerifyInit", how, key)
        self._do("Verify", data, len(data), signature, len(signature))

    def encrypt(self, key: int, how: Mechanism, data: bytes, size: int) -> bytes:
        """Return a ciphertext of at most `size` bytes."""
        self._do("EncryptInit", how, key)
        return self._transform("Encrypt", data, size)

    def decrypt(self, key: int, how: Mechanism, data: bytes, size: int, pin: bytes | None = None) -> bytes:
        """Return a plaintext of at most `size` bytes; no copy of it stays in this object."""
        self._do("DecryptInit", how, key)
        if pin is not None:
            self._do("Login", CONTEXT_SPECIFIC, pin, len(pin))
        try:
            return self._transform("Decrypt", data, size)
        finally:
            ctypes.memset(self._room, 0, min(max(size, self._length.value), len(self._room)))

    def sign_with_login(self, key: int, how: Mechanism, data: bytes, size: int, pin: bytes) -> bytes:
        """Return a signature by a key that requires a login for each operation."""
        self._do("SignInit", how, key)
        self._do("Login", CONTEXT_SPECIFIC, pin, len(pin))
        return self._transform("Sign", data, size)

    def login(self, pin: bytes) -> None:
        """Log the user in, for all sessions of this process."""
        self._do("Login", USER, pin, len(pin))

    def random(self, size: int) -> bytes:
        """Return random bytes."""
        output = self._output(size)
        self._do("GenerateRandom", output, size)
        return ctypes.string_at(output, size)

    def generate_key(self, how: Mechanism, template: Template) -> int:
        """Generate a secret key and return its handle."""
        made = _HANDLE()
        self._do("GenerateKey", how, *_attributes(template), made)
        return made.value

    def generate_pair(self, how: Mechanism, public: Template, private: Template) -> tuple[int, int]:
        """Generate a key pair and return the handles of the public and the private key."""
        first, second = _HANDLE(), _HANDLE()
        self._do("GenerateKeyPair", how, *_attributes(public), *_attributes(private), first, second)
        return first.value, second.value

    def create(self, template: Template) -> int:
        """Create an object and return its handle."""
        made = _HANDLE()
        self._do("CreateObject", *_attributes(template), made)
        return made.value

    def destroy(self, handle: int) -> None:
        """Destroy an object."""
        self._do("DestroyObject", handle)

    def find(self, template: Template) -> list[int]:
        """Return the handles of the objects with these attribute values."""
        self._do("FindObjectsInit", *_attributes(template))
        handles = (ctypes.c_ulong * _BATCH)()
        count = ctypes.c_ulong(_BATCH)
        found: list[int] = []
        try:
            while count.value:
                self._do("FindObjects", handles, _BATCH, count)
                if count.value > _BATCH:
                    raise ImplausibleAnswerError(f"C_FindObjects returned {count.value} handles where {_BATCH} fit")
                found += handles[: count.value]
        finally:
            self._do("FindObjectsFinal")
        return found

    def attributes(self, handle: int, wanted: Iterable[Attribute]) -> dict[Attribute, bytes]:
        """Return those of the wanted attributes that the object has and reveals."""
        kinds = tuple(wanted)
        buffers = {kind: ctypes.create_string_buffer(_ULONG.size if kind in _NUMBERS else _ROOM) for kind in kinds}
        code, lengths = self._read(handle, kinds, buffers)
        if code == Return.BUFFER_TOO_SMALL:
            _, needed = self._read(handle, kinds, {})
            buffers = {
                kind: ctypes.create_string_buffer(_ROOM if length == UNAVAILABLE else min(length, _MOST_ROOM))
                for kind, length in needed.items()
            }
            code, lengths = self._read(handle, kinds, buffers)
        if code not in _PARTLY:
            raise CryptokiError("GetAttributeValue", code)
        return {kind: _taken(buffers[kind], length) for kind, length in lengths.items() if length != UNAVAILABLE}

    def session(self) -> SessionState:
        """Return the state of the session."""
        info = _SessionInfo()
        self._do("GetSessionInfo", info)
        return SessionState(info.state, info.ulDeviceError)

    def _read(
        self, handle: int, kinds: Sequence[Attribute], buffers: Mapping[Attribute, Any]
    ) -> tuple[int, dict[Attribute, int]]:
        """Call C_GetAttributeValue; without buffers, to learn the lengths."""
        array = (_AttributeValue * len(kinds))()
        for row, kind in zip(array, kinds, strict=True):
            row.type = kind
            if kind in buffers:
                row.pValue, row.ulValueLen = ctypes.addressof(buffers[kind]), len(buffers[kind])
        code = self._find("GetAttributeValue")(self._session, handle, array, len(kinds))
        return code, {kind: row.ulValueLen for kind, row in zip(kinds, array, strict=True)}

    def _transform(self, function: str, data: bytes, size: int) -> bytes:
        self._length.value = size
        code = self._find(function)(self._session, data, len(data), self._output(size), self._length)
        return self._again(function, code, data) if code else self._result(size)

    def _again(self, function: str, code: int, data: bytes) -> bytes:
        """Repeat a call with the room that the module says it needs; the operation is still active then."""
        size = self._length.value
        if code != Return.BUFFER_TOO_SMALL or size > _MOST_ROOM:
            raise CryptokiError(function, code)
        self._do(function, data, len(data), self._output(size), self._length)
        return self._result(size)

    def _output(self, size: int) -> Any:  # noqa: ANN401  an array of chars
        if size > len(self._room):
            self._room = ctypes.create_string_buffer(size)
        return self._room

    def _result(self, size: int) -> bytes:
        length = self._length.value
        if length > size:
            raise ImplausibleAnswerError(f"{length} bytes where {size} fit")
        return ctypes.string_at(self._room, length)

    def _do(self, function: str, *arguments: Any) -> None:  # noqa: ANN401  as `_ARGUMENTS` says
        code = self._find(function)(self._session, *arguments)
        if code:
            raise CryptokiError(function, code)

    def _find(self, function: str) -> Any:  # noqa: ANN401  a foreign function
        found = self._call.get(function)
        if found is None:
            raise CryptokiError(function, Return.FUNCTION_NOT_SUPPORTED)
        return found


def _function(library: ctypes.CDLL, name: str) -> Any:  # noqa: ANN401  a foreign function
    try:
        function = library[name]
    except AttributeError as error:
        raise OSError(f"the library has no {name}") from error
    function.restype = ctypes.c_ulong
    return function


def _attributes(template: Template) -> tuple[Any, int]:
    """Return the array of CK_ATTRIBUTE, which keeps what it points to alive, and its length."""
    array: Any = (_AttributeValue * len(template))()
    array.kept = []
    for row, (kind, value) in zip(array, template.items(), strict=True):
        packed = pack(value)
        buffer = ctypes.create_string_buffer(packed, len(packed))
        array.kept.append(buffer)
        row.type, row.pValue, row.ulValueLen = kind, ctypes.addressof(buffer), len(packed)
    return array, len(template)


def _taken(buffer: Any, length: int) -> bytes:  # noqa: ANN401  an array of chars
    if length > len(buffer):
        raise ImplausibleAnswerError(f"an attribute of {length} bytes where {len(buffer)} fit")
    return bytes(buffer.raw[:length])

"""Numbers of TPM 2.0, and the form of each command.

Source: TCG, "Trusted Platform Module Library", part 2 (structures) and part 3 (commands), revision 1.59.
"""

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple


@enum.unique
class Command(enum.IntEnum):
    """TPM_CC of the commands in use (part 2, 6.5.2)."""

    CREATE_PRIMARY = 0x131
    STARTUP = 0x144
    ACTIVATE_CREDENTIAL = 0x147
    POLICY_SECRET = 0x151
    CREATE = 0x153
    LOAD = 0x157
    RSA_DECRYPT = 0x159
    SIGN = 0x15D
    CONTEXT_LOAD = 0x161
    CONTEXT_SAVE = 0x162
    FLUSH_CONTEXT = 0x165
    LOAD_EXTERNAL = 0x167
    READ_PUBLIC = 0x173
    RSA_ENCRYPT = 0x174
    START_AUTH_SESSION = 0x176
    VERIFY_SIGNATURE = 0x177
    GET_CAPABILITY = 0x17A
    GET_RANDOM = 0x17B
    TEST_PARMS = 0x18A


class Shape(NamedTuple):
    """What a sender has to know about a command."""

    returns_handle: bool = False
    hides_parameter: bool = False
    """Whether its first parameter is a sized buffer, which a session can encrypt."""
    hides_answer: bool = False
    """Whether the first parameter of its response is a sized buffer."""
    slow: bool = False
    """Whether a key may be generated, which takes seconds."""


_PLAIN: Final = Shape()

SHAPES: Final[Mapping[Command, Shape]] = {
    Command.CREATE_PRIMARY: Shape(returns_handle=True, hides_parameter=True, hides_answer=True, slow=True),
    Command.STARTUP: _PLAIN,
    Command.ACTIVATE_CREDENTIAL: Shape(hides_parameter=True, hides_answer=True),
    Command.POLICY_SECRET: Shape(hides_parameter=True, hides_answer=True),
    Command.CREATE: Shape(hides_parameter=True, hides_answer=True, slow=True),
    Command.LOAD: Shape(returns_handle=True, hides_parameter=True, hides_answer=True),
    Command.RSA_DECRYPT: Shape(hides_parameter=True, hides_answer=True),
    Command.SIGN: Shape(hides_parameter=True),
    Command.CONTEXT_LOAD: Shape(returns_handle=True),
    Command.CONTEXT_SAVE: _PLAIN,
    Command.FLUSH_CONTEXT: _PLAIN,
    Command.LOAD_EXTERNAL: Shape(returns_handle=True, hides_parameter=True, hides_answer=True),
    Command.READ_PUBLIC: _PLAIN,
    Command.RSA_ENCRYPT: Shape(hides_parameter=True, hides_answer=True),
    Command.START_AUTH_SESSION: Shape(returns_handle=True),
    Command.VERIFY_SIGNATURE: Shape(hides_parameter=True),
    Command.GET_CAPABILITY: _PLAIN,
    Command.GET_RANDOM: Shape(hides_answer=True),
    Command.TEST_PARMS: _PLAIN,
}
"""Source: part 3. GetCapability, ReadPublic and TestParms would accept a session, but carry nothing secret."""

NO_SESSIONS: Final = 0x8001
SESSIONS: Final = 0x8002
"""TPM_ST: the tags of commands and responses (part 2, 6.9)."""
HEADER: Final = 10
"""Bytes of the header of commands and responses: tag, size, code."""
MOST_BYTES: Final = 4096
"""Bytes of the longest command or response (TPM2_PT_MAX_RESPONSE_SIZE of all known TPMs)."""


@enum.unique
class Algorithm(enum.IntEnum):
    """TPM_ALG_ID (part 2, 6.3)."""

    RSA = 0x01
    SHA1 = 0x04
    AES = 0x06
    SHA256 = 0x0B
    SHA384 = 0x0C
    SHA512 = 0x0D
    NULL = 0x10
    RSASSA = 0x14
    RSAES = 0x15
    RSAPSS = 0x16
    OAEP = 0x17
    ECDSA = 0x18
    ECC = 0x23
    SYMCIPHER = 0x25
    SHA3_256 = 0x27
    SHA3_384 = 0x28
    SHA3_512 = 0x29
    CFB = 0x43


@enum.unique
class Handle(enum.IntEnum):
    """TPM_RH and TPM_RS (part 2, 7.4)."""

    OWNER = 0x40000001
    NULL = 0x40000007
    PASSWORD = 0x40000009
    ENDORSEMENT = 0x4000000B


@enum.unique
class SessionType(enum.IntEnum):
    """TPM_SE (part 2, 6.11)."""

    HMAC = 0x00
    POLICY = 0x01


CONTINUE: Final = 0x01
DECRYPT: Final = 0x20
ENCRYPT: Final = 0x40
"""TPMA_SESSION (part 2, 8.4): keep the session; encrypt the first parameter of the command, of the response."""

CAP_ALGORITHMS: Final = 0
CAP_HANDLES: Final = 1
CAP_TPM_PROPERTIES: Final = 6
CAP_ECC_CURVES: Final = 8
"""TPM_CAP (part 2, 6.12)."""
PT_MANUFACTURER: Final = 0x105
PT_FIRMWARE_VERSION: Final = 0x10B
PT_HR_TRANSIENT_MIN: Final = 0x10E
PT_LOCKOUT_COUNTER: Final = 0x20E
PT_MAX_AUTH_FAIL: Final = 0x20F
"""TPM_PT (part 2, 6.13)."""
FIRST_TRANSIENT: Final = 0x80000000
FIRST_SESSION: Final = 0x02000000
"""First handles of transient objects and of loaded sessions (part 2, 7.5)."""
STARTUP_CLEAR: Final = 0
EXPONENT: Final = 65537
"""Public exponent of all RSA keys here: for a TPM 0 means this one, and it need not support any other."""

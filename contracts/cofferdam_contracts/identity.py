"""The owner and the name of a key."""

from typing import Final

from msgspec import Struct

from cofferdam_contracts.opaque import Opaque

MAX_APPLICATION: Final = 4096
"""Bytes of an application name. Names are kept in memory for each key in use and sent with each listing."""

MAX_KEY_NAME: Final = 4096
"""Bytes of the name of a new key, for the same reason; the reference's on-disk store takes 189."""


class Application(Opaque, Struct, frozen=True):
    """An authenticated client: the authenticator's number and the name it vouches for.

    The pair is the namespace of keys, so that authenticators can be active side by side.
    """

    authenticator: int
    name: str


class KeyIdentity(Opaque, Struct, frozen=True):
    """The full name of a key: authenticator number, application name, key name."""

    authenticator: int
    application: str
    key_name: str

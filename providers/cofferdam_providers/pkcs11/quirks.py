"""What modules and tokens do differently, as data. What can be found out by trial is found out, and not listed here.

A row applies to a module by the name of its file, and to a token by its description of itself. The configuration
overrides the table: `provider.quirks` names the same things.
"""

import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from pkcs11 import Attribute

MOST_ID_BYTES: Final = 64
LEAST_ID_BYTES: Final = 1


class Quirks(Struct, frozen=True, kw_only=True):
    """How to speak to one token."""

    id_bytes: int = 16
    """Length of the CKA_ID of a new key."""
    omit: frozenset[Attribute] = frozenset()
    """Attributes that the token does not accept in a template."""
    raw_points: bool = False
    """Whether CKA_EC_POINT of a new object is the bare point instead of an OCTET STRING that holds it."""
    public_in_software: bool = False
    """Whether the token does nothing with public keys."""


class QuirkError(Exception):
    """Raised when the configuration names an unknown quirk; the text lists the known ones."""


def _omitting(attribute: Attribute) -> Callable[[Quirks], Quirks]:
    return lambda quirks: replace(quirks, omit=quirks.omit | {attribute})


_OMITTABLE: Final = (
    *(Attribute.ALLOWED_MECHANISMS, Attribute.COPYABLE, Attribute.DERIVE),
    *(Attribute.EXTRACTABLE, Attribute.PRIVATE, Attribute.SENSITIVE, Attribute.UNWRAP, Attribute.WRAP),
)
_FLAGS: Final[Mapping[str, Callable[[Quirks], Quirks]]] = {
    "raw-ec-points": lambda quirks: replace(quirks, raw_points=True),
    "der-ec-points": lambda quirks: replace(quirks, raw_points=False),
    "public-in-software": lambda quirks: replace(quirks, public_in_software=True),
    "public-in-token": lambda quirks: replace(quirks, public_in_software=False),
    **{f"omit-{attribute.name.lower().replace('_', '-')}": _omitting(attribute) for attribute in _OMITTABLE},
}
_ID_BYTES: Final = "id-bytes"


class ModuleRow(Struct, frozen=True, kw_only=True):
    """One module, or one kind of token behind it; patterns as in fnmatch(3)."""

    name: str
    module: str
    manufacturer: str = "*"
    """Of the token (CK_TOKEN_INFO.manufacturerID)."""
    model: str = "*"
    quirks: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    """What the module needs besides files (`provider.module_needs`)."""
    configuration: str = ""
    """The variable that names the module's own configuration file."""
    tested: bool = False
    """Whether this service's tests run with it; the other rows are taken from its documentation."""

    def is_for(self, library_path: str, manufacturer: str | None = None, model: str | None = None) -> bool:
        """Tell whether the row applies; without a token, to the module alone."""
        return (
            fnmatch.fnmatchcase(os.path.basename(library_path), self.module)
            and (manufacturer is None or fnmatch.fnmatchcase(manufacturer, self.manufacturer))
            and (model is None or fnmatch.fnmatchcase(model, self.model))
        )


ROWS: Final = (
    ModuleRow(name="SoftHSM 2", module="libsofthsm2.so*", configuration="SOFTHSM2_CONF", tested=True),
    # Returns CKR_GENERAL_ERROR, which may mean anything, for attributes that it does not know.
    ModuleRow(
        name="NSS (softokn)",
        module="libsoftokn3.so",
        quirks=("omit-allowed-mechanisms", "omit-copyable"),
        tested=True,
    ),
    # The slots of a YubiKey's PIV application are numbered by CKA_ID; its keys are generated with yubico-piv-tool.
    ModuleRow(
        name="YubiKey (YKCS11)",
        module="libykcs11.so*",
        quirks=("id-bytes=1", "omit-allowed-mechanisms", "omit-copyable"),
        needs=frozenset({"sockets"}),
    ),
    # Talks to the card through pcscd.
    ModuleRow(
        name="OpenSC", module="opensc-pkcs11.so", quirks=("omit-allowed-mechanisms",), needs=frozenset({"sockets"})
    ),
    # Forwards every call to a server over another socket.
    ModuleRow(name="p11-kit's client", module="p11-kit-client.so", needs=frozenset({"sockets"})),
    # Talks HTTPS, with threads of its own.
    ModuleRow(name="Nitrokey NetHSM", module="libnethsm_pkcs11.so*", needs=frozenset({"sockets", "threads"})),
)
"""The table; docs/reference/quirks.md is generated from it."""


def needs_of(library_path: str) -> frozenset[str]:
    """Return what a module needs besides files, as far as it is known."""
    return frozenset().union(*(row.needs for row in ROWS if row.is_for(library_path)))


def configuration_of(library_path: str) -> str:
    """Return the variable that names the module's configuration file; empty when none is known."""
    return next((row.configuration for row in ROWS if row.configuration and row.is_for(library_path)), "")


def quirks_for(library_path: str, manufacturer: str, model: str, configured: Iterable[str]) -> Quirks:
    """Return how to speak to a token: the table's row, then the configuration.

    Raises:
        QuirkError: The configuration names an unknown quirk.
    """
    quirks = Quirks()
    for row in ROWS:
        if row.is_for(library_path, manufacturer, model):
            quirks = _apply(quirks, row.quirks)
    return _apply(quirks, configured)


def names() -> tuple[str, ...]:
    """Return the names that the configuration may use."""
    return (*_FLAGS, f"{_ID_BYTES}=N")


def _apply(quirks: Quirks, named: Iterable[str]) -> Quirks:
    for name in named:
        word, _, number = name.partition("=")
        if word in _FLAGS and not number:
            quirks = _FLAGS[word](quirks)
        elif word == _ID_BYTES and number.isdecimal() and LEAST_ID_BYTES <= int(number) <= MOST_ID_BYTES:
            quirks = replace(quirks, id_bytes=int(number))
        else:
            raise QuirkError(f"provider.quirks: {name!r}; known are {', '.join(names())} (N from 1 to {MOST_ID_BYTES})")
    return quirks

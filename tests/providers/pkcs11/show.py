"""The process that shows all of a token: `show.py LIBRARY SLOT PIN` prints objects with their attributes as JSON.

It uses python-pkcs11 alone, so that what the provider wrote is read by other code.
"""

import json
import os
import sys
from typing import Any

import pkcs11
from pkcs11 import Attribute
from pkcs11.exceptions import AttributeSensitive, AttributeTypeInvalid, PKCS11Error

WANTED = (
    *(Attribute.CLASS, Attribute.ID, Attribute.LABEL, Attribute.KEY_TYPE, Attribute.TOKEN, Attribute.PRIVATE),
    *(Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.COPYABLE, Attribute.LOCAL, Attribute.SIGN),
    *(Attribute.VERIFY, Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.DERIVE, Attribute.WRAP, Attribute.UNWRAP),
    *(Attribute.SIGN_RECOVER, Attribute.VERIFY_RECOVER, Attribute.MODULUS, Attribute.PUBLIC_EXPONENT),
    *(Attribute.MODULUS_BITS, Attribute.EC_PARAMS, Attribute.EC_POINT, Attribute.VALUE, Attribute.VALUE_LEN),
    *(Attribute.PRIVATE_EXPONENT, Attribute.PRIME_1, Attribute.PRIME_2, Attribute.EXPONENT_1, Attribute.EXPONENT_2),
    *(Attribute.COEFFICIENT, Attribute.ALLOWED_MECHANISMS),
)


def main() -> None:
    """Print them."""
    library, slot, pin = sys.argv[1:]
    (found,) = [one for one in pkcs11.lib(library).get_slots(token_present=True) if one.slot_id == int(slot)]
    session = found.get_token().open(user_pin=pin)
    json.dump([_shown(item) for item in session.get_objects()], sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # before SoftHSM takes itself apart


def _shown(item: pkcs11.Object) -> dict[str, str]:
    found = {}
    for attribute in WANTED:
        try:
            found[attribute.name] = _text(item[attribute])
        except AttributeSensitive:
            found[attribute.name] = "secret"
        except (AttributeTypeInvalid, NotImplementedError):
            continue
        except PKCS11Error as error:
            found[attribute.name] = type(error).__name__
    return found


def _text(value: Any) -> str:  # noqa: ANN401  whatever an attribute is
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, frozenset | set | tuple | list):
        return " ".join(sorted(str(getattr(one, "name", one)) for one in value))
    return str(getattr(value, "name", value))


main()

"""The process that looks at a token: `look.py LIBRARY SLOT PIN` prints its objects as JSON."""

import json
import os
import sys

import pkcs11
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.exceptions import AttributeTypeInvalid, ObjectHandleInvalid

KINDS = (
    *(ObjectClass.DATA, ObjectClass.CERTIFICATE),
    *(ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY),
)


ATTRIBUTES = (Attribute.CLASS, Attribute.ID, Attribute.LABEL, Attribute.KEY_TYPE)


def _texts(item: pkcs11.Object) -> list[str]:
    """Return the attributes of an object, nothing when somebody has destroyed it since it was found."""
    try:
        return [_text(item, attribute) for attribute in ATTRIBUTES]
    except ObjectHandleInvalid:
        return []


def _text(item: pkcs11.Object, attribute: Attribute) -> str:
    try:
        value = item[attribute]
    except AttributeTypeInvalid:
        return ""
    if isinstance(value, bytes):
        return value.hex()
    return getattr(value, "name", str(value))


def main() -> None:
    """Print class, id, label and key type of every object.

    The exit status is `EX_TEMPFAIL` if one was destroyed while they were searched for.
    """
    library, slot, pin = sys.argv[1:]
    (one_slot,) = [one for one in pkcs11.lib(library).get_slots(token_present=True) if one.slot_id == int(slot)]
    session = one_slot.get_token().open(user_pin=pin)
    # By class: SoftHSM also shows files of which it wrote nothing yet when its process was killed, and those have none.
    try:
        found = [item for kind in KINDS for item in session.get_objects({Attribute.CLASS: kind})]
    except ObjectHandleInvalid:
        os._exit(os.EX_TEMPFAIL)
    json.dump([texts for item in found if (texts := _texts(item))], sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # without SoftHSM's destructors, which crash


main()

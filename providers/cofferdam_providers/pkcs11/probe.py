"""What the token's list of mechanisms does not say, found out by trying, with objects that end with the session.

It runs once, when the token is opened and before the sandbox closes, so it also makes the module load whatever it loads
late. A token that does not allow such objects, or fails otherwise, is believed as far as its list goes.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import pkcs11
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass
from pkcs11 import Mechanism as Number
from pkcs11 import exceptions as library

from cofferdam_contracts.psa.algorithm import HASH_LENGTH, Hash
from cofferdam_contracts.psa.policy import pss_salt_length
from cofferdam_providers.pkcs11 import curves, mechanisms, templates
from cofferdam_providers.pkcs11.capability_discovery import Capabilities, Offer
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.cryptoki import Cryptoki, CryptokiError, Mechanism, Template
from cofferdam_providers.pyca.warm_up import MODULUS
from cofferdam_runtime.log import Log

_SIZE: Final = len(MODULUS)
_TEXT: Final = b"t"
_LABEL: Final = b"label"
_NONCE: Final = bytes(12)
_BLOCK: Final = 16
_ROOM: Final = 1024
_NO_SUCH_PARAMETERS: Final = frozenset(
    {
        *(Return.ARGUMENTS_BAD, Return.MECHANISM_PARAM_INVALID, Return.MECHANISM_INVALID),
        *(Return.FUNCTION_NOT_SUPPORTED, Return.KEY_FUNCTION_NOT_PERMITTED),
    }
)
"""How a token says that it does not know a hash or a label; any other answer says that it does."""


def offers_of(slot: pkcs11.Slot) -> dict[int, Offer]:
    """Return the mechanisms of a token by their numbers.

    Raises:
        PKCS11Error: The module fails.
    """
    offers = {}
    for number in slot.get_mechanisms():
        try:
            info = slot.get_mechanism_info(number)
        except (library.MechanismInvalid, library.FunctionFailed):
            continue  # on the list, and denied when asked about
        offers[int(number)] = Offer(least=info.min_key_length or 0, most=info.max_key_length or 0, flags=info.flags)
    return offers


def probe(cryptoki: Cryptoki, offers: Mapping[int, Offer], *, public_in_software: bool, log: Log) -> Capabilities:
    """Return what a token can do.

    Raises:
        ImplausibleAnswerError: The module's answers cannot be.
    """
    refused: set[tuple[Number, Hash]] = set()
    labels = True
    modulus = {Attribute.MODULUS: MODULUS, Attribute.PUBLIC_EXPONENT: templates.EXPONENT}
    public: Template = {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.KEY_TYPE: KeyType.RSA,
        Attribute.TOKEN: False,
        Attribute.ENCRYPT: True,
        Attribute.VERIFY: True,
        **modulus,
    }
    for key in _object(functools.partial(cryptoki.create, public), cryptoki, log):
        for number, hash_alg, how in _paddings(offers):
            if not _knows(cryptoki, key, hash_alg, how):
                refused.add((number, hash_alg))
        for hash_alg in mechanisms.PADDINGS:
            if (Number.RSA_PKCS_OAEP, hash_alg) not in refused:
                labels = _knows(cryptoki, key, hash_alg, mechanisms.oaep(hash_alg, _LABEL))
                break
    _touch(cryptoki, offers, log)
    return Capabilities(offers=offers, refused=frozenset(refused), labels=labels, public_in_software=public_in_software)


def _paddings(offers: Mapping[int, Offer]) -> Iterator[tuple[Number, Hash, Mechanism]]:
    for hash_alg in mechanisms.PADDINGS:
        if _offers(offers, Number.RSA_PKCS_PSS, MechanismFlag.VERIFY):
            yield Number.RSA_PKCS_PSS, hash_alg, mechanisms.pss(hash_alg, pss_salt_length(8 * _SIZE, hash_alg))
        if _offers(offers, Number.RSA_PKCS_OAEP, MechanismFlag.ENCRYPT):
            yield Number.RSA_PKCS_OAEP, hash_alg, mechanisms.oaep(hash_alg, b"")


def _knows(cryptoki: Cryptoki, key: int, hash_alg: Hash, how: Mechanism) -> bool:
    try:
        if how.mechanism == Number.RSA_PKCS_PSS:
            cryptoki.verify(key, how, bytes(HASH_LENGTH[hash_alg]), bytes(_SIZE))
        else:
            cryptoki.encrypt(key, how, _TEXT, _SIZE)
    except CryptokiError as error:
        return error.code not in _NO_SUCH_PARAMETERS
    return True


def _touch(cryptoki: Cryptoki, offers: Mapping[int, Offer], log: Log) -> None:
    """Use what else there is once."""
    aes: Template = {Attribute.TOKEN: False, Attribute.VALUE_LEN: 32, Attribute.ENCRYPT: True, Attribute.DECRYPT: True}
    mac: Template = {Attribute.TOKEN: False, Attribute.VALUE_LEN: 32, Attribute.SIGN: True}
    gcm, hmac = mechanisms.gcm(_NONCE, b"", _BLOCK), mechanisms.plain(Number.SHA256_HMAC)
    for generator, template, how, function in (
        (Number.AES_KEY_GEN, aes, gcm, cryptoki.encrypt),
        (Number.AES_KEY_GEN, aes, mechanisms.plain(Number.AES_ECB), cryptoki.encrypt),
        (Number.GENERIC_SECRET_KEY_GEN, mac, hmac, cryptoki.sign),
    ):
        if generator in offers and how.mechanism in offers:
            make = functools.partial(cryptoki.generate_key, mechanisms.plain(generator), template)
            for key in _object(make, cryptoki, log):
                _try(functools.partial(function, key, how, bytes(_BLOCK), _ROOM), log)
    if Number.EC_KEY_PAIR_GEN in offers and Number.ECDSA in offers:
        _touch_curve(cryptoki, log)
    _try(functools.partial(cryptoki.random, _BLOCK), log)


def _touch_curve(cryptoki: Cryptoki, log: Log) -> None:
    public: Template = {Attribute.TOKEN: False, Attribute.EC_PARAMS: curves.OIDS[256], Attribute.VERIFY: True}
    private: Template = {Attribute.TOKEN: False, Attribute.SIGN: True}
    try:
        pair = cryptoki.generate_pair(mechanisms.plain(Number.EC_KEY_PAIR_GEN), public, private)
    except CryptokiError as error:
        log.debug("the token cannot be tried out", cause=error)
        return
    _try(functools.partial(cryptoki.sign, pair[1], mechanisms.plain(Number.ECDSA), bytes(32), _ROOM), log)
    for handle in pair:
        _try(functools.partial(cryptoki.destroy, handle), log)


def _object(make: Callable[[], int], cryptoki: Cryptoki, log: Log) -> Iterator[int]:
    """Yield an object while it exists; nothing when the token does not make it."""
    try:
        handle = make()
    except CryptokiError as error:
        log.debug("the token cannot be tried out", cause=error)
        return
    yield handle
    _try(functools.partial(cryptoki.destroy, handle), log)


def _try(call: Callable[[], object], log: Log) -> None:
    try:
        call()
    except CryptokiError as error:
        log.debug("the token does not do what its list says", cause=error)


def _offers(offers: Mapping[int, Offer], number: int, flag: MechanismFlag) -> bool:
    offer = offers.get(number)
    return offer is not None and bool(offer.flags & flag)

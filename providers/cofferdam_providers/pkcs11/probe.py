"""What the token's list of mechanisms does not say, found out by trial, with objects that end with the session.

The trials run once, when the token is opened and before the sandbox closes, so they also make the module load whatever
it loads late. The expected answers are in `trials`. For a token that does not allow such objects, or fails otherwise,
its list is trusted, except for nonces of AES-GCM: then only twelve bytes are used.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import pkcs11
from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass
from pkcs11 import Mechanism as Number
from pkcs11 import exceptions as library

from cofferdam_contracts.psa.algorithm import HASH_LENGTH, Cipher, Hash, Mac, MacScheme
from cofferdam_contracts.psa.attributes import KeyKind
from cofferdam_contracts.psa.attributes import KeyType as KeyTypeOfPsa
from cofferdam_contracts.psa.policy import pss_salt_length
from cofferdam_providers.pkcs11 import curves, mechanisms, templates, trials
from cofferdam_providers.pkcs11.capability_discovery import Offer, TokenCapabilities
from cofferdam_providers.pkcs11.cryptoki import Cryptoki, CryptokiError, Template, Value
from cofferdam_providers.pkcs11.mechanisms import mechanism_of
from cofferdam_providers.pkcs11.trials import Outcome
from cofferdam_providers.pyca.hashes import PRIMITIVES
from cofferdam_providers.pyca.keys import RsaKey, read_key
from cofferdam_providers.pyca.warm_up import RSA_KEY
from cofferdam_runtime.log import Log

_NONCE: Final = bytes(12)
_BLOCK: Final = 16
_ROOM: Final = 1024


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
            continue  # listed, but denied when asked for
        offers[int(number)] = Offer(least=info.min_key_length or 0, most=info.max_key_length or 0, flags=info.flags)
    return offers


def probe(cryptoki: Cryptoki, offers: Mapping[int, Offer], *, public_in_software: bool, log: Log) -> TokenCapabilities:
    """Return what a token can do.

    Raises:
        ImplausibleAnswerError: The module's answers are impossible.
    """
    found = _Findings(cryptoki, offers, log)
    found.try_rsa()
    found.try_aes()
    found.try_hmac()
    _touch(cryptoki, offers, log)
    return TokenCapabilities(
        offers=offers,
        refused=frozenset(found.refused),
        wrong=frozenset(found.wrong),
        labels=found.labels,
        exact_salts=found.exact_salts,
        gcm=found.gcm,
        public_in_software=public_in_software,
    )


class _Findings:
    """What was found out so far, with known keys, as far as the token accepts any."""

    def __init__(self, cryptoki: Cryptoki, offers: Mapping[int, Offer], log: Log) -> None:
        self.refused: set[tuple[Number, Hash]] = set()
        self.wrong: set[Number] = set()
        self.labels = True
        self.exact_salts = True
        self.gcm = trials.Gcm()
        self._cryptoki, self._offers, self._log = cryptoki, offers, log

    def try_rsa(self) -> None:
        """Try the paddings with the public half of a known pair."""
        pair = read_key(KeyTypeOfPsa(KeyKind.RSA_KEY_PAIR), 0, RSA_KEY, vouched=True)
        if not isinstance(pair, RsaKey) or pair.private is None:
            raise TypeError("the known key is not a pair")
        public = {
            **templates.rsa_public(pair),
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.TOKEN: False,
            Attribute.ENCRYPT: True,
            Attribute.VERIFY: True,
        }
        for key in self._object(public):
            if _offers(self._offers, Number.RSA_PKCS_PSS, MechanismFlag.VERIFY):
                self._salts(key, pair.private)
            if _offers(self._offers, Number.RSA_PKCS_OAEP, MechanismFlag.ENCRYPT):
                self._labels(key, pair.private)

    def try_aes(self) -> None:
        """Try the modes, and the parameters of AES-GCM."""
        uses = {Attribute.ENCRYPT: True, Attribute.SIGN: Number.AES_CMAC in self._offers}
        for key in self._object({**_secret(KeyType.AES, trials.KEY), **uses}):
            for mode in trials.MODES:
                number = mechanism_of(Cipher(mode))
                if number is not None and number in self._offers:
                    self._judge(number, trials.cipher(self._cryptoki, key, mode))
            if Number.AES_CMAC in self._offers:
                self._judge(Number.AES_CMAC, trials.aes_cmac(self._cryptoki, key))
            if Number.AES_GCM in self._offers:
                self._parameters_of_gcm(key)

    def try_hmac(self) -> None:
        """Try HMAC with each hash."""
        numbers = {one: mechanism_of(Mac(MacScheme.HMAC, one)) for one in PRIMITIVES}
        offered = {one: number for one, number in numbers.items() if number is not None and number in self._offers}
        if not offered:
            return
        for key in self._object({**_secret(KeyType.GENERIC_SECRET, trials.MAC_KEY), Attribute.SIGN: True}):
            for one, number in offered.items():
                self._judge(number, trials.hmac_with(self._cryptoki, key, number, one))

    def _salts(self, key: int, private: rsa.RSAPrivateKey) -> None:
        for one in mechanisms.PADDINGS:
            usual, fitting = HASH_LENGTH[one], pss_salt_length(private.key_size, one)
            outcome = trials.salt(self._cryptoki, key, private, one, fitting)
            # A token that requires salts of the digest's length knows this hash nevertheless, with longer keys.
            if fitting == usual or outcome is not Outcome.REFUSED:
                self._judge_padding(Number.RSA_PKCS_PSS, one, outcome)
        if (Number.RSA_PKCS_PSS, Hash.SHA_256) not in self.refused:
            self.exact_salts = not trials.takes_another_salt(self._cryptoki, key, private, Hash.SHA_256)

    def _labels(self, key: int, private: rsa.RSAPrivateKey) -> None:
        for one in mechanisms.PADDINGS:
            # The key is too short for SHA-512; a token that does not know a hash says so before.
            outcome = trials.label(self._cryptoki, key, private, one, 0)
            self._judge_padding(Number.RSA_PKCS_OAEP, one, outcome)
        known = [one for one in mechanisms.PADDINGS if (Number.RSA_PKCS_OAEP, one) not in self.refused]
        for length in trials.LABELS if known else ():
            outcome = trials.label(self._cryptoki, key, private, known[0], length)
            self.labels &= outcome is Outcome.RIGHT
            self._complain(Number.RSA_PKCS_OAEP, {length: outcome}, "label")

    def _parameters_of_gcm(self, key: int) -> None:
        nonces = trials.nonces(self._cryptoki, key)
        usual = nonces[trials.USUAL_NONCE]
        self._judge(Number.AES_GCM, usual)
        if usual is not Outcome.RIGHT:
            return
        more, tags = trials.additional(self._cryptoki, key), trials.tags(self._cryptoki, key)
        self.gcm = trials.gcm_of(nonces, more, tags)
        for what, outcomes in (("nonce", nonces), ("additional data", more), ("tag", tags)):
            self._complain(Number.AES_GCM, outcomes, what)

    def _judge(self, number: Number, outcome: Outcome) -> None:
        if outcome is Outcome.WRONG:
            self.wrong.add(number)
            self._accuse(mechanism=number.name)

    def _judge_padding(self, number: Number, hash_alg: Hash, outcome: Outcome) -> None:
        if outcome in {Outcome.WRONG, Outcome.REFUSED}:
            self.refused.add((number, hash_alg))
        if outcome is Outcome.WRONG:
            self._accuse(mechanism=number.name, hash=hash_alg.name)

    def _accuse(self, **what: str) -> None:
        self._log.error("a mechanism of the token gives wrong answers and is not used", **what)

    def _complain(self, number: Number, outcomes: trials.Outcomes, what: str) -> None:
        wrong = [length for length, outcome in outcomes.items() if outcome is Outcome.WRONG]
        if wrong:
            self._log.notice(
                "the token uses a parameter of some lengths wrongly and is not asked to",
                mechanism=number.name,
                parameter=what,
                wrong_bytes=" ".join(map(str, wrong)),
            )

    def _object(self, template: Template) -> Iterator[int]:
        return _object(functools.partial(self._cryptoki.create, template), self._cryptoki, self._log)


def _secret(key_type: KeyType, value: bytes) -> dict[Attribute, Value]:
    return {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: key_type,
        Attribute.TOKEN: False,
        Attribute.VALUE: value,
    }


def _touch(cryptoki: Cryptoki, offers: Mapping[int, Offer], log: Log) -> None:
    """Use everything else once, so that the module loads what it needs."""
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
    """Yield an object while it exists; None when the token does not create it."""
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

"""The changes of `./dev mutants` to the checks of tokens, keys and revocations, in the order of the checks."""

from typing import Final

from tools.mutant import Mutant, mutant

_TOKENS: Final = "identity/cofferdam_identity/tokens.py"
_KEYS: Final = "identity/cofferdam_identity/keys.py"
_DOCUMENTS: Final = "identity/cofferdam_identity/documents.py"
_SPIFFE: Final = "identity/cofferdam_identity/spiffe.py"
_REVOCATIONS: Final = "identity/cofferdam_identity/revocations.py"
_ATTACKS: Final = "tests/identity/test_attacks.py"
_GOOD: Final = "tests/identity/test_tokens.py"
_BUNDLES: Final = "tests/identity/test_keys.py"
_IDS: Final = "tests/identity/test_spiffe.py"
_REVOKED: Final = "tests/identity/test_revocations.py"


def _token(name: str, old: str, new: str, tests: str = _ATTACKS) -> Mutant:
    return mutant(name, _TOKENS, old, new, tests)


def _key(name: str, old: str, new: str) -> Mutant:
    return mutant(name, _KEYS, old, new, _BUNDLES)


TOKENS: Final = (
    _token("tokens have any size", "    if len(token) > MAX_TOKEN:\n", "    if False:\n"),
    _token("three parts are three among more", "_FORM.fullmatch(token)", "_FORM.match(token)"),
    _token("extensions are passed over", 'for name in ("crit", "b64") if name in header]', "for name in ()]"),
    _token("unencoded payloads are passed over", 'in ("crit", "b64") if', 'in ("crit",) if'),
    _token("the type of a JWT-SVID may be absent", "isinstance(kind, str) and kind in _SVID_TYPES", "kind != 1"),
    _token("any type will do", "kind.lower() in _TYPES", "bool(kind)"),
    _token(
        "any algorithm of the key will do",
        "or algorithm not in rules.algorithms & ALGORITHMS",
        "or algorithm not in ALGORITHMS",
    ),
    _token("the header chooses the algorithm", "    if algorithm not in key.algorithms:\n", "    if False:\n"),
    _token("JWT-SVIDs need no name of a key", '("kid" in header or rules.is_svid)', '"kid" in header'),
    _token("signatures have two spellings", "    _decoded(Check.SIGNATURE, encoded_signature)\n", ""),
    _token(
        "a token need not end",
        "    if expiry is None:\n",
        "    if expiry is None:\n        expiry = now\n    if False:\n",
    ),
    _token("a token may have ended", "    if now >= expiry + leeway:\n", "    if False:\n"),
    _token("a token ends a moment late", "now >= expiry + leeway", "now > expiry + leeway"),
    _token("a token may be of the future", "start > now + leeway", "start > now + leeway * 1000"),
    _token(
        "true is a date",
        "isinstance(value, int | float) and not isinstance(value, bool)",
        "isinstance(value, int | float)",
    ),
    _token("dates have no end", "0 <= value <= MAX_TIME", "0 <= value"),
    _token("any audience will do", "    if audiences.isdisjoint(named):\n", "    if False:\n"),
    _token(
        "an audience may have other things",
        "    if not all(isinstance(each, str) for each in named):\n",
        "    if False:\n",
    ),
    _token("any issuer will do", "or issuer != rules.issuer", ""),
    _token(
        "any trust domain will do",
        "    if rules.trust_domains and trust_domain not in rules.trust_domains:\n",
        "    if False:\n",
    ),
    _token("names may have any character", " or not subject.isprintable()", ""),
    _token(
        "all keys are of one trust domain", "lookup(issuer), kid", "lookup(sorted(rules.trust_domains)[0]), kid", _GOOD
    ),
    _token(
        "signatures are not looked at",
        "algorithms=[algorithm])\n    except",
        'algorithms=[algorithm], options={"verify_signature": False})\n    except',
    ),
    _token("a token has two hashes", "hashlib.sha256(signed or token)", "hashlib.sha256(token)", _GOOD),
    mutant("members may stand twice", _DOCUMENTS, "    if len(found) != len(pairs):\n", "    if False:\n", _ATTACKS),
    mutant("JSON has more numbers", _DOCUMENTS, ", parse_constant=_no_number", "", _ATTACKS),
    mutant("JSON has any depth", _DOCUMENTS, "        _check_depth(text)\n", "", _ATTACKS),
    mutant(
        "bits may be left over", _DOCUMENTS, "    if encode_base64url(decoded) != data:\n", "    if False:\n", _ATTACKS
    ),
    mutant("segments may be dots", _SPIFFE, 'if segment in {".", ".."}:', "if False:", _IDS),
    mutant("segments may be empty", _SPIFFE, "        if not segment:\n", "        if segment is None:\n", _IDS),
    mutant("trust domains have more characters", _SPIFFE, "not _TRUST_DOMAIN.fullmatch(name)", "not name", _IDS),
    _key("private keys are taken", "    _check_private(entry)\n", ""),
    _key(
        "private keys in PEM are passed over",
        "    if private := _PRIVATE_BLOCK.search(document):\n",
        "    if private := None:\n",
    ),
    _key("keys for encryption verify", "    _check_purpose(entry)\n", ""),
    _key("RSA keys may be small", "if not MIN_RSA_BITS <= bits", "if not 0 <= bits"),
    _key("names of keys may stand twice", "if count > 1]", "if count > 2]"),
    _key("the alg of a JWK says nothing", "allowed if algorithm is None else", "allowed if True else"),
    _key("a name means any key", "if kid == (", "if True or kid == ("),
    mutant(
        "unknown names are passed over",
        _REVOCATIONS,
        "for name in table if name not in _FIELDS]",
        "for name in ()]",
        _REVOKED,
    ),
    mutant(
        "a token without date is new",
        _REVOCATIONS,
        'float("-inf") if verified.issued_at is None',
        "_NEVER if verified.issued_at is None",
        _REVOKED,
    ),
    mutant(
        "the last revocation counts",
        _REVOCATIONS,
        "if identifier not in strongest or strongest[identifier][0] < before:",
        "if True:",
        _REVOKED,
    ),
    mutant(
        "what is written is not read back",
        _REVOCATIONS,
        "    if parse(added, name).entries != (*before.entries, entry):\n",
        "    if False:\n",
        _REVOKED,
    ),
)

"""Read bundles and revocations and verify tokens of every kind; say what was imported or opened meanwhile."""

import sys
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.identity import forge
from tests.identity.certificates import certificate

from cofferdam_contracts.registry import AuthType
from cofferdam_identity.keys import ALGORITHMS, BundleError, parse_bundle
from cofferdam_identity.revocations import Revocation, RevocationError, add, parse
from cofferdam_identity.tokens import TokenError, verify

_LATE: Final[list[str]] = []
_WATCHED: Final = {"import", "open", "ctypes.dlopen"}


def main() -> None:
    """Make everything first, so that only what the code under test does counts."""
    signers = [forge.signer(algorithm) for algorithm in sorted(ALGORITHMS)]
    tokens = [signer.token(forge.jwt_claims()) for signer in signers]
    sets = [forge.jwk_set(signer.jwk()) for signer in signers]
    pems = [
        signer.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for signer in signers
    ]
    pems.append(certificate(signers[0]))
    svid = forge.signer().token(forge.claims())
    sys.addaudithook(lambda event, arguments: _LATE.append(f"{event} {arguments[0]}") if event in _WATCHED else None)
    for token, document in zip(tokens, sets, strict=True):
        bundle = parse_bundle(document, "keys")
        verify(token, forge.JWT, {forge.ISSUER: bundle}.get, forge.NOW)
    for document in (*pems, b"", b"{}", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"):
        try:
            parse_bundle(document, "keys")
        except BundleError:
            pass
    for token in (b"", b"\xff", svid, svid[:-4] + b"AAAA"):
        try:
            verify(token, forge.SVID, lambda _: forge.bundle(), forge.NOW)
        except TokenError:
            pass
    try:
        parse(b"x", "revocations")
    except RevocationError:
        pass
    revoked = parse(add(b"", Revocation("issuer", forge.DOMAIN), "revocations"), "revocations")
    said = revoked.covers(verify(svid, forge.SVID, lambda _: forge.bundle(), forge.NOW), AuthType.JWT_SVID)
    sys.stdout.write(f"{said}, late: {_LATE}\n")


if __name__ == "__main__":
    main()

"""A certificate to take a key from."""

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from tests.identity.forge import Signer


def certificate(signer: Signer) -> bytes:
    """Return a certificate of a signer's key, signed by itself, in PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer of tokens")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, signer.private.public_key(), 1, start, start)
    return builder.sign(signer.private, hashes.SHA256()).public_bytes(Encoding.PEM)

"""The openssl program, as the judge of what the service and its clients made."""

import subprocess
import tempfile
from pathlib import Path


def openssl(*arguments: str, data: bytes = b"", check: bool = True) -> str:
    """Run openssl and return what it printed, on both channels."""
    done = subprocess.run(["openssl", *arguments], check=False, input=data, capture_output=True)
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert not check or done.returncode == 0, f"openssl {' '.join(arguments)}: {output}"
    return output


def public_key_text(pem: str) -> str:
    """Return a public key in words."""
    return openssl("pkey", "-pubin", "-noout", "-text", data=pem.encode())


def is_signature(pem: str, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature over the SHA-256 of a message fits a public key."""
    with tempfile.TemporaryDirectory() as folder:
        key, signed = Path(folder, "key"), Path(folder, "signature")
        key.write_text(pem)
        signed.write_bytes(signature)
        output = openssl("dgst", "-sha256", "-verify", str(key), "-signature", str(signed), data=message, check=False)
    return output.strip() == "Verified OK"


def encrypt(pem: str, plaintext: bytes, *options: str) -> bytes:
    """Encrypt with a public RSA key; `options` are those of -pkeyopt."""
    with tempfile.TemporaryDirectory() as folder:
        key, result = Path(folder, "key"), Path(folder, "result")
        key.write_text(pem)
        words = [word for option in options for word in ("-pkeyopt", option)]
        openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", str(key), "-out", str(result), *words, data=plaintext)
        return result.read_bytes()


def request_text(pem: str) -> str:
    """Verify a certificate request by its own key and return it in words."""
    text = openssl("req", "-verify", "-noout", "-text", "-nameopt", "RFC2253", data=pem.encode())
    assert "verify OK" in text.replace("self-signature ", ""), text
    return text


def request_key(pem: str) -> str:
    """Return the public key of a certificate request."""
    return openssl("req", "-noout", "-pubkey", data=pem.encode())

"""An HTTPS server on loopback with certificates of a test's own authority."""

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PATIENCE_S: Final = 30.0
Answer = Callable[[ssl.SSLSocket, bytes], None]


class Authority:
    """Makes certificates and keeps them in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        certificate = (
            self._builder(self._name, self._key.public_key(), 1)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(self._key, hashes.SHA256())
        )
        self.file = str(folder / "authority.pem")
        Path(self.file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str, days: int = 1, own: bool = False) -> ssl.SSLContext:
        """Return a server's context with a certificate, valid from yesterday, optionally signed by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
        certificate = (
            self._builder(subject, key.public_key(), days, subject if own else self._name)
            .add_extension(x509.SubjectAlternativeName([_name(each) for each in names]), critical=False)
            .sign(key if own else self._key, hashes.SHA256())
        )
        file = self._folder / f"server-{'-'.join(names)}-{days}-{own}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int, issuer: x509.Name | None = None
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=2))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def answering(body: bytes, *headers: str, status: str = "200 OK") -> Answer:
    """Return an answer with a body and its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return sending("\r\n".join(lines).encode() + body)


def sending(data: bytes) -> Answer:
    """Return an answer of these bytes."""

    def answer(connection: ssl.SSLSocket, _request: bytes) -> None:
        connection.sendall(data)

    return answer


@contextmanager
def website(context: ssl.SSLContext, *answers: Answer) -> Iterator[tuple[int, list[bytes]]]:
    """Give an answer to each connection in turn, the last one to all further ones; yield the port and the requests."""
    requests: list[bytes] = []
    current: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, context, answers, requests, current), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], requests
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in current:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            thread.join(_PATIENCE_S)


def _serve(
    listener: socket.socket,
    context: ssl.SSLContext,
    answers: tuple[Answer, ...],
    requests: list[bytes],
    current: list[socket.socket],
) -> None:
    remaining = list(answers)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        current[:] = [connection]
        with suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as secured:
            current[:] = [secured]
            requests.append(secured.recv(65536))
            (remaining.pop(0) if len(remaining) > 1 else remaining[0])(secured, requests[-1])
            secured.unwrap()
        current.clear()

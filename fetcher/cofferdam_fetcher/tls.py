"""TLS between a link and its protocol, with the ssl module but without its I/O."""

import encodings.idna  # noqa: F401  the ssl module needs it for each name of a host, and imports it only then
import ssl

from cofferdam_fetcher.limits import READ_SIZE
from cofferdam_fetcher.source import SourceError, quoted


def trust(ca_file: str = "") -> ssl.SSLContext:
    """Return what is trusted: the certificates in a PEM file, or else the system's; must run before confinement.

    The rules are those of `create_default_context` in Python 3.13 on each version: TLS 1.2 or later, a chain to what is
    trusted, the name of the host, and certificates that keep to RFC 5280.

    Raises:
        SourceError: The file cannot be read or has no certificate, or the system has none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    try:
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
        else:
            _load_system(context)
    except OSError as error:
        where = ca_file or "the system's certificates"
        raise SourceError(f"{where} cannot be used: {error.strerror or error}") from None
    if not context.cert_store_stats()["x509"]:
        raise SourceError("there is no certificate to trust; install ca-certificates, or name a file with the issuer's")
    return context


def _load_system(context: ssl.SSLContext) -> None:
    """Load the system's certificates now: a folder of them is otherwise read when a connection is made."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        context.load_verify_locations(cafile=paths.cafile)
        return
    bundle = f"{paths.capath}/ca-certificates.crt"
    context.load_verify_locations(cafile=bundle)


class Tls:
    """The client's side of one TLS connection."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        """Begin, for a host whose certificate has to name it."""
        self._host = host
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.is_ready = self.is_ended = False

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the socket, none at their end, and return those for the protocol.

        Raises:
            SourceError: The peer's certificate is not trusted, it broke TLS, or the end was not announced.
        """
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        try:
            return self._read() if self.is_ready or self._shake_hands() else b""
        except ssl.SSLError as error:
            raise SourceError(self._explained(error)) from None

    def send(self, data: bytes) -> bytes:
        """Take bytes of the protocol, possibly none, and return those for the socket."""
        try:
            if data:
                self._object.write(data)
            elif not self.is_ready:
                self._shake_hands()
        except ssl.SSLError as error:
            raise SourceError(self._explained(error)) from None
        return self._outgoing.read()

    def _shake_hands(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.is_ready = True
        return True

    def _read(self) -> bytes:
        pieces: list[bytes] = []
        try:
            while piece := self._object.read(READ_SIZE):
                pieces.append(piece)
            self.is_ended = True
        except ssl.SSLZeroReturnError:
            self.is_ended = True
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)

    def _explained(self, error: ssl.SSLError) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {quoted(error.verify_message)}"
        if isinstance(error, ssl.SSLEOFError):
            return "it closed the connection"
        return f"TLS failed: {quoted(error.reason or str(error))}"

"""What each process is told at its start: one JSON document per process, over an inherited descriptor.

The configuration reader writes these documents; the broker passes them on unread, except its own. So the secrets of
a provider reach only the worker of that provider. Durations are milliseconds, sizes bytes.
"""

import json
import types
import typing
from typing import Any, TypeVar

from cofferdam_contracts.record import field, fields_of, record


@record(kw_only=True)
class LogSettings:
    """How a process logs."""

    level: str = "warning"
    """off, error, warning, info or debug; nothing below it is written."""
    details: bool = False
    """Whether application names, key names and error causes may be logged (`log_error_details`)."""
    timestamp: bool = True
    """Whether lines carry the time; the journal has its own."""


@record(kw_only=True)
class AuthenticatorSettings:
    """One active authenticator."""

    auth_type: int
    admins: tuple[str, ...] = ()
    """Application names with administrator rights, compared as whole strings."""


@record(kw_only=True)
class ProviderEntry:
    """A configured provider as others see it."""

    id: int
    uuid: str
    name: str
    opcodes: tuple[int, ...]
    """Operations that ListOpcodes shows."""


@record(kw_only=True)
class WorkerEntry:
    """A worker that the broker starts: the index of a provider in configuration order, and its role."""

    index: int
    role: int
    name: str
    groups: tuple[int, ...] = ()
    """Supplementary groups that it keeps when it is started as root."""


@record(kw_only=True)
class UidRange:
    """Uids that a user may give to what it runs (subuid(5)): the first, how many, and the user's own uid."""

    first: int
    count: int
    owner: int


@record(kw_only=True)
class BrokerSettings:
    """What the broker itself needs of the configuration; it has no secrets."""

    log: LogSettings
    socket_path: str
    status_path: str
    """A socket on which the broker writes its status to whoever connects and may."""
    uid_base: int
    """First of the numeric uids that processes get when started as root."""
    require: int
    """Lowest `Level` that every process must reach."""
    workers: tuple[WorkerEntry, ...]
    subuids: tuple[UidRange, ...]
    """Uids that count as those of a user."""
    max_frontends: int
    """Most principals served at one time."""
    max_connections: int
    """Most connections that wait for the frontends of one user's uids."""
    idle_ms: int
    """A frontend without clients retires after this long."""
    hang_ms: int
    """A process that leaves a ping unanswered this long is killed and replaced."""
    start_ms: int
    """A process that is not ready after this long counts as failed."""
    generate_ms: int
    """A device may take this long to make one key, before its worker counts as hanging."""
    drain_ms: int
    """Longest wait for running requests at shutdown and reload."""


@record(kw_only=True)
class FrontendSettings:
    """What a frontend needs."""

    log: LogSettings
    providers: tuple[ProviderEntry, ...]
    """Crypto providers in configuration order; the channel number of a worker is the index here."""
    authenticators: tuple[AuthenticatorSettings, ...]
    body_len_limit: int
    read_timeout_ms: int
    """Longest silence while a request is being received (`listener.timeout`)."""
    request_timeout_ms: int
    """Longest time from the first byte of a request until it has arrived whole."""
    answer_timeout_ms: int
    """Deadline of an operation in its provider."""
    idle_connection_ms: int
    """How long a connection that asked to stay open may be silent between requests."""
    max_connections: int
    """Connections one principal may have open; more are closed at once."""
    max_in_flight: int
    """Requests of one principal under way; more get an error at once."""
    buffer_limit: int
    """Bytes kept for one principal's clients: requests that are not whole, responses and requests that wait."""
    buffer_size_limit: int
    """Most random bytes a client gets at a time: with the body limit, what bounds an answer."""


@record(kw_only=True)
class KimSettings:
    """What the key store needs."""

    log: LogSettings
    path: str
    providers: tuple[ProviderEntry, ...]
    authenticators: tuple[AuthenticatorSettings, ...]
    max_keys: int
    """Most keys of one application."""


@record(kw_only=True)
class WorkerSettings:
    """What every provider worker needs."""

    log: LogSettings
    index: int
    provider: ProviderEntry
    authenticators: tuple[AuthenticatorSettings, ...]
    buffer_size_limit: int
    """Most random bytes a client gets at a time."""
    body_len_limit: int
    allow_deprecated: bool
    key_cache: int
    """Keys kept ready for use."""
    memory_limit: int
    """Bytes that a worker which runs a vendor's code may grow by before it makes room for a successor."""
    adopt_rows: bool
    """Whether the rows of the key store are believed as they are at the start."""


@record(kw_only=True)
class SoftwareSettings:
    """What the software provider's worker needs."""

    worker: WorkerSettings
    kek_file: str = field(repr=False)
    """Path of the key-encryption key: 32 bytes; made at the first start when `kek_create` is set."""
    kek_create: bool
    mbed_its_path: str | None
    """Folder with the key files of the reference service's provider, to take its keys over from."""


@record(kw_only=True)
class TokenMatch:
    """Which token is meant: each text that is not None has to be the token's, without its padding."""

    label: str | None
    serial: str | None
    manufacturer: str | None
    model: str | None
    slot_id: int | None
    slot_description: str | None
    slot_manufacturer: str | None
    library_manufacturer: str | None
    library_description: str | None
    library_version: str | None


@record(kw_only=True)
class Pkcs11Settings:
    """What the worker of a PKCS#11 module needs."""

    worker: WorkerSettings
    library_path: str
    token: TokenMatch = field(repr=False)
    slot_number: int | None
    """The slot that was configured, to say so when the token is in another one."""
    pin: str | None = field(repr=False)
    """The bytes of the PIN, in hexadecimal."""
    pin_file: str | None = field(repr=False)
    """File with the PIN, read before the worker is confined. Neither of both: no login."""
    kek_file: str = field(repr=False)
    """Path of the key that this provider's rows are authenticated with, as in `SoftwareSettings`."""
    kek_create: bool
    state_folder: str
    """Folder that this worker has to itself."""
    software_public_operations: bool
    """Whether public keys are used outside the device."""
    allow_export: bool
    """Whether keys may be made that can be exported."""
    give_back: bool
    """Whether new keys are made so that the reference service can use them as well."""
    environment: tuple[str, ...] = field(repr=False)
    """What the module finds in its environment, each as NAME=value."""
    readable: tuple[str, ...]
    """Files and folders that the module may read while it serves."""
    writable: tuple[str, ...]
    """Files and folders that it may write as well."""
    needs: tuple[str, ...]
    """What the module does beyond files, by the names of the sandbox's `MODULE_NEEDS`."""
    quirks: tuple[str, ...]
    """Deviations of the module from the standard, as name or name=number; the worker knows which there are."""
    groups: tuple[int, ...]
    """Supplementary groups that the worker keeps when it is started as root."""


@record(kw_only=True)
class TctiSettings:
    """The way to a TPM; what a kind has no use for is None."""

    kind: str
    """device, mssim, swtpm or tabrmd."""
    path: str | None
    """The device, or the socket of an swtpm in the file system."""
    host: str | None
    """The address of a simulator: numbers, not a name."""
    port: int | None
    bus_name: str | None
    """Name of the resource manager on D-Bus."""
    bus_type: str | None
    """system or session."""


@record(kw_only=True)
class TpmSettings:
    """What the worker of a TPM needs."""

    worker: WorkerSettings
    tcti: TctiSettings
    owner_auth: str | None = field(repr=False)
    """The bytes of the owner hierarchy's authorisation value, in hexadecimal."""
    owner_auth_file: str | None = field(repr=False)
    """File with them, read before the worker is confined. One of both is given."""
    endorsement_auth: str | None = field(repr=False)
    """That of the endorsement hierarchy."""
    endorsement_auth_file: str | None = field(repr=False)
    """Neither of both: the value is empty."""
    skip_if_no_tpm: bool
    """Whether it is no mistake that there is no TPM."""
    kek_file: str = field(repr=False)
    """Path of the key that this provider's rows are encrypted with, as in `SoftwareSettings`."""
    kek_create: bool
    give_back: bool
    """Whether new keys are stored so that the reference service can use them as well."""
    application_parents: bool
    """Whether each application has a storage parent of its own in the TPM."""
    bus_protection: bool
    """Whether commands are authorised and their secrets encrypted with salted HMAC sessions."""
    groups: tuple[int, ...]
    """Supplementary groups that the worker keeps when it is started as root."""


T = TypeVar("T")


def dump(settings: object) -> bytes:
    """Return the JSON document of a settings value."""
    return json.dumps(settings, separators=(",", ":"), default=_members).encode()


def _members(settings: object) -> dict[str, object]:
    names = fields_of(type(settings))
    if not names:
        raise TypeError(f"a {type(settings).__name__} in settings")
    return {name: getattr(settings, name) for name in names}


def load(kind: type[T], document: bytes) -> T:
    """Read a settings value back, exactly: every field present and of its type, none besides.

    Raises:
        ValueError: The document is not that of a `kind`.
    """
    return typing.cast("T", _build(kind, json.loads(document)))


def _build(kind: Any, value: Any) -> Any:  # noqa: ANN401  walks any JSON value along a type
    if fields := fields_of(kind):
        if not isinstance(value, dict) or value.keys() != fields.keys():
            raise ValueError(f"not the fields of {kind}")
        return kind(**{name: _build(hint, value[name]) for name, hint in fields.items()})
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"not a list of {kind}")
        return tuple(_build(typing.get_args(kind)[0], item) for item in value)
    if isinstance(kind, types.UnionType):
        return None if value is None else _build(typing.get_args(kind)[0], value)
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} in place of a {kind.__name__}")
    return value

"""The settings of each process: one JSON document per process, over an inherited descriptor.

The configuration reader writes these documents; the broker reads only its own and passes the others on, so the secrets
of a provider reach only that provider's worker. Durations are in milliseconds, sizes in bytes.
"""

import json
import types
import typing
from typing import Any, Final, NamedTuple, TypeVar

from cofferdam_contracts.opaque import opaque

MODULE_FILES: Final = ("KRYOPTIC_CONF", "OPENSC_CONF", "P11NETHSM_CONFIG_FILE", "SOFTHSM2_CONF", "YUBIHSM_PKCS11_CONF")
"""Variables of the environment that name the configuration files of PKCS#11 modules."""


class LogSettings(NamedTuple):
    """Logging of a process."""

    level: str = "warning"
    """off, error, warning, info or debug; messages below this level are not written."""
    details: bool = False
    """Whether application names, key names and error causes may be logged (`log_error_details`)."""
    timestamp: bool = True
    """Whether lines carry the time; in the journal they never do, as it records its own."""


class AuthenticatorSettings(NamedTuple):
    """One active authenticator."""

    auth_type: int
    admins: tuple[str, ...] = ()
    """Application names with administrator rights, compared as whole strings."""


class ProviderEntry(NamedTuple):
    """A configured provider, as all processes know it."""

    id: int
    uuid: str
    name: str
    opcodes: tuple[int, ...]
    """Operations that ListOpcodes returns."""


class WorkerEntry(NamedTuple):
    """A worker that the broker starts."""

    role: int
    name: str
    groups: tuple[int, ...] = ()
    """Supplementary groups that it keeps when the service is started as root."""


class ProcessEntry(NamedTuple):
    """A process besides the workers that the configuration asks for."""

    role: int
    number: int


class ConfiguredProvider(NamedTuple):
    """A provider for the status, whether it is served or not; the last one is the key store."""

    name: str
    type: str
    """`provider_type` of the configuration; of the key store its `manager_type`."""
    id: int
    """Its number in the protocol; 0 for the key store."""
    role: int
    """Of its process."""
    absent: str
    """Why it was left out, so that it has no worker; empty if it was not."""


class UidRange(NamedTuple):
    """Uids that a user may assign to its own processes (subuid(5)): the first, how many, and the user's uid."""

    first: int
    size: int
    owner: int


class BrokerSettings(NamedTuple):
    """The part of the configuration for the broker; it contains no secrets."""

    log: LogSettings
    socket_path: str
    status_path: str
    """A socket on which the broker writes its status to every permitted peer that connects."""
    status_group: int | None
    """The group whose members may read the status, beside root and the service's own user."""
    configured: tuple[ConfiguredProvider, ...]
    """All providers in the order of the configuration."""
    uid_base: int
    """First uid of the processes when the service is started as root."""
    require: int
    """Lowest `Level` that every process must reach."""
    workers: tuple[WorkerEntry, ...]
    others: tuple[ProcessEntry, ...]
    """Besides the workers."""
    subuids: tuple[UidRange, ...]
    """Ranges whose uids count as their user's."""
    max_frontends: int
    """Most principals served at the same time."""
    max_connections: int
    """Most connections that wait for the frontends of one user's uids."""
    idle_ms: int
    """A frontend without clients exits after this time."""
    hang_ms: int
    """A process that does not answer a ping within this time is killed and replaced."""
    start_ms: int
    """A process that does nothing for this long before it is ready is killed (`runtime.starting`)."""
    generate_ms: int
    """Longest time that a device may take to generate one key before its worker counts as hanging."""
    drain_ms: int
    """Longest wait for requests under way at shutdown and reload."""
    notices: str
    """What the reader said of this configuration, for the reader of the next one."""


class FrontendSettings(NamedTuple):
    """Settings of a frontend."""

    log: LogSettings
    providers: tuple[ProviderEntry, ...]
    """Crypto providers in configuration order."""
    authenticators: tuple[AuthenticatorSettings, ...]
    body_len_limit: int
    read_timeout_ms: int
    """Longest silence while a request is being received (`listener.timeout`)."""
    request_timeout_ms: int
    """Longest time from the first byte of a request to its last."""
    answer_timeout_ms: int
    """Longest time until the provider has answered an operation."""
    idle_connection_ms: int
    """Longest silence between requests on a connection that asked to stay open."""
    max_connections: int
    """Most open connections of one principal; further ones are closed at once."""
    max_in_flight: int
    """Most requests of one principal under way; further ones get an error at once."""
    buffer_limit: int
    """Bytes kept for one principal's clients: incomplete requests, waiting requests and responses."""
    buffer_size_limit: int
    """Most random bytes that a client gets at a time; together with the body limit it bounds an answer."""


class StoreSettings(NamedTuple):
    """Where the keys of some providers are."""

    path: str
    """The database, or the folder of an `OnDisk` store."""
    shared: bool
    """Whether other files of the service are, or will be, in the folder of the database."""
    on_disk: bool
    """Whether keys in the reference's form are in mapping files; they belong to the first authenticator."""
    providers: tuple[int, ...]
    """Numbers of the providers whose keys are there."""


class KimSettings(NamedTuple):
    """Settings of the key store (kim)."""

    log: LogSettings
    stores: tuple[StoreSettings, ...]
    """One for each key manager that is used; each provider is in one of them."""
    providers: tuple[ProviderEntry, ...]
    authenticators: tuple[AuthenticatorSettings, ...]
    max_keys: int
    """Most keys of one application."""


class WorkerSettings(NamedTuple):
    """Settings of every provider worker."""

    log: LogSettings
    provider: ProviderEntry
    authenticators: tuple[AuthenticatorSettings, ...]
    buffer_size_limit: int
    """Most random bytes that a client gets at a time."""
    body_len_limit: int
    allow_deprecated: bool
    key_cache: int
    """Most keys that are kept ready for use."""
    memory_limit: int
    """Bytes by which a worker that runs a vendor's code may grow before it exits to be replaced."""
    adopt_rows: bool
    """Whether the mappings in the key store are trusted as they are at the start."""


class SoftwareSettings(NamedTuple):
    """Settings of the software provider's worker."""

    worker: WorkerSettings
    kek_file: str
    """Path of the key-encryption key: 32 bytes; created at the first start if `kek_create` is set."""
    kek_create: bool
    mbed_its_path: str | None
    """Folder with the key files of the reference service's provider, from which keys are imported."""

    def __repr__(self) -> str:
        """Show only the type."""
        return opaque(self)


class TokenMatch(NamedTuple):
    """Identifies a token: each text that is not None must equal the token's, without its padding."""

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

    def __repr__(self) -> str:
        """Show only the type."""
        return opaque(self)


class Pkcs11Settings(NamedTuple):
    """Settings of the worker of a PKCS#11 module."""

    worker: WorkerSettings
    library_path: str
    token: TokenMatch
    slot_number: int | None
    """The configured slot, for the log message that the token is in another slot."""
    pin: str | None
    """The bytes of the PIN, in hexadecimal."""
    pin_file: str | None
    """File with the PIN, read before the worker is confined. With neither `pin` nor `pin_file`, no login."""
    pin_change: str
    """What makes another PIN known: `reload`, or `restart` of a service whose PIN is a systemd credential."""
    kek_file: str
    """Path of the key that authenticates this provider's mappings, as in `SoftwareSettings`."""
    kek_create: bool
    state_folder: str
    """Private folder of this worker."""
    software_public_operations: bool
    """Whether operations with public keys run outside the device."""
    allow_export: bool
    """Whether exportable keys may be created."""
    give_back: bool
    """Whether new keys are created so that the reference service can use them as well."""
    environment: tuple[str, ...]
    """Environment variables of the module, each as NAME=value."""
    readable: tuple[str, ...]
    """Files and folders that the module may read while it serves."""
    writable: tuple[str, ...]
    """Files and folders that it may read and write."""
    needs: tuple[str, ...]
    """Privileges that the module needs besides files: names in the sandbox's `MODULE_NEEDS`."""
    quirks: tuple[str, ...]
    """Deviations of the module from the standard, as name or name=number; the worker defines the names."""
    groups: tuple[int, ...]
    """Supplementary groups that the worker keeps when the service is started as root."""

    def __repr__(self) -> str:
        """Show only the type."""
        return opaque(self)


class TctiSettings(NamedTuple):
    """The connection to a TPM; fields that its kind does not use are None."""

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


class TpmSettings(NamedTuple):
    """Settings of the worker of a TPM."""

    worker: WorkerSettings
    tcti: TctiSettings
    owner_auth: str | None
    """The bytes of the owner hierarchy's authorisation value, in hexadecimal."""
    owner_auth_file: str | None
    """File with these bytes, read before the worker is confined. Exactly one of the two is set."""
    endorsement_auth: str | None
    """The same for the endorsement hierarchy."""
    endorsement_auth_file: str | None
    """With neither of the two, the value is empty."""
    skip_if_no_tpm: bool
    """Whether a missing TPM is not an error."""
    kek_file: str
    """Path of the key that encrypts this provider's mappings, as in `SoftwareSettings`."""
    kek_create: bool
    give_back: bool
    """Whether new keys are stored so that the reference service can use them as well."""
    application_parents: bool
    """Whether each application has its own storage parent in the TPM."""
    bus_protection: bool
    """Whether commands are authorised and their secrets encrypted with salted HMAC sessions."""
    groups: tuple[int, ...]
    """Supplementary groups that the worker keeps when the service is started as root."""

    def __repr__(self) -> str:
        """Show only the type."""
        return opaque(self)


MAX_DOCUMENT: Final = 1 << 20
"""Bytes of a settings document."""
T = TypeVar("T")


def dump(settings: object) -> bytes:
    """Return the JSON document of a settings value."""
    return json.dumps(_plain(settings), separators=(",", ":")).encode()


def _plain(value: Any) -> Any:  # noqa: ANN401  any value of a setting
    if fields := getattr(value, "_fields", ()):
        return {name: _plain(member) for name, member in zip(fields, value, strict=True)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def load(kind: type[T], document: bytes) -> T:
    """Parse a settings document, in which exactly the fields of `kind` must be present and of the right types.

    Raises:
        ValueError: The document is not JSON, or not of a `kind`.
    """
    return typing.cast("T", _build(kind, json.loads(document)))


def _build(kind: Any, value: Any) -> Any:  # noqa: ANN401  checks any JSON value against a type
    if hasattr(kind, "_fields"):
        if not isinstance(value, dict) or value.keys() != kind.__annotations__.keys():
            raise ValueError(f"not the fields of {kind}")
        return kind(**{name: _build(hint, value[name]) for name, hint in kind.__annotations__.items()})
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"not a list of {kind}")
        return tuple(_build(typing.get_args(kind)[0], item) for item in value)
    if isinstance(kind, types.UnionType):
        return None if value is None else _build(typing.get_args(kind)[0], value)
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} in place of a {kind.__name__}")
    return value

"""Every table and setting of the configuration: the one source of validation, defaults and the reference page.

What is Parsec's follows the configuration reference of its version 1.5.0. What is Cofferdam's stands in tables and keys
that Parsec ignores, so that one file serves both services. The text below a setting is its text on the page.
"""

from typing import Final

from cofferdam_config.kinds import (
    FLAG,
    GROUP,
    INT32_MAX,
    MAX_SOCKET_PATH,
    NAME,
    SECRET,
    TEXT,
    any_path,
    array,
    checked,
    choice,
    cut,
    exactly,
    integer,
    pattern,
)
from cofferdam_config.schema import Setting, Table
from cofferdam_config.tcti import TCTI
from cofferdam_config.token_uri import TOKEN_URI
from cofferdam_contracts.endpoints import MAX_URL, parse_endpoint, parse_url

UID_BLOCK: Final = 256
"""Consecutive uids, from `uid_base` on, that the processes get."""
MAX_FRONTENDS: Final = 200
"""What the block of uids holds besides the key store, the workers, the reader and the spare frontend."""
STATUS_SOCKET: Final = "cofferdam-status.sock"
SOFTWARE: Final = "MbedCrypto"
PKCS11: Final = "Pkcs11"
TPM: Final = "Tpm"
DIRECT: Final = "Direct"
PEER: Final = "UnixPeerCredentials"
JWT_SVID: Final = "JwtSvid"
JWT: Final = "Jwt"
AUDIENCE: Final = "parsec"
"""What JWT-SVIDs are for, unless the configuration says otherwise."""
EDDSA: Final = "EdDSA"
"""The algorithm that JWT-SVIDs may not have."""
SVID_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Those of JWT-SVID section 2.1."""
_LAST_BASE: Final = INT32_MAX - UID_BLOCK + 1
_NO_BASE: Final = (65532 - UID_BLOCK + 1, 65535)
"""Bases whose block would hold 65532 or 65533 (our relay and reader), 65534 (nobody) or 65535 (the 16-bit -1)."""
_UID_BASE: Final = exactly(
    int,
    f"an integer from 1 to {_LAST_BASE} except {_NO_BASE[0]} to {_NO_BASE[1]} "
    f"(the first of {UID_BLOCK} uids, none of them 0 or 65532 to 65535)",
    lambda base: 1 <= base < _NO_BASE[0] or _NO_BASE[1] < base <= _LAST_BASE,
)
_BYTES: Final = cut(integer(unit="bytes"), (1 << 32) - 1)
"""The length of a body is a 32-bit field on the wire."""
_MILLISECONDS: Final = integer(1, INT32_MAX, "milliseconds")
_WATCH: Final = integer(100, INT32_MAX, "milliseconds")
"""With a shorter limit a process that only waits for the processor would be taken for dead."""
_QUEUE: Final = integer(1, 65536)
_MEBIBYTES: Final = integer(1, 1 << 20, "MiB")
_PATH: Final = any_path()
_SOCKET: Final = any_path(MAX_SOCKET_PATH)
_VARIABLE: Final = pattern(
    r"(?!LD_|PYTHON)[A-Za-z_][A-Za-z0-9_]*=[^\0]*",
    "a string NAME=value, whose name does not begin with LD_ or PYTHON",
)
_TRUST_DOMAIN: Final = pattern(
    r"[a-z0-9._-]{1,255}", "the name of a trust domain, with at most 255 of the characters a-z, 0-9, dot, hyphen and _"
)
_ISSUER: Final = exactly(
    str,
    f"a non-empty string of at most {MAX_URL} printable characters",
    lambda text: 0 < len(text) <= MAX_URL and text.isprintable(),
)
_FINGERPRINT: Final = pattern("[0-9a-f]{64}", "64 hexadecimal digits in small letters")
_QUIRK: Final = pattern(
    r"[a-z][a-z0-9-]*(?:=[0-9]+)?", "NAME or NAME=NUMBER with lower-case letters, digits and hyphens"
)


class CoreSettings(Table, name="core_settings", required=True):
    """The service as a whole. The table is required and may be empty."""

    allow_root = Setting(FLAG, default=False)
    """Whether Parsec starts as root. **No effect**: started as root, the service gives its processes uids of their own.
    """
    thread_pool_size = Setting(integer(1))
    """Number of threads that serve requests in Parsec. **No effect**: the service waits for events: it has no thread
    pool and does not sleep between connections."""
    idle_listener_sleep_duration = Setting(integer(unit="milliseconds"), default=10)
    """Pause of Parsec between two looks for connections. **No effect**: the service waits for events: it has no thread
    pool and does not sleep between connections."""
    log_level = Setting(choice("off", "error", "warn", "info", "debug", "trace", any_case=True), default="info")
    """The least urgent lines that are written. `info` has one line for each start, stop and change of a key; `trace` is
    the same as `debug`. Parsec's own default is `error`."""
    log_timestamp = Setting(FLAG, default=False)
    """Whether lines carry the time. Under systemd they never do, since the journal keeps the time."""
    body_len_limit = Setting(_BYTES, default=1 << 20)
    """Longest body of a request; one of exactly this length is accepted."""
    log_error_details = Setting(FLAG, default=False)
    """Whether application names, key names and causes of errors may be logged."""
    buffer_size_limit = Setting(_BYTES, default=1 << 20)
    """Most random bytes that one request gets."""
    allow_deprecated = Setting(FLAG, default=False)
    """Whether keys with deprecated algorithms or types may be created."""


class Listener(Table, name="listener", required=True):
    """The socket that clients connect to."""

    listener_type = Setting(choice("DomainSocket"), required=True)
    """The kind of socket."""
    timeout = Setting(cut(integer(1, unit="milliseconds"), INT32_MAX), required=True)
    """Longest silence of a client within a request. Parsec also accepts 0, and then drops every connection."""
    socket_path = Setting(_SOCKET, default="/run/parsec/parsec.sock")
    """Where the socket is."""


class Admin(Table, name="admins", is_array=True):
    """Applications with administrator rights: they may list and delete clients."""

    name = Setting(TEXT, required=True)
    """The application name: a decimal uid with `UnixPeerCredentials`, the name itself with `Direct`, the SPIFFE ID with
    `JwtSvid`, the subject with `Jwt`. Compared as a whole."""


class _SvidAuthenticator(Table, only_for=(JWT_SVID,)):
    workload_endpoint = Setting(
        checked("unix:///PATH, unix:/PATH or tcp://IP-ADDRESS:PORT", parse_endpoint), required=True
    )
    """Where a SPIFFE agent has its Workload API, from which the trust bundles are streamed; tokens are verified here.
    The agent has to know who asks: a workload with the uid `isolation.uid_base` + 3, or + 4 if another authenticator
    that fetches keys comes first; or the service's own uid if it was not started as root. Whoever has this socket
    decides whose keys a client gets."""
    trust_domains = Setting(array(_TRUST_DOMAIN), default=(), ours=True, default_note="all that the agent has keys of")
    """Trust domains whose workloads are clients. Without it, those of every domain that the agent federates with can
    be: Parsec has no such key."""


class _JwtAuthenticator(Table, only_for=(JWT,)):
    issuer = Setting(_ISSUER, required=True, ours=True)
    """The `iss` that tokens have to have, to the last character. With `discovery` an `https` URL without a query."""
    subject_claim = Setting(NAME, default="sub", ours=True)
    """The claim that is the application name, a string."""
    discovery = Setting(FLAG, default=False, ours=True)
    """Whether the issuer says where its keys are: `/.well-known/openid-configuration` below `issuer`. Exactly one of
    `key_file`, `jwks_url` and this."""
    fingerprint = Setting(_FINGERPRINT, ours=True, default_note="any keys")
    """What the first keys have to be, so that nobody can give others in their place: the SHA-256 of the RFC 7638
    thumbprints in base64url, each on a line of its own, sorted: what `jose jwk thp -i keys.json` prints, through
    `LC_ALL=C sort -u` and `sha256sum`. Later keys replace the first ones as they come."""


class _JwtPlaces(Table, only_for=(JWT,), hidden=True):
    key_file = Setting(_PATH, ours=True)
    """File with the issuer's keys: a JWK set, or public keys and certificates in PEM. It is read again when it changes;
    one that is wrong is reported, and the keys from before stay. Its folder holds nothing else of the service, because
    the process that verifies tokens may read all of it. A systemd credential `cofferdam.jwt.keys` takes its place."""
    jwks_url = Setting(checked("an https:// URL without user and fragment", parse_url), ours=True)
    """Where the issuer publishes its JWK set."""
    ca_file = Setting(_PATH, ours=True, default_note="the authorities of the system")
    """Certificates in PEM of the authorities that `jwks_url` or the issuer's server has to be certified by."""


class _TokenAuthenticator(Table, only_for=(JWT_SVID, JWT)):
    audience = Setting(
        array(NAME, may_be_empty=False), ours=True, default_note=f'`["{AUDIENCE}"]`; required with `{JWT}`'
    )
    """Tokens have to be for one of these (`aud`). No two services that trust the same issuer should have the same, or
    each could use the tokens that the other gets."""
    algorithms = Setting(array(choice(*SVID_ALGORITHMS, EDDSA), may_be_empty=False), default=SVID_ALGORITHMS, ours=True)
    """Signatures that tokens may have. Which of them a token has to have follows from the type of its key, and the
    key's own `alg`. `EdDSA` only with `Jwt`."""
    leeway = Setting(integer(0, 600, "seconds"), default=60, ours=True)
    """By how much the issuer's clock may differ from this machine's. Parsec has 60."""
    max_age = Setting(integer(0, INT32_MAX, "seconds"), default=86_400, ours=True)
    """Keys that neither the agent nor the issuer has confirmed for this long are not used, 0: they always are. No
    effect on those of a file."""


class Authenticator(
    _SvidAuthenticator,
    _JwtAuthenticator,
    _JwtPlaces,
    _TokenAuthenticator,
    name="authenticator",
    required=True,
    tag="auth_type",
    tables=(Admin,),
):
    """How clients are told apart."""

    auth_type = Setting(choice(DIRECT, PEER, JWT_SVID, JWT), required=True)
    """How clients prove who they are. `UnixPeerCredentials`: by their uid, which the kernel vouches for. `Direct`: by
    the name they give themselves, so all clients have to trust each other. `JwtSvid`: by a token of a SPIFFE agent.
    `Jwt`: by a token of any other issuer; Parsec does not have it, so a file for both services has it in an
    `[[additional_authenticator]]`."""


class AdditionalAuthenticator(
    Authenticator, name="additional_authenticator", is_array=True, ours=True, tag="auth_type", tables=(Admin,)
):
    """More authenticators that are active besides that of `[authenticator]`, which stays the first in listings.

    Keys belong to an authenticator and a name, so clients of one never see keys of another.
    """


ON_DISK: Final = "OnDisk"
"""Type of a key manager."""


class KeyManager(Table, name="key_manager", is_array=True, tag="manager_type"):
    """Where the names and attributes of keys are kept. A provider needs one; providers may have different ones."""

    name = Setting(NAME, required=True)
    """The name by which providers refer to it; no two have the same name."""
    manager_type = Setting(
        choice("SQLite", ON_DISK),
        required=True,
    )
    """The kind of store: one database, or a file for each key in Parsec's older format."""
    store_path = Setting(_PATH, default="/var/lib/parsec/mappings", only_for=(ON_DISK,))
    """Folder of the files of `OnDisk`. With `SQLite` it has no effect; `sqlite_db_path` is the key for that."""
    sqlite_db_path = Setting(
        _PATH, default="/var/lib/parsec/kim-mappings/sqlite/sqlite-key-info-manager.sqlite3", only_for=("SQLite",)
    )
    """The database file of `SQLite`; created when it is missing."""


class _AnyProvider(Table, hidden=True):
    """Settings of several types of provider."""

    list_all_opcodes = Setting(FLAG, default=False, ours=True)
    """Whether ListOpcodes also shows the operations that Parsec's provider does not have: PsaSignMessage and
    PsaVerifyMessage; except with `Tpm` PsaCipherEncrypt and PsaCipherDecrypt; and with `Pkcs11` PsaAeadEncrypt,
    PsaAeadDecrypt and PsaExportKey. They work either way, as far as the device has them."""
    key_encryption_key_file = Setting(
        _PATH,
        ours=True,
        only_for=(SOFTWARE, PKCS11, TPM),
        default_note="`cofferdam/software.kek`, with `Pkcs11` `cofferdam/pkcs11.kek`, with `Tpm` `cofferdam/tpm.kek`, "
        "in the state folder, which is `/var/lib/parsec`, or, for a normal user who cannot write to that, the working "
        "directory",
    )
    """File with 32 random bytes, the key that the provider's rows of the key store are encrypted with, or, with
    `Pkcs11` and for rows in Parsec's form, authenticated; created at the first start. A systemd credential
    `cofferdam.software.kek`, with `Pkcs11` `cofferdam.pkcs11.kek`, with `Tpm` `cofferdam.tpm.kek`, takes its place. No
    two providers have the same."""


class _SoftwareProvider(Table, only_for=(SOFTWARE,), hidden=True):
    mbed_its_path = Setting(_PATH, ours=True)
    """Folder with the `.psa_its` files of Parsec's provider, from which its keys are imported: the folder that it ran
    in."""


class _Pkcs11Provider(Table, only_for=(PKCS11,), hidden=True):
    library_path = Setting(_PATH, required=True)
    """The PKCS#11 module."""
    serial_number = Setting(TEXT)
    """Serial number of the token; takes precedence over `slot_number`."""
    slot_number = Setting(integer(), default_note="the only token there is")
    """Slot of the token. Where another key says which token is meant, this one only leads to a warning if that token is
    in another slot."""
    token_label = Setting(TEXT, ours=True)
    """Label of the token; takes precedence over `slot_number`."""
    token_uri = Setting(TOKEN_URI, ours=True)
    """The token as `p11tool` and others show it: `pkcs11:` and any of token, serial, manufacturer, model, slot-id,
    slot-description, slot-manufacturer, library-manufacturer, library-description and library-version. Its pin-source
    is the same as `user_pin_file`. Takes precedence over `slot_number`, and may not contradict the other keys."""
    user_pin = Setting(SECRET, default_note="no login")
    """PIN of the token: plain, or after `str:`, or its bytes in hexadecimal after `hex:`. Not together with
    `user_pin_file`, which is the better place."""
    user_pin_file = Setting(_PATH, ours=True)
    """File with the PIN of the token, which only root, or the user that starts the service, may read. A systemd
    credential `cofferdam.pkcs11.pin` takes its place and that of `user_pin`."""
    software_public_operations = Setting(FLAG, default=False)
    """Whether operations with public keys are done in software."""
    allow_export = Setting(FLAG, default=True)
    """Whether keys may be created that can be exported."""
    module_environment = Setting(array(_VARIABLE), default=(), ours=True)
    """The environment of the module, for example `["SOFTHSM2_CONF=/etc/softhsm2.conf"]`. Nothing is inherited."""
    module_readable = Setting(array(_PATH), default=(), ours=True)
    """Files and folders that the module reads while it works, such as its configuration; they have to exist. Libraries
    can be read while it is loaded. No folder of the whole machine, such as `/etc`, and nothing that is the service's:
    its key store, keys, PINs and sockets."""
    module_writable = Setting(array(_PATH), default=(), ours=True)
    """Files and folders in which it may also write, create and remove files, such as those of a token in software. The
    worker's uid needs the permission as well. Neither what `module_readable` may not have nor the configuration itself.
    """
    module_groups = Setting(array(GROUP), default=(), ours=True)
    """Groups that the worker is a member of when the service is started as root, for devices and daemons that are open
    to a group."""
    module_needs = Setting(array(choice("sockets", "threads", "libraries")), default=(), ours=True)
    """What the module does besides using files: connect to a daemon or the network; start threads; load libraries, or
    generate code, after the start. Each one weakens the worker's confinement."""
    state_folder = Setting(_PATH, ours=True, default_note="`pkcs11` in the state folder, which is `/var/lib/parsec`")
    """Folder of the worker alone, where it records that the token refused a PIN, which is not tried again. Created when
    it is missing."""
    quirks = Setting(array(_QUIRK), default=(), ours=True)
    """Deviations of the module from the standard that the worker does not detect by itself."""


class _TpmProvider(Table, only_for=(TPM,), hidden=True):
    tcti = Setting(TCTI, required=True)
    """How to reach the TPM. What is left out is `/dev/tpmrm0` (Parsec takes `/dev/tpm0`, which serves one process at a
    time and has no resource manager), `127.0.0.1`, 2321, `com.intel.tss2.Tabrmd` and `system`. A host is an address or
    `localhost`. Parsec does not have `swtpm:path=`, and takes it for `localhost`."""
    owner_hierarchy_auth = Setting(SECRET, default_note="required, unless it is elsewhere")
    """Password of the owner hierarchy, in the forms of `user_pin`; may be empty. Not together with
    `owner_hierarchy_auth_file`, which is the better place for one that is not."""
    owner_hierarchy_auth_file = Setting(_PATH, ours=True)
    """File with the password, which only root, or the user that starts the service, may read. A systemd credential
    `cofferdam.tpm.owner-auth` takes its place and that of `owner_hierarchy_auth`."""
    endorsement_hierarchy_auth = Setting(SECRET, default_note="an empty one")
    """Password of the endorsement hierarchy, in the same forms."""
    endorsement_hierarchy_auth_file = Setting(_PATH, ours=True)
    """File with it, as for the owner hierarchy. The credential is `cofferdam.tpm.endorsement-auth`."""
    skip_if_no_tpm = Setting(FLAG, default=False)
    """Whether to go on without this provider if there is no TPM: it is left out if its device is missing. With a
    simulator or a daemon it stays, and refuses requests until that is there."""
    application_parents = Setting(FLAG, default=False, ours=True)
    """Whether each application has a storage parent of its own, so that one application's keys cannot be loaded under
    another's parent. Not together with `kim.give_back`: Parsec cannot load such keys."""
    bus_protection = Setting(FLAG, default=True, ours=True)
    """Whether commands to the TPM are authorised, and their secrets encrypted, with salted HMAC sessions. `false` sends
    passwords in the clear, which is faster: only for a TPM that nobody can listen to."""


class _CryptoAuthLibProvider(Table, only_for=("CryptoAuthLib",), hidden=True):
    device_type = Setting(TEXT, required=True)
    """The kind of device, for example `atecc608a`."""
    iface_type = Setting(TEXT, required=True)
    """`i2c` or `test-interface`; `i2c` needs the next five keys."""
    wake_delay = Setting(integer(high=(1 << 16) - 1))
    """Time that the device takes to wake."""
    rx_retries = Setting(integer(-INT32_MAX - 1, INT32_MAX))
    """How often to read a response again."""
    slave_address = Setting(integer(high=255))
    """Address of the device on the bus."""
    bus = Setting(integer(high=255))
    """Number of the bus."""
    baud = Setting(integer(high=(1 << 32) - 1, unit="bits per second"))
    """Speed of the bus."""
    access_key_file_name = Setting(TEXT)
    """File with the keys of the device."""


class Provider(
    _AnyProvider,
    _SoftwareProvider,
    _Pkcs11Provider,
    _TpmProvider,
    _CryptoAuthLibProvider,
    name="provider",
    is_array=True,
    required=True,
    tag="provider_type",
):
    """What keys are kept in and used with, in order of preference: clients take the first by default.

    At least one is required, and no two of the same type or name. Values that can be secret are never printed.
    """

    provider_type = Setting(
        choice(
            SOFTWARE,
            PKCS11,
            TPM,
            absent={
                name: f"this build has no provider of type {name}; remove its table, its keys are kept"
                for name in ("CryptoAuthLib", "TrustedService")
            },
        ),
        required=True,
    )
    """The kind of provider. `MbedCrypto` is the one in software, `Pkcs11` one with a token behind a PKCS#11 module,
    `Tpm` one with a TPM 2.0."""
    key_info_manager = Setting(NAME, required=True)
    """The `name` of a key manager."""
    name = Setting(NAME, default_note="by type: `mbed-crypto-provider`, `pkcs11-provider`, `tpm-provider`")
    """The provider's name in the key store; keys of a renamed provider are not found again."""


class Identity(Table, name="identity", ours=True):
    """How clients with tokens are told apart. Has an effect only with `JwtSvid` or `Jwt`."""

    revocations = Setting(
        _PATH, default_note="`identity/revocations.toml` in the state folder, which is `/var/lib/parsec`"
    )
    """File with the tokens, subjects, keys and issuers that are refused, which `cofferdam revoke` writes. It is read
    again when it changes. Its folder holds nothing else of the service, as with `key_file`."""


class Service(Table, name="service", ours=True):
    """How the service is observed."""

    status_path = Setting(_SOCKET, default_note="`cofferdam-status.sock` in the folder of `listener.socket_path`")
    """The socket on which the service reports its status."""
    status_group = Setting(GROUP, default_note="nobody else")
    """The group whose members may read the status, beside root and the user that starts the service. They do not see
    which uid a frontend serves."""


class Isolation(Table, name="isolation", ours=True):
    """How the processes are confined."""

    require = Setting(choice("uid", "landlock", "seccomp", "none"), default="landlock")
    """The level that every process has to reach, or the service does not start. `uid` is the highest, includes the
    others and needs a start as root."""
    uid_base = Setting(_UID_BASE, default=60706)
    """First of the 256 uids that processes get when the service is started as root. Nothing else may run under any of
    them."""


class Limits(Table, name="limits", ours=True):
    """What one client, and one process, may cost the others."""

    max_frontends = Setting(integer(1, MAX_FRONTENDS), default=64)
    """Most uids served at one time, each by a frontend of its own."""
    frontend_idle_ms = Setting(_MILLISECONDS, default=60_000)
    """A frontend without clients ends after this time."""
    hang_ms = Setting(_WATCH, default=5000)
    """A process that does not react for this long is killed and replaced."""
    start_ms = Setting(_WATCH, default=10_000)
    """A process that does nothing for this long before it is ready is killed; so is one that needs 30 times as long."""
    generate_ms = Setting(_MILLISECONDS, default=120_000)
    """Longest time that a device may take to generate one key; until then its worker does not count as hanging."""
    drain_ms = Setting(_MILLISECONDS, default=10_000)
    """Longest wait for running requests at stop and reload."""
    request_timeout_ms = Setting(_MILLISECONDS, default_note="5000, or `listener.timeout` if that is longer")
    """Longest time from the first byte of a request to its last."""
    answer_timeout_ms = Setting(_MILLISECONDS, default=10_000)
    """Longest time that a provider may take."""
    idle_connection_ms = Setting(_MILLISECONDS, default=30_000)
    """How long a connection that a client keeps open may be silent between requests."""
    max_connections = Setting(_QUEUE, default=1024)
    """Most open connections of one uid; more are closed at once."""
    max_keys = Setting(_QUEUE, default=10_000)
    """Most keys of one application; more are refused."""
    max_in_flight = Setting(_QUEUE, default=256)
    """Most requests of one uid under way; more get an error at once."""
    frontend_buffer_mb = Setting(_MEBIBYTES, default=16)
    """Memory for the requests and responses of one uid that are on their way; more get an error at once. A single
    request is always accepted."""
    # As many keys as one application may have: one that used more in turn would find none of them ready.
    key_cache = Setting(integer(1, 1_000_000), default=10_000)
    """Keys that each provider keeps ready for use."""
    worker_memory_mb = Setting(integer(64, 1 << 20, "MiB"), default=256)
    """Memory by which the worker of a device may grow after its start. With more, its library leaks, and the worker is
    replaced."""


class Kim(Table, name="kim", ours=True):
    """How the key store is written."""

    give_back = Setting(FLAG, default=False)
    """Whether new keys are created so that Parsec can use them as well. Has an effect on those of `Pkcs11` and `Tpm`:
    the software provider always encrypts its keys, which Parsec cannot read."""
    adopt_rows = Setting(FLAG, default=False)
    """Whether the rows of the key store are trusted as they are at the start, and protected from then on. For one start
    after Parsec had the key store in between, or when the key-encryption key of a `Pkcs11` provider was lost; every
    start with it trusts whatever the rows say then."""


TABLES: Final[tuple[type[Table], ...]] = (
    *(CoreSettings, Listener, Authenticator, AdditionalAuthenticator, KeyManager, Provider),
    *(Identity, Service, Isolation, Limits, Kim),
)
"""All tables, in the order of the reference page."""

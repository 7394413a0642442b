"""Every table and key of the configuration: the one source of validation, defaults and the reference page.

What is Parsec's follows the configuration reference of its version 1.5.0. What is Cofferdam's stands in tables and keys
that Parsec ignores, so that one file serves both services.
"""

from functools import partial
from typing import Final

from cofferdam_config.kinds import (
    MAX_SOCKET_PATH,
    AbsolutePath,
    Array,
    Choice,
    Flag,
    Group,
    Integer,
    Name,
    Pattern,
    Text,
    TokenUri,
)
from cofferdam_config.schema import Key, Origin, Table

INT32_MAX: Final = (1 << 31) - 1
UID_BLOCK: Final = 256
"""Consecutive uids, from `uid_base` on, that the processes get."""
MAX_FRONTENDS: Final = 200
"""What the block of uids holds beside the key store, the workers, the reader and the spare frontend."""
LEAST_REQUEST_TIMEOUT_MS: Final = 5000
"""Default of `request_timeout_ms`, unless `listener.timeout` is longer."""
STATUS_SOCKET: Final = "cofferdam-status.sock"
KEK_CREDENTIAL: Final = "cofferdam.software.kek"
"""The systemd credential that takes the place of `key_encryption_key_file`."""
PIN_CREDENTIAL: Final = "cofferdam.pkcs11.pin"
"""The systemd credential that takes the place of the PIN of a PKCS#11 token, wherever that is."""
_LEAST_WATCH_MS: Final = 100
"""A shorter limit would take a process for dead that only waits for the processor."""
_MOST_QUEUED: Final = 65536
_MOST_KEYS: Final = 1_000_000
_NOBODY: Final = (65534 - UID_BLOCK + 1, 65535)
"""Bases whose block would hold 65534 (nobody) or 65535 (the 16-bit -1)."""

_own = partial(Key, origin=Origin.COFFERDAM)
_hidden = partial(Key, shown=False)
_pkcs11 = partial(_hidden, only_for=("Pkcs11",))
_tpm = partial(_hidden, only_for=("Tpm",))
_atca = partial(_hidden, only_for=("CryptoAuthLib",))
_own_hidden = partial(_own, shown=False)
_software = partial(_own_hidden, only_for=("MbedCrypto",))
_module = partial(_own_hidden, only_for=("Pkcs11",))

_EPOLL: Final = "the service waits for events: it has no pool of threads and does not sleep between connections"
_BYTES: Final = Integer(unit="bytes")
_MILLISECONDS: Final = Integer(low=1, high=INT32_MAX, unit="milliseconds")
_WATCH: Final = Integer(low=_LEAST_WATCH_MS, high=INT32_MAX, unit="milliseconds")
_QUEUE: Final = Integer(low=1, high=_MOST_QUEUED)


def _absent(what: str, *types: str) -> dict[str, str]:
    return {name: f"this build has no {what} of type {name}" for name in types}


_VARIABLE: Final = Pattern(
    expression=r"(?!LD_|PYTHON)[A-Za-z_][A-Za-z0-9_]*=[^\0]*",
    words="a string NAME=value, whose name does not begin with LD_ or PYTHON",
)
_AUTH_TYPE: Final = Key(
    "auth_type",
    Choice(values=("Direct", "UnixPeerCredentials"), absent=_absent("authenticator", "JwtSvid")),
    "How clients prove who they are. `UnixPeerCredentials`: by their uid, which the kernel vouches for. `Direct`: by "
    "the name they give themselves, so all clients have to trust each other.",
    required=True,
)
_WORKLOAD_ENDPOINT: Final = Key(
    "workload_endpoint", Text(), "Where the SPIFFE agent listens.", required=True, only_for=("JwtSvid",)
)
_ADMINS: Final = Table(
    name="admins",
    meaning="Applications with administrator rights: they may list and delete clients.",
    keys=(
        Key(
            "name",
            Text(),
            "The application name: a decimal uid with `UnixPeerCredentials`, the name itself with `Direct`. Compared "
            "as a whole.",
            required=True,
        ),
    ),
    is_array=True,
)

CORE_SETTINGS: Final = Table(
    name="core_settings",
    meaning="The service as a whole. The table is required and may be empty.",
    required=True,
    keys=(
        Key(
            "allow_root",
            Flag(),
            "Whether Parsec starts as root.",
            default=False,
            no_effect="started as root, the service gives its processes uids of their own",
        ),
        Key("thread_pool_size", Integer(low=1), "Threads that Parsec serves requests with.", no_effect=_EPOLL),
        Key(
            "idle_listener_sleep_duration",
            Integer(unit="milliseconds"),
            "Pause of Parsec between two looks for connections.",
            default=10,
            no_effect=_EPOLL,
        ),
        Key(
            "log_level",
            Choice(values=("off", "error", "warn", "info", "debug", "trace"), any_case=True),
            "The least urgent lines that are written. `info` has one line for each start, stop and change of a key; "
            "`trace` is the same as `debug`. Parsec's own default is `error`.",
            default="info",
        ),
        Key(
            "log_timestamp",
            Flag(),
            "Whether lines carry the time. Under systemd the journal keeps the time, and lines never carry it.",
            default=False,
        ),
        Key(
            "body_len_limit",
            _BYTES,
            "Longest body of a request; one of exactly this length is accepted.",
            default=1 << 20,
        ),
        Key(
            "log_error_details",
            Flag(),
            "Whether application names, key names and causes of errors may be logged.",
            default=False,
        ),
        Key("buffer_size_limit", _BYTES, "Most random bytes that one request gets.", default=1 << 20),
        Key(
            "allow_deprecated",
            Flag(),
            "Whether keys with deprecated algorithms or types may be made.",
            default=False,
        ),
    ),
)
LISTENER: Final = Table(
    name="listener",
    meaning="The socket that clients connect to.",
    required=True,
    keys=(
        Key("listener_type", Choice(values=("DomainSocket",)), "The kind of socket.", required=True),
        Key(
            "timeout",
            Integer(low=1, unit="milliseconds"),
            "Longest silence of a client within a request. Parsec takes 0 as well and then drops every connection.",
            required=True,
        ),
        Key(
            "socket_path",
            AbsolutePath(max_bytes=MAX_SOCKET_PATH),
            "Where the socket is.",
            default="/run/parsec/parsec.sock",
        ),
    ),
)
AUTHENTICATOR: Final = Table(
    name="authenticator",
    meaning="How clients are told apart.",
    required=True,
    keys=(_AUTH_TYPE, _WORKLOAD_ENDPOINT),
    arrays=(_ADMINS,),
    tag="auth_type",
)
KEY_MANAGER: Final = Table(
    name="key_manager",
    meaning="Where the names and attributes of keys are kept. A provider needs one.",
    is_array=True,
    tag="manager_type",
    keys=(
        Key("name", Name(), "What providers call it; no two have the same name.", required=True),
        Key(
            "manager_type",
            Choice(
                values=("SQLite",),
                absent={"OnDisk": "this build keeps keys in SQLite only; store_path belongs to OnDisk"},
            ),
            "The kind of store.",
            required=True,
        ),
        Key(
            "store_path",
            AbsolutePath(),
            "Folder of the files of `OnDisk`. With `SQLite` it has no effect; `sqlite_db_path` is the key for that.",
            default="/var/lib/parsec/mappings",
            only_for=("OnDisk",),
        ),
        Key(
            "sqlite_db_path",
            AbsolutePath(),
            "The database file of `SQLite`; made when it is missing.",
            default="/var/lib/parsec/kim-mappings/sqlite/sqlite-key-info-manager.sqlite3",
            only_for=("SQLite",),
        ),
    ),
)
PROVIDER: Final = Table(
    name="provider",
    meaning=(
        "What keys are kept in and used with, in order of preference: clients take the first by default. At least one "
        "is required, and no two of the same type or name. Values that can be secret are never printed."
    ),
    is_array=True,
    required=True,
    tag="provider_type",
    keys=(
        Key(
            "provider_type",
            Choice(
                values=("MbedCrypto", "Pkcs11"),
                absent=_absent("provider", "Tpm", "CryptoAuthLib", "TrustedService"),
            ),
            "The kind of provider. `MbedCrypto` is the one in software, `Pkcs11` one with a token behind a PKCS#11 "
            "module.",
            required=True,
        ),
        Key("key_info_manager", Name(), "The `name` of a key manager.", required=True),
        Key(
            "name",
            Name(),
            "What the provider is called in the key store; keys of a renamed provider are not found again.",
            default_note="by type: `mbed-crypto-provider`, `pkcs11-provider`",
        ),
        _own_hidden(
            "list_all_opcodes",
            Flag(),
            "Whether ListOpcodes also shows the operations that Parsec's provider does not have: PsaSignMessage, "
            "PsaVerifyMessage, PsaCipherEncrypt and PsaCipherDecrypt, and with `Pkcs11` PsaAeadEncrypt, PsaAeadDecrypt "
            "and PsaExportKey. They work either way, as far as the token has them.",
            default=False,
        ),
        _software(
            "key_encryption_key_file",
            AbsolutePath(),
            "File with the 32 bytes that the stored keys are encrypted with; made at the first start. A systemd "
            f"credential `{KEK_CREDENTIAL}` takes its place.",
            default_note="`cofferdam/software.kek` in the state folder, which is `/var/lib/parsec`",
        ),
        _software(
            "mbed_its_path",
            AbsolutePath(),
            "Folder with the `.psa_its` files of Parsec's provider, to take its keys over from: the folder that it ran "
            "in.",
        ),
        _pkcs11("library_path", AbsolutePath(), "The PKCS#11 module.", required=True),
        _pkcs11("serial_number", Text(), "Serial number of the token; goes before `slot_number`."),
        _pkcs11(
            "slot_number",
            Integer(),
            "Slot of the token. Where another key says which token is meant, this one only leads to a warning if that "
            "token is in another slot.",
            default_note="the only token there is",
        ),
        _module("token_label", Text(), "Label of the token; goes before `slot_number`."),
        _module(
            "token_uri",
            TokenUri(),
            "The token as `p11tool` and others show it: `pkcs11:` and any of token, serial, manufacturer, model, "
            "slot-id, slot-description, slot-manufacturer, library-manufacturer, library-description and "
            "library-version. Its pin-source is the same as `user_pin_file`. Goes before `slot_number`, and may not "
            "contradict the other keys.",
        ),
        _pkcs11(
            "user_pin",
            Pattern(
                expression=r"(?!hex:).*|hex:(?:[0-9A-Fa-f]{2})*",
                words="a string, which after `hex:` has pairs of hexadecimal digits",
            ),
            "PIN of the token: plain, or after `str:`, or the bytes of it in hexadecimal after `hex:`. Not beside "
            "`user_pin_file`, which is the better place.",
            default_note="no login",
        ),
        _module(
            "user_pin_file",
            AbsolutePath(),
            "File with the PIN of the token, which only root, or the user that starts the service, may read. A systemd "
            f"credential `{PIN_CREDENTIAL}` takes its place and that of `user_pin`.",
        ),
        _pkcs11(
            "software_public_operations",
            Flag(),
            "Whether operations with public keys are done in software.",
            default=False,
        ),
        _pkcs11("allow_export", Flag(), "Whether keys may be made that can be exported.", default=True),
        _module(
            "module_environment",
            Array(_VARIABLE),
            'What the module finds in its environment, for example `["SOFTHSM2_CONF=/etc/softhsm2.conf"]`. Nothing is '
            "inherited.",
        ),
        _module(
            "module_readable",
            Array(AbsolutePath()),
            "Files and folders that the module reads while it works, such as its configuration; they have to exist. "
            "Libraries can be read while it is loaded. No folder of the whole machine, such as `/etc`, and nothing "
            "that is the service's: its key store, keys, PINs and sockets.",
        ),
        _module(
            "module_writable",
            Array(AbsolutePath()),
            "Files and folders in which it may also write, make and remove files, such as those of a token in "
            "software. The worker's uid needs the permission as well. Neither what `module_readable` may not have nor "
            "the configuration itself.",
        ),
        _module(
            "module_groups",
            Array(Group()),
            "Groups that the worker is a member of when the service is started as root, for devices and daemons that "
            "are open to a group.",
        ),
        _module(
            "module_needs",
            Array(Choice(values=("sockets", "threads", "libraries"))),
            "What the module does beyond files: connect to a daemon or the network; start threads; load libraries, or "
            "make code, after the start. Each one takes something off the worker's confinement.",
        ),
        _module(
            "state_folder",
            AbsolutePath(),
            "Folder that the worker has to itself, to remember that the token refused a PIN, which is not tried again. "
            "Made when it is missing.",
            default_note="`pkcs11` in the state folder, which is `/var/lib/parsec`",
        ),
        _module(
            "quirks",
            Array(Pattern(expression=r"[a-z][a-z0-9-]*(?:=[0-9]+)?", words="a name, or a name, `=` and a number")),
            "What the module does otherwise than the standard says, where the worker does not find out by itself.",
        ),
        _tpm("tcti", Text(), "How to reach the TPM, for example `device:/dev/tpmrm0`.", required=True),
        _tpm(
            "owner_hierarchy_auth",
            Text(),
            "Password of the owner hierarchy, in the forms of `user_pin`; may be empty.",
            required=True,
        ),
        _tpm(
            "endorsement_hierarchy_auth",
            Text(),
            "Password of the endorsement hierarchy, in the same forms.",
            default_note="none",
        ),
        _tpm("skip_if_no_tpm", Flag(), "Whether to go on without this provider if there is no TPM.", default=False),
        _atca("device_type", Text(), "The kind of device, for example `atecc608a`.", required=True),
        _atca("iface_type", Text(), "`i2c` or `test-interface`; `i2c` needs the next five keys.", required=True),
        _atca("wake_delay", Integer(high=(1 << 16) - 1), "Time that the device takes to wake."),
        _atca("rx_retries", Integer(low=-INT32_MAX - 1, high=INT32_MAX), "How often to read an answer again."),
        _atca("slave_address", Integer(high=255), "Address of the device on the bus."),
        _atca("bus", Integer(high=255), "Number of the bus."),
        _atca("baud", Integer(high=(1 << 32) - 1, unit="bits per second"), "Speed of the bus."),
        _atca("access_key_file_name", Text(), "File with the keys of the device."),
    ),
)
ADDITIONAL_AUTHENTICATOR: Final = Table(
    name="additional_authenticator",
    meaning=(
        "More authenticators to be active beside that of `[authenticator]`, which stays the first in listings. Keys "
        "belong to an authenticator and a name, so clients of one never see keys of another."
    ),
    is_array=True,
    origin=Origin.COFFERDAM,
    tag="auth_type",
    keys=(_AUTH_TYPE, _WORKLOAD_ENDPOINT),
    arrays=(_ADMINS,),
)
SERVICE: Final = Table(
    name="service",
    meaning="Where the service is looked after.",
    origin=Origin.COFFERDAM,
    keys=(
        _own(
            "status_path",
            AbsolutePath(max_bytes=MAX_SOCKET_PATH),
            "The socket on which the service tells its status.",
            default_note=f"`{STATUS_SOCKET}` in the folder of `listener.socket_path`",
        ),
    ),
)
ISOLATION: Final = Table(
    name="isolation",
    meaning="How the processes are confined.",
    origin=Origin.COFFERDAM,
    keys=(
        _own(
            "require",
            Choice(values=("uid", "landlock", "seccomp", "none")),
            "The level that every process has to reach, or the service does not start. `uid` is the highest, includes "
            "the others and needs a start as root.",
            default="landlock",
        ),
        _own(
            "uid_base",
            Integer(
                low=1,
                high=INT32_MAX - UID_BLOCK + 1,
                gap=_NOBODY,
                reason=f"the first of {UID_BLOCK} uids, none of them 0, 65534 or 65535",
            ),
            f"First of the {UID_BLOCK} uids that processes get when the service is started as root. Nothing else may "
            "run under any of them.",
            default=60706,
        ),
    ),
)
LIMITS: Final = Table(
    name="limits",
    meaning="What one client, and one process, may cost the others.",
    origin=Origin.COFFERDAM,
    keys=(
        _own(
            "max_frontends",
            Integer(low=1, high=MAX_FRONTENDS),
            "Most uids served at one time, each by a frontend of its own.",
            default=64,
        ),
        _own("frontend_idle_ms", _MILLISECONDS, "A frontend without clients ends after this time.", default=60_000),
        _own("hang_ms", _WATCH, "A process that does not react for this long is killed and replaced.", default=5000),
        _own("start_ms", _WATCH, "A process that is not ready after this long counts as failed.", default=10_000),
        _own(
            "generate_ms",
            _MILLISECONDS,
            "Longest time that a device may take to make one key; until then its worker does not count as hanging.",
            default=120_000,
        ),
        _own("drain_ms", _MILLISECONDS, "Longest wait for running requests at stop and reload.", default=10_000),
        _own(
            "request_timeout_ms",
            _MILLISECONDS,
            "Longest time from the first byte of a request to its last.",
            default_note=f"{LEAST_REQUEST_TIMEOUT_MS}, or `listener.timeout` if that is longer",
        ),
        _own("answer_timeout_ms", _MILLISECONDS, "Longest time that a provider may take.", default=10_000),
        _own(
            "idle_connection_ms",
            _MILLISECONDS,
            "How long a connection that a client keeps open may be silent between requests.",
            default=30_000,
        ),
        _own("max_connections", _QUEUE, "Most open connections of one uid; more are closed at once.", default=1024),
        _own("max_keys", _QUEUE, "Most keys of one application; more are refused.", default=10_000),
        _own("max_in_flight", _QUEUE, "Most requests of one uid under way; more get an error at once.", default=256),
        _own(
            "key_cache",
            Integer(low=1, high=_MOST_KEYS),
            "Keys that each provider keeps ready for use.",
            # As many as one application may have: one that uses more in turn would find none of them ready.
            default=10_000,
        ),
        _own(
            "worker_memory_mb",
            Integer(low=64, high=1 << 20, unit="MiB"),
            "Memory that the worker of a device may gain after its start. With more, its library leaks, and it is "
            "replaced.",
            default=256,
        ),
    ),
)
KIM: Final = Table(
    name="kim",
    meaning="How the key store is written.",
    origin=Origin.COFFERDAM,
    keys=(
        _own(
            "give_back",
            Flag(),
            "Whether new keys are made so that Parsec can use them as well. Has effect on those of `Pkcs11`: the "
            "software provider always encrypts its keys, which Parsec cannot read.",
            default=False,
        ),
    ),
)

TABLES: Final = (
    CORE_SETTINGS,
    LISTENER,
    AUTHENTICATOR,
    ADDITIONAL_AUTHENTICATOR,
    KEY_MANAGER,
    PROVIDER,
    SERVICE,
    ISOLATION,
    LIMITS,
    KIM,
)
"""All tables, in the order of the reference page."""

"""Every table and key of the configuration: the one source of validation, defaults and the reference page.

What is Parsec's follows the configuration reference of its version 1.5.0. What is Cofferdam's stands in tables and keys
that Parsec ignores, so that one file serves both services.
"""

from functools import partial
from typing import Final

from cofferdam_config.kinds import (
    INT32_MAX,
    MAX_SOCKET_PATH,
    AbsolutePath,
    Choice,
    Flag,
    Integer,
    Name,
    Text,
    absent,
)
from cofferdam_config.provider_table import PROVIDER
from cofferdam_config.schema import Key, Origin, Table

UID_BLOCK: Final = 256
"""Consecutive uids, from `uid_base` on, that the processes get."""
MAX_FRONTENDS: Final = 200
"""What the block of uids holds beside the key store, the workers, the reader and the spare frontend."""
LEAST_REQUEST_TIMEOUT_MS: Final = 5000
"""Default of `request_timeout_ms`, unless `listener.timeout` is longer."""
STATUS_SOCKET: Final = "cofferdam-status.sock"
_LEAST_WATCH_MS: Final = 100
"""A shorter limit would take a process for dead that only waits for the processor."""
_MOST_QUEUED: Final = 65536
_MOST_KEYS: Final = 1_000_000
_NOBODY: Final = (65532 - UID_BLOCK + 1, 65535)
"""Bases whose block would hold 65532 or 65533 (our relay and reader), 65534 (nobody) or 65535 (the 16-bit -1)."""

_own = partial(Key, origin=Origin.COFFERDAM)

_EPOLL: Final = "the service waits for events: it has no pool of threads and does not sleep between connections"
_BYTES: Final = Integer(unit="bytes")
_MILLISECONDS: Final = Integer(low=1, high=INT32_MAX, unit="milliseconds")
_WATCH: Final = Integer(low=_LEAST_WATCH_MS, high=INT32_MAX, unit="milliseconds")
_QUEUE: Final = Integer(low=1, high=_MOST_QUEUED)


_AUTH_TYPE: Final = Key(
    "auth_type",
    Choice(values=("Direct", "UnixPeerCredentials"), absent=absent("authenticator", "JwtSvid")),
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
                reason=f"the first of {UID_BLOCK} uids, none of them 0 or 65532 to 65535",
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
            "frontend_buffer_mb",
            Integer(low=1, high=1 << 20, unit="MiB"),
            "Memory for the requests and responses of one uid that are on their way; more get an error at once. One "
            "request alone is always taken.",
            default=16,
        ),
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
            "Whether new keys are made so that Parsec can use them as well. Has effect on those of `Pkcs11` and `Tpm`: "
            "the software provider always encrypts its keys, which Parsec cannot read.",
            default=False,
        ),
        _own(
            "adopt_rows",
            Flag(),
            "Whether the rows of the key store are believed as they are at the start, and held to it from then on. For "
            "one start after Parsec had the key store in between, or when the key-encryption key of a `Pkcs11` "
            "provider was lost; every start with it believes whatever the rows say then.",
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

"""The process table: one row for each role says all that the broker has to know of it.

To add a role, write its number and its row here, a policy in `cofferdam_runtime.sandbox.policies`, and a package with
a `main`.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from cofferdam_contracts.ipc.control import (
    Broken,
    Busy,
    Condition,
    Failed,
    Failure,
    KeyCount,
    KeyOwner,
    Pong,
    Ready,
    Refusal,
    Said,
    SettingsDocument,
    Violation,
)


@enum.unique
class Role(enum.IntEnum):
    """What a process is. The number is what control records say."""

    CONFIG = 1
    KIM = 2
    FRONTEND = 3
    SOFTWARE_WORKER = 4
    PKCS11_WORKER = 5
    TPM_WORKER = 6
    IDENTITY = 7
    FETCHER = 8

    @property
    def row(self) -> "RoleRow":
        """What the process table says of this role."""
        return TABLE[self]

    def may_ask(self, other: "Role") -> bool:
        """Tell whether this role has a channel to the other; what is not in the table is not connected."""
        return other in self.row.asks


@enum.unique
class Copies(enum.Enum):
    """How many processes of a role there are, and what their numbers mean."""

    ONE_SHOT = "one shot"
    """One that reads the configuration and ends, before the others start."""
    ONE = "one"
    """One, with the number 0, as long as the configuration is in force."""
    PER_PROVIDER = "per provider"
    """One, with the number 0, if the configuration has a provider of its type, of which it can have only one."""
    AS_CONFIGURED = "as configured"
    """As many as the configuration asks for, numbered from 0; none of them if it does not need the role."""
    PER_PRINCIPAL = "per principal"
    """One for each principal that is served, from a spare that is kept warm; the number is free."""


@enum.unique
class Death(enum.Enum):
    """What it costs if a process dies while the service starts. Once that has started, whatever dies is replaced."""

    FATAL = "fatal"
    """The start: nobody can be served without it."""
    PROVIDER_DOWN = "provider down"
    """One provider, whatever it died of: the service starts without it, and replaces it unless it said that this would
    not help. Only a configuration that takes a provider away which worked is not put in force (`Deployment`)."""
    NOTHING = "nothing"
    """What it would have told others; it is replaced."""


class RoleRow(NamedTuple):
    """What the broker has to know of a role."""

    package: str
    """Whose `__main__.main` the process runs."""
    title: str
    """Name in logs and in the status."""
    uid_offset: int
    """Uid of number 0 beyond `isolation.uid_base`; the others follow, if there are several copies."""
    copies: Copies
    says: frozenset[type]
    """Control records that it may send, besides `Ready`, `Pong` and `Failed`."""
    failures: frozenset[Failure]
    """What it may give up for before it is ready; afterwards nothing it says keeps it down."""
    death: Death = Death.FATAL
    asks: frozenset[Role] = frozenset()
    """Its upstreams: the roles to each process of which it gets a channel."""
    stage: int = 0
    """Started from the lowest stage up and stopped from the highest down: nobody loses an upstream that it needs."""
    loads_foreign_code: bool = False
    """Whether it loads a vendor's library, and so has a seccomp filter for that time as well."""
    provider: int = 0
    """The provider that it serves (`registry.ProviderId`), if its copies are `PER_PROVIDER`."""
    oom_score: int = 200
    """Least `oom_score_adj`: the kernel kills the highest first when memory runs out (proc(5))."""
    nice: int = 0
    """Least niceness."""


_SERVER: Final = frozenset({Violation})
_WORKER: Final = _SERVER | {Condition}


TABLE: Final[Mapping[Role, RoleRow]] = {
    Role.CONFIG: RoleRow(
        package="cofferdam_config",
        title="config",
        uid_offset=0,
        copies=Copies.ONE_SHOT,
        says=frozenset({SettingsDocument, Refusal}),
        failures=frozenset({Failure.SANDBOX}),
        oom_score=300,
        nice=5,
    ),
    Role.KIM: RoleRow(
        package="cofferdam_kim",
        title="kim",
        uid_offset=1,
        copies=Copies.ONE,
        says=_SERVER | {KeyOwner, KeyCount, Condition},
        failures=frozenset({Failure.SANDBOX, Failure.STORE}),
        stage=1,
        # All requests wait while it is replaced, so it is killed last.
        oom_score=100,
    ),
    Role.SOFTWARE_WORKER: RoleRow(
        package="cofferdam_providers.software",
        title="worker[software]",
        # What a worker owns on disk must stay its own, so its uid depends on nothing in the configuration but the base.
        uid_offset=8,
        copies=Copies.PER_PROVIDER,
        death=Death.PROVIDER_DOWN,
        says=_WORKER,
        failures=frozenset({Failure.SANDBOX, Failure.CREDENTIAL}),
        asks=frozenset({Role.KIM}),
        stage=2,
        provider=1,
    ),
    Role.PKCS11_WORKER: RoleRow(
        package="cofferdam_providers.pkcs11",
        title="worker[pkcs11]",
        uid_offset=9,
        copies=Copies.PER_PROVIDER,
        death=Death.PROVIDER_DOWN,
        says=_WORKER | {Busy},
        failures=frozenset({Failure.SANDBOX, Failure.CREDENTIAL, Failure.CONFIGURATION}),
        asks=frozenset({Role.KIM}),
        stage=2,
        loads_foreign_code=True,
        provider=2,
    ),
    Role.TPM_WORKER: RoleRow(
        package="cofferdam_providers.tpm",
        title="worker[tpm]",
        uid_offset=10,
        copies=Copies.PER_PROVIDER,
        death=Death.PROVIDER_DOWN,
        says=_WORKER | {Busy},
        failures=frozenset({Failure.SANDBOX, Failure.CREDENTIAL}),
        asks=frozenset({Role.KIM}),
        stage=2,
        loads_foreign_code=True,
        provider=3,
    ),
    Role.IDENTITY: RoleRow(
        package="cofferdam_identity",
        title="identity",
        uid_offset=2,
        copies=Copies.AS_CONFIGURED,
        says=_SERVER | {Broken},
        failures=frozenset({Failure.SANDBOX}),
        asks=frozenset({Role.KIM, Role.SOFTWARE_WORKER, Role.PKCS11_WORKER, Role.TPM_WORKER}),
        stage=3,
    ),
    Role.FETCHER: RoleRow(
        package="cofferdam_fetcher",
        title="fetcher",
        # Four fit before the audit trail's and the workers'.
        uid_offset=3,
        copies=Copies.AS_CONFIGURED,
        death=Death.NOTHING,
        says=frozenset({Broken}),
        failures=frozenset({Failure.SANDBOX, Failure.CONFIGURATION}),
        asks=frozenset({Role.IDENTITY}),
        stage=4,
        oom_score=400,
    ),
    Role.FRONTEND: RoleRow(
        package="cofferdam_frontend",
        title="frontend",
        uid_offset=32,
        copies=Copies.PER_PRINCIPAL,
        says=frozenset({Broken}),
        failures=frozenset({Failure.SANDBOX}),
        asks=frozenset({Role.KIM, Role.SOFTWARE_WORKER, Role.PKCS11_WORKER, Role.TPM_WORKER, Role.IDENTITY}),
        stage=4,
        # It costs nobody but its principal anything when it is gone.
        oom_score=500,
    ),
}
"""The process table."""


def _roles(copies: Copies) -> frozenset[Role]:
    return frozenset(role for role in Role if role.row.copies is copies)


WORKERS: Final = _roles(Copies.PER_PROVIDER)
"""Roles that serve a provider each."""
AS_CONFIGURED: Final = _roles(Copies.AS_CONFIGURED)
"""Roles of the processes beside the workers that a configuration may ask for."""
SERVERS: Final = WORKERS | AS_CONFIGURED | _roles(Copies.ONE)
"""Roles that run as long as the configuration is in force, and are replaced when they die."""
PLAIN: Final = _roles(Copies.ONE) - {Role.KIM}
"""Roles without settings of their own: they are told how to log."""
BEFORE_READY: Final[frozenset[type]] = frozenset({Ready, Failed, Said})
"""What every process may send until it is ready."""
EARLY: Final[frozenset[type]] = frozenset({Condition})
"""What a process that says it may say before it is ready as well."""
ALWAYS: Final[frozenset[type]] = frozenset({Pong, Said})
"""What every process may send from then on."""


def documents_of(workers: Iterable[int], others: Iterable[tuple[int, int]]) -> set[tuple[Role, int]]:
    """Return role and number of each settings document of a configuration.

    Args:
        workers: The roles of its workers.
        others: Role and number of the other processes that it asks for.

    Raises:
        ValueError: A worker has a role that serves no provider, or another process one that is always there.
    """
    found = {(role, 0) for role in Role if role.row.copies in (Copies.ONE, Copies.PER_PRINCIPAL)}
    for role in map(Role, workers):
        if role not in WORKERS:
            raise ValueError(f"a worker of role {role.name}")
        found.add((role, 0))
    for other, number in others:
        if other not in AS_CONFIGURED:
            raise ValueError(f"a process of role {other}")
        found.add((Role(other), number))
    return found


WORKER_OFFSETS: Final = range(8, 32)
"""Offsets of uids that are reserved for workers; all of them have been in use."""
UID_COUNT: Final = 256
"""Uids that the service uses from `isolation.uid_base` on."""
RELAY_UID: Final = 65532
"""The uid of the relay of the log when root starts it: there is no configuration yet that could name another."""
READER_UID: Final = 65533
"""The uid of the configuration reader when root starts it: `isolation.uid_base` is not known yet."""
FRONTENDS: Final = range(UID_COUNT - Role.FRONTEND.row.uid_offset)
"""Numbers of frontends, each with a uid of the block."""

"""The process table: what each role runs, as whom, and whom it may ask."""

from collections.abc import Mapping
from typing import Final

from cofferdam_contracts.ipc.control import WORKERS, Failure, Role
from cofferdam_contracts.record import record


@record
class Program:
    """One row of the process table: the package that a role runs, its short name, its first uid beyond the base."""

    package: str
    title: str
    uid_offset: int


PROGRAMS: Final[Mapping[Role, Program]] = {
    Role.CONFIG: Program("cofferdam_config", "config", 0),
    Role.KIM: Program("cofferdam_kim", "kim", 1),
    Role.SOFTWARE_WORKER: Program("cofferdam_providers.software", "worker[software]", 8),
    # The number of a worker is the index of its provider, so workers of two roles never have the same uid.
    Role.PKCS11_WORKER: Program("cofferdam_providers.pkcs11", "worker[pkcs11]", 8),
    Role.TPM_WORKER: Program("cofferdam_providers.tpm", "worker[tpm]", 8),
    Role.FRONTEND: Program("cofferdam_frontend", "frontend", 32),
}
"""Which roles exist and what each executes."""
UID_COUNT: Final = 256
"""Uids that the service uses from `isolation.uid_base` on."""
RELAY_UID: Final = 65532
"""The uid of the relay of the log when root starts it: there is no configuration yet that could name another."""
FRONTENDS: Final = range(UID_COUNT - PROGRAMS[Role.FRONTEND].uid_offset)
"""Numbers of frontends, each with a uid of the block."""
ROUTES: Final[Mapping[Role, frozenset[Role]]] = {
    Role.FRONTEND: WORKERS | {Role.KIM},
    **dict.fromkeys(WORKERS, frozenset({Role.KIM})),
}
"""The process graph: which role may ask which. What is not here is not connected."""
DEVICES: Final = WORKERS - {Role.SOFTWARE_WORKER}
"""Workers that depend on a device: it can be away or busy, and the service starts without it."""
SERVERS: Final = WORKERS | {Role.KIM}
"""Roles that are there once per configuration and are replaced when they die."""
FAILURES: Final[Mapping[Role, frozenset[Failure]]] = {
    Role.KIM: frozenset({Failure.SANDBOX, Failure.STORE}),
    **dict.fromkeys(WORKERS, frozenset({Failure.SANDBOX, Failure.CREDENTIAL})),
    Role.PKCS11_WORKER: frozenset({Failure.SANDBOX, Failure.CREDENTIAL, Failure.CONFIGURATION}),
    Role.FRONTEND: frozenset({Failure.SANDBOX}),
}
"""What a role may give up for before it is ready; afterwards nothing it says keeps it down."""

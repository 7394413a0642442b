"""The process table: who is who, who asks whom, and that the sandbox knows the same roles."""

from cofferdam_contracts.registry import ProviderId
from cofferdam_contracts.roles import WORKERS, Role
from cofferdam_runtime.sandbox.policies import POLICIES

GRAPH = {
    Role.FRONTEND: {Role.KIM, Role.SOFTWARE_WORKER, Role.PKCS11_WORKER, Role.TPM_WORKER, Role.IDENTITY},
    Role.IDENTITY: {Role.KIM, Role.SOFTWARE_WORKER, Role.PKCS11_WORKER, Role.TPM_WORKER},
    Role.FETCHER: {Role.IDENTITY},
    Role.SOFTWARE_WORKER: {Role.KIM},
    Role.PKCS11_WORKER: {Role.KIM},
    Role.TPM_WORKER: {Role.KIM},
}


def test_the_process_graph() -> None:
    assert {role: set(role.row.asks) for role in Role if role.row.asks} == GRAPH
    for role in Role:
        assert all(upstream.row.stage < role.row.stage for upstream in role.row.asks), "it would lose an upstream"


def test_every_role_is_a_program_with_uids_of_its_own() -> None:
    """What a worker leaves on disk belongs to its uid, so no order of the configuration may change that."""
    rows = [role.row for role in Role]
    assert len({row.package for row in rows}) == len({row.title for row in rows}) == len(Role)
    assert len({row.uid_offset for row in rows}) == len(Role)
    assert max(row.uid_offset for row in rows) == Role.FRONTEND.row.uid_offset
    assert {role.row.uid_offset: role.row.provider for role in WORKERS} == {
        8: ProviderId.MBED_CRYPTO,
        9: ProviderId.PKCS11,
        10: ProviderId.TPM,
    }
    assert {role.row.provider for role in set(Role) - WORKERS} == {ProviderId.CORE}


def test_what_loads_foreign_code_has_a_first_filter() -> None:
    """The broker demands one filter more of it."""
    assert {role for role, policy in POLICIES.items() if policy.loading} == {
        r for r in Role if r.row.loads_foreign_code
    }

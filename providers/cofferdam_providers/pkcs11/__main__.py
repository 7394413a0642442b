"""The process of the PKCS#11 provider: read the PIN, change the uid, load the module, drop privileges, serve."""

import os

from cofferdam_contracts.ipc.control import Failure
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import Pkcs11Settings
from cofferdam_providers.base.key_encryption_key import CredentialError, read_kek
from cofferdam_providers.base.run import serve
from cofferdam_providers.pkcs11.inheritance import inherit, uids_of_workers
from cofferdam_providers.pkcs11.module_access import ModuleAccessError, module_access, own
from cofferdam_providers.pkcs11.pin import PinError, read_pin
from cofferdam_providers.pkcs11.provider import Pkcs11Provider
from cofferdam_providers.pkcs11.quirks import QuirkError
from cofferdam_providers.pkcs11.token import SetupError
from cofferdam_runtime.entry import begin, give_up
from cofferdam_runtime.notices import ChildLog
from cofferdam_runtime.sandbox.policies import POLICIES, for_module


def main() -> int:
    """Run the PKCS#11 provider."""
    start = begin("worker[pkcs11]")
    settings = start.settings(Pkcs11Settings)
    log = ChildLog("worker[pkcs11]", settings.worker.log, start)
    try:
        kek = read_kek(
            settings.kek_file, start, create=settings.kek_create, seals=False, adopt=settings.worker.adopt_rows
        )
        pin = read_pin(settings.pin_file) if settings.pin_file else bytes.fromhex(settings.pin or "") or None
        own(settings.state_folder, start.uid, uids_of_workers(start))
        access = module_access(settings)
        if given := inherit(access.writable, start):
            log.warning("files of another worker's uid now belong to this worker", uid=start.uid, files=given)
        policy = for_module(POLICIES[Role.PKCS11_WORKER], access.needs).with_paths(
            loading=access.loading, readable=access.readable, writable=access.writable, origins=access.origins
        )
        provider = Pkcs11Provider(settings, access, pin, log)
        # A module's own exit handlers are known to crash; the loop ends by returning here.
        os._exit(serve(start, log, settings.worker, provider, kek, policy, groups=settings.groups))
    except CredentialError as error:
        why = log.error("the key-encryption key cannot be read", cause=error)
        give_up(start.control, Failure.CREDENTIAL, why)
    except (PinError, ModuleAccessError, QuirkError, SetupError) as error:
        why = log.error("the PKCS#11 provider cannot be set up", cause=error)
        give_up(start.control, Failure.CONFIGURATION, why)

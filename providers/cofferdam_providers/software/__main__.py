"""The process of the software provider: read the key-encryption key, drop privileges, serve."""

import os

from cofferdam_contracts.ipc.control import Failure
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import SoftwareSettings
from cofferdam_providers.base.key_encryption_key import CredentialError, read_kek
from cofferdam_providers.base.run import serve
from cofferdam_providers.software.credentials import read_its_files
from cofferdam_providers.software.provider import SoftwareProvider
from cofferdam_runtime.entry import begin, give_up
from cofferdam_runtime.notices import ChildLog
from cofferdam_runtime.sandbox.policies import POLICIES


def main() -> int:
    """Run the software provider."""
    start = begin("worker[software]")
    settings = start.settings(SoftwareSettings)
    log = ChildLog("worker[software]", settings.worker.log, start)
    try:
        kek = read_kek(settings.kek_file, start, create=settings.kek_create)
        its = read_its_files(settings.mbed_its_path) if settings.mbed_its_path else {}
    except CredentialError as error:
        give_up(start.control, Failure.CREDENTIAL, log.error("the key-encryption key cannot be read", cause=error))
    provider = SoftwareProvider(kek.key, its=its)
    # The loop ends by returning here; exit handlers of libraries are not needed.
    os._exit(serve(start, log, settings.worker, provider, kek, POLICIES[Role.SOFTWARE_WORKER]))

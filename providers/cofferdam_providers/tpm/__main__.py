"""The process of the TPM provider: read the secrets, connect to the TPM, drop privileges, serve."""

import os

from cofferdam_contracts.ipc.control import Failure
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import TpmSettings
from cofferdam_providers.base.key_encryption_key import CredentialError
from cofferdam_providers.base.run import serve
from cofferdam_providers.tpm.credentials import read_credentials
from cofferdam_providers.tpm.provider import TpmProvider
from cofferdam_runtime.entry import begin, give_up
from cofferdam_runtime.notices import ChildLog
from cofferdam_runtime.sandbox.policies import POLICIES, for_tpm


def main() -> int:
    """Run the TPM provider."""
    start = begin("worker[tpm]")
    settings = start.settings(TpmSettings)
    log = ChildLog("worker[tpm]", settings.worker.log, start)
    try:
        credentials = read_credentials(settings, start)
    except CredentialError as error:
        why = log.error("the TPM provider's secrets cannot be read", cause=error)
        give_up(start.control, Failure.CREDENTIAL, why)
    provider = TpmProvider(settings, credentials, log)
    policy = for_tpm(POLICIES[Role.TPM_WORKER], settings.tcti)
    os._exit(serve(start, log, settings.worker, provider, credentials.kek, policy, groups=settings.groups))

"""A service with a TPM: the software provider first (number 1), the TPM's second (number 3).

with TpmService() as service:
    client = service.client()
    service.shim.plan(...)
"""

from collections.abc import Sequence
from typing import Final

from tests.harness.configuration import Tables
from tests.harness.device_service import DeviceService, Value
from tests.harness.service import Service
from tests.harness.tpm.shim import Shim
from tests.harness.tpm.swtpm import Swtpm

PROVIDER: Final = 3
WORKER: Final = "worker[tpm]"


class TpmService(DeviceService):
    """A service with an swtpm of its own, behind a shim or not, between `start` and `close`."""

    PROVIDER, WORKER = PROVIDER, WORKER

    def __init__(  # noqa: PLR0913  each with a default
        self,
        *,
        shim: bool = False,
        values: dict[str, Value] | None = None,
        tables: Tables | None = None,
        authenticators: Sequence[str] = ("UnixPeerCredentials",),
        admins: Sequence[str] = (),
        swtpm: Swtpm | None = None,
    ) -> None:
        """Make the TPM and the configuration; start nothing.

        Args:
            shim: Whether a shim stands before the TPM.
            values: Keys of the provider beside or in place of the usual ones.
            tables: Values by table and key, for the rest of the configuration.
            authenticators: The active ones, the default one first.
            admins: Names with administrator rights.
            swtpm: A TPM that is there already, and stays when the service has gone.
        """
        super().__init__(Service(authenticators=authenticators, tables=tables, admins=admins), values, tables)
        self._given = swtpm
        self.swtpm = swtpm or Swtpm()
        if swtpm is None:
            self.swtpm.start()
        self.shim: Shim
        self._tcti = self.swtpm.tcti
        if shim:
            self.shim = Shim(self.swtpm.address, wire=True)
            self.shim.start()
            self._tcti = self.shim.tcti
        self._shimmed = shim
        self.configure()

    def usual_values(self) -> dict[str, Value]:
        """Return the usual configuration of the provider."""
        return {
            "provider_type": "Tpm",
            "key_info_manager": "kim",
            "tcti": self._tcti,
            "owner_hierarchy_auth": "",
            "key_encryption_key_file": str(self.service.folder / "tpm.kek"),
        }

    def close(self) -> None:
        """End the service, and what stands behind it."""
        try:
            super().close()
        finally:
            if self._shimmed:
                self.shim.close()
            if self._given is None:
                self.swtpm.close()

"""A service with a TPM: the software provider first (number 1), the TPM's second (number 3).

with TpmService() as service:
    client = service.client()
    service.shim.plan(...)
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.harness.configuration import Tables
from tests.harness.running import Running
from tests.harness.service import Service
from tests.harness.tpm.shim import Shim
from tests.harness.tpm.swtpm import Swtpm

from cofferdam_client import Client

PROVIDER: Final = 3
WORKER: Final = "worker[tpm]"
Value = str | int | bool | list[str]


class TpmService(Running):
    """A service with an swtpm of its own, behind a shim or not, between `start` and `close`."""

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
        self.service = Service(authenticators=authenticators, tables=tables, admins=admins)
        self._tables = dict(tables or {})
        self._values: dict[str, Value | None] = dict(values or {})
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

    def configure(self, **values: Value | None) -> None:
        """Write the configuration anew, with other values of the provider from now on; None takes one out."""
        self._values |= values
        provider: dict[str, Value | None] = {
            "provider_type": "Tpm",
            "key_info_manager": "kim",
            "tcti": self._tcti,
            "owner_hierarchy_auth": "",
            "key_encryption_key_file": str(self.service.folder / "tpm.kek"),
            **self._values,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in provider.items() if value is not None]
        self.service.configure(self._tables, "\n".join(["[[provider]]", *lines, ""]))

    def set_table(self, name: str, **values: bool) -> None:
        """Write the configuration anew, with other values of a table from now on."""
        self._tables = {**self._tables, name: values}
        self.configure()

    def start(self) -> None:
        """Start the service; the TPM runs already."""
        self.service.start()

    def close(self) -> None:
        """End the service, and what stands behind it."""
        try:
            self.service.close()
        finally:
            if self._shimmed:
                self.shim.close()
            if self._given is None:
                self.swtpm.close()

    @property
    def folder(self) -> Path:
        """Return the folder of the service."""
        return self.service.folder

    def client(self) -> Client:
        """Return a client of the TPM's provider."""
        return Client(self.service.endpoint, provider=PROVIDER)

    def worker(self) -> int:
        """Return the process id of the TPM's worker."""
        (pid,) = self.service.pids(WORKER)
        return pid

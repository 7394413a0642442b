"""A service with a device: the software provider first, then the provider of the device."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.harness.configuration import Tables
from tests.harness.running import Running
from tests.harness.service import Service

from cofferdam_client import Client

Value = str | int | bool | list[str]


class DeviceService(Running):
    """What the services with a token and with a TPM have in common."""

    PROVIDER: ClassVar[int]
    """The number of the device's provider."""
    WORKER: ClassVar[str]
    """The role of the device's worker."""

    def __init__(self, service: Service, values: Mapping[str, Value] | None, tables: Tables | None) -> None:
        """Take the service, keys of the provider beside or in place of the usual ones, and values of other tables."""
        self.service = service
        self._values: dict[str, Value | None] = dict(values or {})
        self._tables = dict(tables or {})
        self.more = ""
        """TOML that follows all of the configuration."""

    def usual_values(self) -> dict[str, Value]:
        """Return the usual configuration of the provider."""
        raise NotImplementedError

    def write(self, provider: Mapping[str, Value]) -> None:
        """Write the configuration with these keys of the provider."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in provider.items()]
        self.service.configure(self._tables, "\n".join(["[[provider]]", *lines, "", self.more]))

    def configure(self, **values: Value | None) -> None:
        """Write the configuration anew, with other values of the provider from now on; None removes one."""
        self._values |= values
        provider = {**self.usual_values(), **self._values}
        self.write({key: value for key, value in provider.items() if value is not None})

    def set_table(self, name: str, **values: str | bool) -> None:
        """Write the configuration anew, with other values of a table from now on."""
        self._tables = {**self._tables, name: values}
        self.configure()

    def start(self) -> None:
        """Start the service; the device is there already."""
        self.service.start()

    def close(self) -> None:
        """End the service."""
        self.service.close()

    @property
    def folder(self) -> Path:
        """Return the folder of the service."""
        return self.service.folder

    def client(self) -> Client:
        """Return a client of the device's provider."""
        return Client(self.service.endpoint, provider=self.PROVIDER)

    def worker(self) -> int:
        """Return the process id of the device's worker."""
        (pid,) = self.service.pids(self.WORKER)
        return pid

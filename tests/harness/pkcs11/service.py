"""A service with a token: the software provider first (number 1), the PKCS#11 provider second (number 2).

with TokenService() as service:
    client = service.client()
    service.shim.set("C_Sign return CKR_DEVICE_REMOVED")
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.harness.configuration import Tables
from tests.harness.device_service import DeviceService, Value
from tests.harness.pkcs11.second import second
from tests.harness.pkcs11.shim import Shim
from tests.harness.pkcs11.spy import Spy
from tests.harness.pkcs11.token import Token, give, softhsm
from tests.harness.service import Service

from cofferdam_contracts.roles import Role

PROVIDER: Final = 2
WORKER: Final = "worker[pkcs11]"
UID_BASE: Final = 60706
Values = Mapping[str, Value]


class TokenService(DeviceService):
    """A service with a token of its own, between `start` and `close`."""

    PROVIDER, WORKER = PROVIDER, WORKER

    def __init__(  # noqa: PLR0913  each with a default
        self,
        *,
        before: str = "",
        make: Callable[..., Token] = softhsm,
        values: Values | None = None,
        tables: Tables | None = None,
        authenticators: Sequence[str] = ("UnixPeerCredentials",),
        admins: Sequence[str] = (),
        alone: bool = False,
    ) -> None:
        """Make the token and the configuration; start nothing.

        Args:
            before: What stands before the module: `shim`, `spy`, or nothing; `second` for the module of the other make.
            make: Makes the token, in a folder and for a uid.
            values: Keys of the provider beside or in place of the usual ones.
            tables: Values by table and key, for the rest of the configuration.
            authenticators: The active ones, the default one first.
            admins: Names with administrator rights.
            alone: Whether the token's provider is the only one, and so number 2 all the same.
        """
        super().__init__(Service(authenticators=authenticators, tables=tables, admins=admins), values, tables)
        self.uid = UID_BASE + Role.PKCS11_WORKER.row.uid_offset if os.geteuid() == 0 else None
        self._alone = alone
        folder = self.service.folder / "token"
        folder.mkdir(mode=0o755)
        self.shim: Shim
        self.spy: Spy
        if before == "second":
            self.token, self.shim = second(folder, uid=self.uid)
        else:
            self.token = make(folder, uid=self.uid)
        self._library, environment = self.token.library, dict(self.token.environment)
        self._readable = [str(self.token.configuration)] if self.token.configuration else []
        self._writable = [str(self.token.folder)]
        if before == "shim":
            self.shim = Shim(folder / "shim", self.token.library, environment)
        if before in {"shim", "second"}:
            self._library, environment = self.shim.library, {}
            self._readable.append(str(self.shim.folder))
            self._writable.append(str(self.shim.folder / "calls.log"))
        if before == "spy":
            self.spy = Spy(folder / "spy.log", self.token.library, environment)
            self._library, environment = self.spy.library, dict(self.spy.environment)
            self._writable.append(str(folder / "spy.log"))
        self._environment = [f"{name}={value}" for name, value in environment.items()]
        self.configure()

    def usual_values(self) -> dict[str, Value]:
        """Return the usual configuration of the provider."""
        return {
            "provider_type": "Pkcs11",
            "key_info_manager": "kim",
            "library_path": str(self._library),
            "user_pin": self.token.pin,
            "token_label": self.token.label,
            "key_encryption_key_file": str(self.service.folder / "kek" / "pkcs11.kek"),
            "state_folder": str(self.service.folder / "pkcs11"),
            "module_environment": self._environment,
            "module_readable": self._readable,
            "module_writable": self._writable,
        }

    def write(self, provider: Mapping[str, Value]) -> None:
        """Write the configuration with these keys of the provider."""
        if self._alone:
            self.service.configure({**self._tables, "provider": provider})  # type: ignore[dict-item]
        else:
            super().write(provider)

    def give_token(self) -> None:
        """Give the token's files to the worker, after somebody else made some."""
        give(self.token.folder, self.uid)

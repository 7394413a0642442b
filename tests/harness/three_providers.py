"""A service with all three providers: the software provider, a token's and a TPM's.

with Swtpm() as tpm, Providers(tpm) as service:
    client = service.of(TPM)
"""

import json
from collections.abc import Callable, Mapping
from typing import Final

from tests.harness.device_service import Value
from tests.harness.events import reload
from tests.harness.pkcs11.service import TokenService
from tests.harness.pkcs11.token import Token, softhsm
from tests.harness.tpm.swtpm import Swtpm

from cofferdam_client import Client

SOFTWARE, PKCS11, TPM = 1, 2, 3
NAMES: Final = {SOFTWARE: "software", PKCS11: "pkcs11", TPM: "tpm"}
Tables = Mapping[str, Mapping[str, Value | None]]


class Providers(TokenService):
    """A service with the software provider, a token's and a TPM's, between `start` and `close`."""

    def __init__(self, tpm: Swtpm, make: Callable[..., Token] = softhsm) -> None:
        """Make the token, or take what `make` returns, and the configuration; start nothing."""
        self._tpm = tpm
        self.order: tuple[int, ...] = (SOFTWARE, PKCS11, TPM)
        self.changes: Tables = {}
        """Settings of the tables and providers, beside or in place of the usual ones; None removes one."""
        super().__init__(make=make)

    def write(self, provider: Mapping[str, Value]) -> None:
        """Write the configuration with these keys of the token's provider."""
        folder = self.service.folder
        usual: dict[int, Mapping[str, Value]] = {
            SOFTWARE: {"provider_type": "MbedCrypto", "key_encryption_key_file": str(folder / "software.kek")},
            PKCS11: provider,
            TPM: {
                "provider_type": "Tpm",
                "tcti": self._tpm.tcti,
                "owner_hierarchy_auth": "",
                "key_encryption_key_file": str(folder / "tpm.kek"),
            },
        }
        first, *others = [_changed(usual[number], self.changes.get(NAMES[number], {})) for number in self.order]
        tables = {name: dict(table) for name, table in self.changes.items() if name not in NAMES.values()}
        extra = "\n".join(line for each in others for line in ["[[provider]]", *map(_line, each.items()), ""])
        self.service.configure({**tables, "provider": first}, f"{extra}\n{self.more}")  # type: ignore[dict-item]

    def reload(self, changes: Tables, order: tuple[int, ...] = (SOFTWARE, PKCS11, TPM)) -> None:
        """Reload with these changes, which are all that there are."""
        self.changes, self.order = changes, order
        self.configure()
        reload(self.service)

    def of(self, provider: int) -> Client:
        """Return a client of a provider."""
        return Client(self.service.endpoint, provider=provider)


def _changed(values: Mapping[str, Value], changes: Mapping[str, Value | None]) -> dict[str, Value]:
    merged = {"key_info_manager": "kim", **values, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def _line(item: tuple[str, Value]) -> str:
    return f"{item[0]} = {json.dumps(item[1])}"

"""A site at which things are wrong: a service with a token and a TPM, before its start, and what it says about faults.

    site = Site(token, shim)
    site.pkcs11["user_pin_file"] = "/none"
    site.start()

Nothing is written anew between faults but the configuration: SoftHSM's files are copied, and the TPM is shared.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.harness.pkcs11.shim import Shim as ModuleShim
from tests.harness.pkcs11.token import Token, give
from tests.harness.relay import relays
from tests.harness.service import Service
from tests.harness.tpm.shim import Shim as TpmShim
from tests.harness.watch import wait_for

AS_ROOT: Final = os.geteuid() == 0
UID_BASE: Final = 60706
PKCS11_UID: Final = UID_BASE + 9
PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.01
_VALUE: Final = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)')
Value = str | int | bool | list[str]


class Line(NamedTuple):
    """A line of the log."""

    level: str
    component: str
    event: str
    values: Mapping[str, str]
    text: str

    def plain(self) -> str:
        """Return event and values without quotes and escapes."""
        return " ".join([self.event, *(f"{name}={value}" for name, value in self.values.items())])


class Site:
    """A service of three providers that is about to be started."""

    def __init__(self, token: Token, shim: TpmShim) -> None:
        """Copy the token, and configure all three providers as they should be."""
        self.shim = shim
        self.service = Service()
        self.folder = self.service.folder
        self.uid = PKCS11_UID if AS_ROOT else None
        self.tokens = self.folder / "tokens"
        shutil.copytree(token.folder, self.tokens)
        give(self.tokens, self.uid)
        self.softhsm = self.folder / "softhsm2.conf"
        self.softhsm.write_text(f"directories.tokendir = {self.tokens}\nlog.level = ERROR\n")
        self._library = token.library
        self.tables: dict[str, dict[str, Value]] = {"listener": {"timeout": 10_000}}
        self.software: dict[str, Value] = {}
        self.pkcs11: dict[str, Value] = {
            "provider_type": "Pkcs11",
            "key_info_manager": "kim",
            "library_path": str(token.library),
            "user_pin_file": str(self.secret("pin", token.pin.encode())),
            "token_label": token.label,
            "key_encryption_key_file": str(self.folder / "kek" / "pkcs11.kek"),
            "state_folder": str(self.folder / "pkcs11"),
            "module_environment": [f"SOFTHSM2_CONF={self.softhsm}"],
            "module_writable": [str(self.tokens)],
        }
        self.tpm: dict[str, Value] = {
            "provider_type": "Tpm",
            "key_info_manager": "kim",
            "tcti": shim.tcti,
            "owner_hierarchy_auth": "",
            "key_encryption_key_file": str(self.folder / "kek" / "tpm.kek"),
        }
        self.extra = ""
        self.environment: dict[str, str] = {}
        self.configured = True
        """Whether the configuration is written before the start."""
        self.kept: list[socket.socket] = []
        """What is closed with the site."""

    def secret(self, name: str, content: bytes, mode: int = 0o400) -> Path:
        """Make a file in the folder and return its path."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def before_module(self) -> ModuleShim:
        """Put a shim before SoftHSM."""
        shim = ModuleShim(self.folder / "shim", self._library, {"SOFTHSM2_CONF": str(self.softhsm)})
        self.pkcs11["library_path"] = str(shim.library)
        self.pkcs11["module_environment"] = []
        self.pkcs11["module_readable"] = [str(shim.folder), str(self.softhsm)]
        self.pkcs11["module_writable"] = [str(self.tokens), str(shim.folder / "calls.log")]
        return shim

    def under(self, *words: str) -> None:
        """Start the service by another command, to which its own words are arguments."""
        self.service.command = [*words, *self.service.command]

    def configure(self) -> None:
        """Write the configuration."""
        tables = [f"[[provider]]\n{_pairs(values)}" for values in (self.pkcs11, self.tpm) if values]
        inner: Mapping[str, Mapping[str, Value]] = {**self.tables, "provider": self.software}
        self.service.configure(inner, "\n".join([*tables, self.extra]))  # type: ignore[arg-type]

    def start(self) -> None:
        """Start the service, without waiting for anything."""
        if self.configured:
            self.configure()
        self._process = self.service.launch(variables=self.environment)

    def ended(self) -> int | None:
        """Return the exit status of the service, None while it runs."""
        return self._process.poll()

    def lines(self) -> list[Line]:
        """Return what the service has logged, as far as it is a line of the log."""
        if self.ended() is not None:
            wait_for(lambda: not relays(self._process.pid))
        return [parsed(text) for text in self.service.log().splitlines()]

    def wait(self, until: Callable[[list[Line]], object]) -> None:
        """Wait until the service has ended, or serves and a condition of its log is true."""
        end = time.monotonic() + PATIENCE_S
        while self.ended() is None and time.monotonic() < end:
            if self.service.is_ready() and until(self.lines()):
                return
            time.sleep(_POLL_S)

    def close(self) -> None:
        """End the service."""
        self.service.close()
        self.shim.clear()
        for kept in self.kept:
            kept.close()


def parsed(text: str) -> Line:
    """Return a line of the log by its parts; a line of something else has no level."""
    values = {name: json.loads(value) if value[:1] == '"' else value for name, value in _VALUE.findall(text)}
    return Line(values.pop("level", ""), values.pop("component", ""), values.pop("event", ""), values, text)


def _pairs(values: Mapping[str, Value]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def compiled(folder: Path, source: str) -> Path:
    """Compile a module and return its path."""
    code, library = folder / "module.c", folder / "module.so"
    code.write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(code)], check=True)
    return library

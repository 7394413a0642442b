"""How to make faults at a site; all of these return a function of the site."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.harness.faults.site import Site
from tests.harness.pkcs11.token import give
from tests.harness.tpm import rules

_IN_A_NAMESPACE: Final = ["unshare", "--mount", "sh", "-c"]


def table(table: str, **values: str | int) -> Callable[[Site], object]:
    """Change values of a table."""
    return lambda site: site.tables.setdefault(table, {}).update(
        {name: at(site, each) for name, each in values.items()}
    )


def pkcs11(**values: str | list[str]) -> Callable[[Site], object]:
    """Change values of the PKCS#11 provider."""
    return lambda site: site.pkcs11.update({name: at(site, each) for name, each in values.items()})


def tpm(**values: str) -> Callable[[Site], object]:
    """Change values of the TPM provider."""

    def change(site: Site) -> None:
        del site.tpm["owner_hierarchy_auth"]
        site.tpm.update({"owner_hierarchy_auth": ""} if "owner_hierarchy_auth_file" not in values else {})
        site.tpm.update({name: at(site, each) for name, each in values.items()})

    return change


def at(site: Site, value: Any) -> Any:  # noqa: ANN401  a value of TOML
    """Return a value with the folder of the site in the place of {folder}."""
    return value.replace("{folder}", str(site.folder)) if isinstance(value, str) else value


def pin(content: bytes, mode: int = 0o400, owner: int | None = None) -> Callable[[Site], object]:
    """Make another file of the PIN."""

    def change(site: Site) -> None:
        path = site.secret("pin2", content, mode)
        if owner is not None:
            os.chown(path, owner, owner)
        site.pkcs11["user_pin_file"] = str(path)

    return change


def library(make: Callable[[Site], Path]) -> Callable[[Site], object]:
    """Take another module."""
    return lambda site: site.pkcs11.update(library_path=str(make(site)))


def module(rule: str) -> Callable[[Site], object]:
    """Put a shim before the module, with a rule."""
    return lambda site: site.before_module().set(rule)


def planned(*planned: rules.Rule) -> Callable[[Site], object]:
    """Put rules before the TPM."""
    return lambda site: site.shim.plan(*planned)


def copied(mode: int = 0o755, machine: int | None = None) -> Callable[[Site], Path]:
    """Copy the module."""

    def copy(site: Site) -> Path:
        content = bytearray(Path(str(site.pkcs11["library_path"])).read_bytes())
        if machine is not None:
            content[18:20] = machine.to_bytes(2, "little")
        return site.secret("copy.so", bytes(content), mode)

    return copy


def folder(name: str) -> Callable[[Site], object]:
    """Make a folder."""
    return lambda site: (site.folder / name).mkdir(parents=True)


def file(name: str, content: bytes = b"", mode: int = 0o600) -> Callable[[Site], object]:
    """Make a file."""

    def make(site: Site) -> None:
        (site.folder / name).parent.mkdir(exist_ok=True)
        site.secret(name, content, mode)

    return make


def mounted(folder: str, options: str) -> Callable[[Site], object]:
    """Put a file system on a folder that only the service sees."""

    def make(site: Site) -> None:
        (site.folder / folder).mkdir()
        site.under(*_IN_A_NAMESPACE, f'mount -t tmpfs -o {options} tmpfs {site.folder / folder} && exec "$@"', "sh")

    return make


def both(*changes: Callable[[Site], object]) -> Callable[[Site], object]:
    """Do several things."""
    return lambda site: [change(site) for change in changes]


def configuration(make: Callable[[Path], object]) -> Callable[[Site], object]:
    """Put something in the place of the configuration."""

    def change(site: Site) -> None:
        site.configured = False
        site.service.configuration_path.unlink()
        make(site.service.configuration_path)

    return change


def listening(site: Site) -> None:
    """Let somebody else listen at the socket of the service."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(site.folder / "live.sock"))
    listener.listen()
    site.kept.append(listener)
    site.tables["listener"]["socket_path"] = str(site.folder / "live.sock")


def closed_socket(site: Site) -> None:
    """Let somebody listen for commands of a TPM at a socket that nobody may use."""
    listening(site)
    (site.folder / "live.sock").chmod(0)
    del site.tables["listener"]["socket_path"]
    site.tpm["tcti"] = f"swtpm:path={site.folder}/live.sock"


def without_tokens(site: Site) -> None:
    """Remove the tokens."""
    shutil.rmtree(site.tokens)
    site.tokens.mkdir(mode=0o700)
    give(site.tokens, site.uid)


def softhsm_conf(site: Site, **values: str) -> None:
    """Write another configuration of SoftHSM."""
    site.softhsm.write_text("".join(f"directories.{name} = {at(site, value)}\n" for name, value in values.items()))

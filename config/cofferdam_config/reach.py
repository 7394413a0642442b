"""Where the service's own files are, and that no module is let near them."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from cofferdam_config.check import Document
from cofferdam_config.errors import Report
from cofferdam_config.keks import kek_file, kek_sections
from cofferdam_config.pkcs11 import pin_file, pkcs11_sections
from cofferdam_config.surroundings import Surroundings
from cofferdam_config.tables import KEY_MANAGER, LISTENER, SERVICE, STATUS_SOCKET
from cofferdam_config.tpm import SECRETS, tpm_sections
from cofferdam_contracts.folders import SYSTEM_FOLDERS, holds, normal


@dataclass(frozen=True, slots=True)
class _Own:
    """A file or folder of the service."""

    what: str
    path: str
    within: bool = False
    """Whether what is below it is out of reach too."""


def status_path(document: Document) -> str | None:
    """Return where the status socket is: beside that for clients, unless it has a path of its own."""
    socket_path = document.one(LISTENER).find("socket_path", str)
    beside = f"{socket_path.rpartition('/')[0]}/{STATUS_SOCKET}" if socket_path else None
    return document.one(SERVICE).find("status_path", str) or beside


def modules_stay_away(document: Document, report: Report, surroundings: Surroundings) -> None:
    """Refuse to open folders of the whole machine, or files of the service, to a module."""
    own = tuple(_own(document, surroundings))
    written = own
    if report.file.startswith("/"):
        written = (*own, _Own("the configuration", normal(report.file)))
    for section in pkcs11_sections(document):
        for key, closed in (("module_readable", own), ("module_writable", written)):
            for index, path in enumerate(section.texts(key)):
                _check(path, closed, (*section.path, key, index), report)
        state_folder = section.find("state_folder", str)
        if state_folder is not None:
            _check(state_folder, written, (*section.path, "state_folder"), report)


def _check(path: str, closed: tuple[_Own, ...], where: tuple[str | int, ...], report: Report) -> None:
    path = normal(path)
    if path in SYSTEM_FOLDERS:
        report.refuse(where, "a folder of the whole machine", "a file, or a folder further down")
        return
    for own in closed:
        if holds(path, own.path):
            report.refuse(where, f"a path that holds {own.what}", "one that does not")
            return
        if own.within and holds(own.path, path):
            report.refuse(where, f"a path within {own.what}", "one elsewhere")
            return


def _own(document: Document, surroundings: Surroundings) -> Iterator[_Own]:
    for section in document.all(KEY_MANAGER):
        database = section.find("sqlite_db_path", str)
        if database is not None:
            yield _Own("the folder of the key store", posixpath.dirname(normal(database)), within=True)
    for section in kek_sections(document):
        yield _Own("the key-encryption key", normal(kek_file(section, surroundings)))
    for section in pkcs11_sections(document):
        pin = pin_file(section, surroundings)
        if pin is not None:
            yield _Own("a PIN", normal(pin))
    for section in tpm_sections(document):
        for password in (secret.file_of(section, surroundings) for secret in SECRETS):
            if password is not None:
                yield _Own("a password", normal(password))
    # What is beside the sockets can be anybody's; who may write in their folder could put others in their place.
    for socket in (document.one(LISTENER).find("socket_path", str), status_path(document)):
        if socket is not None:
            yield _Own("the folder of a socket", posixpath.dirname(normal(socket)))
            yield _Own("a socket", normal(socket))

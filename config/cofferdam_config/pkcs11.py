"""What the keys of a PKCS#11 provider come to, and what they have to say together."""

import dataclasses
import posixpath
from collections.abc import Iterator
from typing import Final

from cofferdam_config import token_uri
from cofferdam_config.check import Document, Section
from cofferdam_config.errors import Report
from cofferdam_config.keks import KEKS, kek_file
from cofferdam_config.provider_table import PIN_CREDENTIAL, PROVIDER
from cofferdam_config.secret import Secret
from cofferdam_config.surroundings import Surroundings
from cofferdam_config.tables import KIM
from cofferdam_config.token_uri import TokenUri, unpadded
from cofferdam_contracts.settings import Pkcs11Settings, TokenMatch, WorkerSettings

_STATE_FOLDER: Final = "pkcs11"
_ANY: Final = TokenUri(
    match=TokenMatch(**dict.fromkeys((field.name for field in dataclasses.fields(TokenMatch)), None)),
    pin_file=None,
    module_path=None,
)
"""What no URI says."""
PIN: Final = Secret(what="PIN", plain="user_pin", file="user_pin_file", credential=PIN_CREDENTIAL)


def pkcs11_settings(
    section: Section, worker: WorkerSettings, surroundings: Surroundings, document: Document
) -> Pkcs11Settings:
    """Return the settings of the worker of a PKCS#11 provider."""
    return Pkcs11Settings(
        worker=worker,
        library_path=section.text("library_path"),
        token=_token(section),
        slot_number=section.find("slot_number", int),
        pin=PIN.octets_of(section, surroundings),
        pin_file=pin_file(section, surroundings),
        kek_file=kek_file(section, surroundings),
        kek_create=KEKS["Pkcs11"].credential not in surroundings.credentials,
        state_folder=section.find("state_folder", str) or posixpath.join(surroundings.state_folder, _STATE_FOLDER),
        software_public_operations=section.flag("software_public_operations"),
        allow_export=section.flag("allow_export"),
        give_back=document.one(KIM).flag("give_back"),
        environment=section.texts("module_environment"),
        readable=section.texts("module_readable"),
        writable=section.texts("module_writable"),
        needs=section.texts("module_needs"),
        quirks=section.texts("quirks"),
        groups=module_groups(section, surroundings),
    )


def pin_file(section: Section, surroundings: Surroundings) -> str | None:
    """Return the file of a provider's PIN; None when there is none."""
    return PIN.file_of(section, surroundings) or _uri(section).pin_file


def module_groups(section: Section, surroundings: Surroundings) -> tuple[int, ...]:
    """Return the supplementary groups of a provider's worker, in order; none for a name that there is not."""
    gids = (_gid(group, surroundings) for group in section.find("module_groups", list) or ())
    return tuple(sorted({gid for gid in gids if gid is not None}))


def pkcs11_sections(document: Document) -> Iterator[Section]:
    """Return the PKCS#11 providers."""
    return (section for section in document.all(PROVIDER) if section.find("provider_type", str) == "Pkcs11")


def token_is_named_once(document: Document, report: Report, _: Surroundings) -> None:
    """Refuse a URI that contradicts the keys beside it."""
    for section in pkcs11_sections(document):
        uri = _uri(section)
        for key, attribute, other in (
            ("serial_number", "serial", uri.match.serial),
            ("token_label", "token", uri.match.label),
        ):
            value = unpadded(section.find(key, str))
            if value is not None and other is not None and value != other:
                report.refuse(
                    (*section.path, "token_uri"), f"another {attribute} than {key}", "the same, or one of them"
                )
        library = section.find("library_path", str)
        if uri.module_path is not None and library is not None and uri.module_path != library:
            report.refuse((*section.path, "token_uri"), "another module-path than library_path", "the same, or none")


def pin_has_one_source(document: Document, report: Report, surroundings: Surroundings) -> None:
    """Refuse two PINs; say which one is not used, and that the configuration is no place for one."""
    for section in pkcs11_sections(document):
        PIN.check(section, report, surroundings, pin_source=_uri(section).pin_file)


def groups_exist(document: Document, report: Report, surroundings: Surroundings) -> None:
    """Refuse groups that there are not, and that of root."""
    for section in pkcs11_sections(document):
        groups = section.find("module_groups", list) or ()
        for index, group in enumerate(groups):
            path = (*section.path, "module_groups", index)
            gid = _gid(group, surroundings)
            if gid is None:
                report.refuse(path, "a name that no group has", "the name of a group, or its number")
            elif gid == 0:
                report.refuse(path, "the group of root", "another group")
        if groups and not surroundings.is_root:
            report.warn((*section.path, "module_groups"), "has no effect, as the service was not started as root")


def _uri(section: Section) -> TokenUri:
    text = section.find("token_uri", str)
    return _ANY if text is None else token_uri.parse(text)


def _token(section: Section) -> TokenMatch:
    match = _uri(section).match
    match = dataclasses.replace(
        match,
        serial=unpadded(section.find("serial_number", str)) if match.serial is None else match.serial,
        label=unpadded(section.find("token_label", str)) if match.label is None else match.label,
    )
    # Numbers of slots change with what is plugged in, so one counts only where it is all there is.
    return dataclasses.replace(match, slot_id=section.find("slot_number", int)) if match == _ANY.match else match


def _gid(group: object, surroundings: Surroundings) -> int | None:
    return group if isinstance(group, int) else surroundings.groups.get(str(group))

"""What the keys of a TPM provider come to, and what they have to say together."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from cofferdam_config import tcti
from cofferdam_config.check import Document, Section
from cofferdam_config.errors import Report
from cofferdam_config.keks import KEKS, kek_file
from cofferdam_config.provider_table import ENDORSEMENT_AUTH_CREDENTIAL, OWNER_AUTH_CREDENTIAL, PROVIDER
from cofferdam_config.secret import Secret
from cofferdam_config.surroundings import Surroundings
from cofferdam_config.tables import KIM
from cofferdam_contracts.settings import TctiSettings, TpmSettings, WorkerSettings

OWNER: Final = Secret(
    what="password",
    plain="owner_hierarchy_auth",
    file="owner_hierarchy_auth_file",
    credential=OWNER_AUTH_CREDENTIAL,
)
ENDORSEMENT: Final = Secret(
    what="password",
    plain="endorsement_hierarchy_auth",
    file="endorsement_hierarchy_auth_file",
    credential=ENDORSEMENT_AUTH_CREDENTIAL,
)
SECRETS: Final = (OWNER, ENDORSEMENT)
_DEVICES: Final = "/dev/tpm"
"""How the paths of those begin that `Surroundings.devices` knows."""
_GROUP: Final = "tss"
"""Whom the rules of tpm-udev, and the resource manager daemon, let in."""
_OF_THE_GROUP: Final = frozenset({"device", "tabrmd"})


def tpm_settings(
    section: Section, worker: WorkerSettings, surroundings: Surroundings, document: Document
) -> TpmSettings:
    """Return the settings of the worker of a TPM."""
    return TpmSettings(
        worker=worker,
        tcti=_tcti(section),
        owner_auth=OWNER.octets_of(section, surroundings),
        owner_auth_file=OWNER.file_of(section, surroundings),
        endorsement_auth=ENDORSEMENT.octets_of(section, surroundings),
        endorsement_auth_file=ENDORSEMENT.file_of(section, surroundings),
        skip_if_no_tpm=section.flag("skip_if_no_tpm"),
        kek_file=kek_file(section, surroundings),
        kek_create=KEKS["Tpm"].credential not in surroundings.credentials,
        give_back=document.one(KIM).flag("give_back"),
        application_parents=section.flag("application_parents"),
        bus_protection=section.flag("bus_protection"),
        groups=tpm_groups(section, surroundings),
    )


def tpm_groups(section: Section, surroundings: Surroundings) -> tuple[int, ...]:
    """Return the supplementary groups of the worker: the one that may use the machine's TPM, where there is one."""
    gid = surroundings.groups.get(_GROUP)
    return (gid,) if gid is not None and _tcti(section).kind in _OF_THE_GROUP else ()


def tpm_sections(document: Document) -> Iterator[Section]:
    """Return the TPM providers."""
    return (section for section in document.all(PROVIDER) if section.find("provider_type", str) == "Tpm")


def without_absent(document: Document, report: Report, surroundings: Surroundings) -> Document:
    """Leave out the providers of TPMs that there are not, where `skip_if_no_tpm` says so.

    Only a device shows whether it is there; whether a simulator or a daemon is, its worker finds out.
    """
    absent = [section for section in tpm_sections(document) if _is_absent(section, surroundings)]
    for section in absent:
        # Uids go by the place of a provider among those that are served.
        text = f"the provider is left out, as there is no {_tcti(section).path}"
        if section is not document.all(PROVIDER)[-1]:
            text += "; the workers of those after it have a uid that is one less, so it had better be the last"
        report.warn((*section.path, "skip_if_no_tpm"), text)
    remaining = tuple(section for section in document.all(PROVIDER) if section not in absent)
    if not remaining:
        report.refuse((PROVIDER.name,), "no provider that is left", "at least one whose device is there")
    return replace(document, sections={**document.sections, PROVIDER.name: remaining})


def _is_absent(section: Section, surroundings: Surroundings) -> bool:
    tcti = _tcti(section)
    return (
        section.flag("skip_if_no_tpm")
        and tcti.kind == "device"
        and tcti.path is not None
        and tcti.path.startswith(_DEVICES)
        and tcti.path not in surroundings.devices
    )


def passwords_have_one_source(document: Document, report: Report, surroundings: Surroundings) -> None:
    """Refuse two passwords of a hierarchy, and none of the owner's."""
    for section in tpm_sections(document):
        for secret in SECRETS:
            secret.check(section, report, surroundings)
        path = (*section.path, OWNER.plain)
        given = OWNER.octets_of(section, surroundings), OWNER.file_of(section, surroundings)
        if given == (None, None) and not report.is_refused(path) and not report.is_refused((*section.path, OWNER.file)):
            report.refuse(path, "nothing", f"a string, which may be empty; or {OWNER.file}")


def parents_can_be_given_back(document: Document, report: Report, _: Surroundings) -> None:
    """Refuse keys for Parsec that it could not load."""
    for section in tpm_sections(document):
        if section.find("application_parents", bool) and document.one(KIM).find("give_back", bool):
            report.refuse(
                (*section.path, "application_parents"),
                "true beside kim.give_back",
                "one of them, as Parsec cannot load keys that have another parent than its own",
            )


def way_to_the_tpm_is_sound(document: Document, report: Report, _: Surroundings) -> None:
    """Say what others may overhear, and what cannot be reached."""
    for section in tpm_sections(document):
        text = section.find("tcti", str)
        if text is None:
            continue
        way = tcti.parse(text)
        if section.find("bus_protection", bool) is False and way.kind != "device":
            report.warn(
                (*section.path, "bus_protection"),
                "passwords and keys go to the TPM in the clear, through more than a device of this machine",
            )
        if way.bus_type == "session":
            report.warn((*section.path, "tcti"), "the worker belongs to no session, so it will not find this bus")


def _tcti(section: Section) -> TctiSettings:
    return tcti.parse(section.text("tcti"))

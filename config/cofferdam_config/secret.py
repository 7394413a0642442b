"""What a device wants to be told before it works, such as a PIN: its forms, and the places where it can be."""

from dataclasses import dataclass
from typing import Final

from cofferdam_config.check import Section
from cofferdam_config.errors import Report
from cofferdam_config.surroundings import Surroundings

_HEX: Final = "hex:"
_PLAIN: Final = "str:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret of a device."""

    what: str
    """The word for it."""
    plain: str
    """The key that has it in itself."""
    file: str
    """The key that names a file with it."""
    credential: str
    """The systemd credential that takes the place of both."""

    def octets_of(self, section: Section, surroundings: Surroundings) -> str | None:
        """Return its bytes in hexadecimal when it counts what the configuration itself has."""
        text = section.find(self.plain, str)
        return None if text is None or self.credential in surroundings.credentials else octets(text).hex()

    def file_of(self, section: Section, surroundings: Surroundings) -> str | None:
        """Return the file that it is in."""
        return surroundings.credentials.get(self.credential) or section.find(self.file, str)

    def check(
        self, section: Section, report: Report, surroundings: Surroundings, *, pin_source: str | None = None
    ) -> None:
        """Refuse two of it; say which one is not used, and that the configuration is no place for one.

        Args:
            section: The provider.
            report: What is said.
            surroundings: Where the credentials are.
            pin_source: The file that `token_uri` names.
        """
        sources = {
            self.plain: section.find(self.plain, str),
            self.file: section.find(self.file, str),
            "token_uri": pin_source,
        }
        given = {key: value for key, value in sources.items() if value is not None}
        files = {value for key, value in given.items() if key != self.plain}
        if len(files) + (self.plain in given) > 1:
            *_, last = given
            found = "pin-source" if last == "token_uri" else f"a {self.what}"
            report.refuse(
                (*section.path, last), f"{found} beside {next(iter(given))}", f"one place for the {self.what}"
            )
        elif self.credential in surroundings.credentials:
            for key in given:
                what = "its pin-source is not used" if key == "token_uri" else "not used"
                report.warn((*section.path, key), f"{what}, as the credential {self.credential} takes its place")
        elif octets(given.get(self.plain, "")):
            report.warn(
                (*section.path, self.plain),
                f"{self.file} or the credential {self.credential} would keep the {self.what} out of the configuration",
            )


def octets(text: str) -> bytes:
    """Return the bytes that a text stands for: its own, or those after `hex:`."""
    if text.startswith(_HEX):
        return bytes.fromhex(text.removeprefix(_HEX))
    return text.removeprefix(_PLAIN).encode()

"""The PIN: read once, and never tried again after the token refused it.

A token counts wrong PINs and locks itself, so a worker that is restarted repeatedly must not log in repeatedly. An
attempt is recorded in a file before it is made: as a salted scrypt digest of PIN and token, so that another PIN, or
another token, is a different attempt. The file is accessible only to the worker; for a PIN of a few digits the digest
is slow to invert, not impossible, but whoever may read it is the process that knows the PIN anyway.
"""

import hashlib
import hmac
import json
import os
from typing import Final

from cofferdam_providers.base.secret_file import SecretFileError, read_secret
from cofferdam_runtime.faults import explain

_MOST_PIN: Final = 1024
_SALT: Final = 16
_SCRYPT: Final = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 32, "maxmem": 1 << 26}
UNCERTAIN: Final = 2
"""How many attempts may end without a known outcome (the process died in between) before no further one is made."""
_FILE: Final = "login"
FILES: Final = frozenset({_FILE, f"{_FILE}.new"})
"""The file's name in the folder."""


class PinError(Exception):
    """Raised when a PIN cannot be read or trusted, or the attempt cannot be recorded; the text says what to do."""


class PinRefusedError(Exception):
    """Raised when a PIN must not be tried (again); the text says why and what to do."""


def read_pin(path: str) -> bytes:
    """Return the PIN in a file, without a trailing newline.

    Raises:
        PinError: It cannot be read, is readable by others, is empty or too long.
    """
    try:
        pin = read_secret(path, _MOST_PIN + 1).removesuffix(b"\n")
    except FileNotFoundError as error:
        raise PinError(explain(error, path, "a file with the PIN", "provider.user_pin_file")) from error
    except SecretFileError as error:
        raise PinError(str(error)) from error
    if not 0 < len(pin) <= _MOST_PIN:
        raise PinError(
            f"{path}: found {len(pin)} bytes, needed a PIN of 1 to {_MOST_PIN} bytes; put the token's PIN there"
        )
    return pin


class Attempts:
    """The record of logins with one PIN to one token."""

    def __init__(self, folder: str, pin: bytes, token: str, change: str = "reload") -> None:
        """Read the record in the worker's own folder; without a folder, nothing is recorded.

        `change` is what makes another PIN known.

        Raises:
            PinError: The file cannot be read or is damaged.
        """
        self._path = os.path.join(folder, _FILE) if folder else ""
        self._change = change
        self._secret = len(pin).to_bytes(2, "big") + pin + token.encode()
        self._salt, self._uncertain, self._refused = os.urandom(_SALT), 0, ""
        self.failed_before = False
        """Whether the last login of this service failed, with this PIN or another one."""
        if not folder:
            return
        try:
            with open(self._path, "rb") as file:
                kept = json.loads(file.read(_MOST_PIN))
            self.failed_before = bool(kept["uncertain"] or kept["refused"])
            salt, digest = bytes.fromhex(kept["salt"]), bytes.fromhex(kept["digest"])
            if hmac.compare_digest(self._digest(salt), digest):
                self._salt, self._uncertain, self._refused = salt, int(kept["uncertain"]), str(kept["refused"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
            raise PinError(f"{self._path}: {error}; remove it when the PIN is known to be right") from error

    def begin(self) -> None:
        """Record that a login is about to be tried.

        Raises:
            PinRefusedError: This PIN must not be tried.
            PinError: The attempt cannot be recorded, and therefore not be made.
        """
        if self._refused:
            raise PinRefusedError(
                f"the token refused this PIN before ({self._refused}), so it is not tried again; correct the PIN, "
                f"or remove {self._path} if it is right now, then {self._change} the service"
            )
        if self._uncertain >= UNCERTAIN:
            raise PinRefusedError(
                f"{self._uncertain} logins with this PIN ended without an answer, so it is not tried again; look after "
                f"the token, then remove {self._path} and {self._change} the service"
            )
        self._uncertain += 1
        self._keep()

    def succeeded(self) -> None:
        """Delete the record: the PIN is right.

        Raises:
            PinError: It cannot be deleted, so that later starts would take it for an attempt without an outcome.
        """
        if not self._path:
            return
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass  # somebody who knows that the PIN is right removed it
        except OSError as error:
            needed = "a record of logins that can be removed"
            raise PinError(explain(error, self._path, needed, "provider.state_folder")) from error

    def unanswered(self) -> None:
        """Withdraw the attempt: the token failed before it checked the PIN."""
        self._uncertain -= 1
        self._keep()

    def refused(self, reason: str) -> None:
        """Record for good that the token refused the PIN."""
        self._refused = reason
        self._keep()

    def _digest(self, salt: bytes) -> bytes:
        return hashlib.scrypt(self._secret, salt=salt, **_SCRYPT)

    def _keep(self) -> None:
        if not self._path:
            return
        kept = {
            "salt": self._salt.hex(),
            "digest": self._digest(self._salt).hex(),
            "uncertain": self._uncertain,
            "refused": self._refused,
        }
        temporary = f"{self._path}.new"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(kept).encode())
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, self._path)
        except OSError as error:
            needed = "a record of logins that can be written"
            raise PinError(explain(error, self._path, needed, "provider.state_folder")) from error

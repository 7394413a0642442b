"""A token of another vendor than SoftHSM, with different behaviour: the database of NSS, in a folder of its own.

NSS takes the place of its database from a string that is given to C_Initialize, which no other module wants; the shim
before it adds the string. The process reads and writes cert9.db and key4.db in the folder, which are SQLite.
"""

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.harness.pkcs11.shim import Shim
from tests.harness.pkcs11.token import PIN, Token, find_module, give

_MODULE: Final = "libsoftokn3.so"
SLOT: Final = 2
"""The slot of the database; slot 1 has ciphers and no keys."""
SERIAL: Final = "0" * 16
"""What NSS says of every token, also of that in slot 1."""
_PARAMETERS: Final = "certPrefix='' keyPrefix='' secmod='' flags="
_FOLDERS: Final = (
    "/usr/lib/{machine}-linux-gnu",
    "/usr/lib/{machine}-linux-gnu/nss",
    "/usr/lib64",
    "/usr/lib/nss",
    "/usr/lib",
)


def second(folder: Path, *, label: str = "cofferdam", pin: str = PIN, uid: int | None = None) -> tuple[Token, Shim]:
    """Make a token in an empty folder, and return it with the shim before it.

    Args:
        folder: Gets the shim, and the database in `database`.
        label: What the token is called.
        pin: The user's; there is no other.
        uid: Who gets the database; whoever runs the tests if None.
    """
    database = folder / "database"
    database.mkdir(mode=0o700, parents=True)
    password = folder / "password"
    password.write_text(f"{pin}\n")
    subprocess.run(
        ["certutil", "-N", "-d", f"sql:{database}", "-f", str(password)], check=True, capture_output=True, timeout=30
    )
    os.unlink(password)
    give(database, uid)
    shim = Shim(
        folder / "shim",
        find_module(_MODULE, _FOLDERS),
        name=_MODULE,
        parameters=f"configdir='sql:{database}' {_PARAMETERS} dbTokenDescription='{label}'",
    )
    token = Token(folder=database, library=shim.library, environment={}, label=label, serial=SERIAL, slot=SLOT, pin=pin)
    return token, shim

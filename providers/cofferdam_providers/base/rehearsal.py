"""The end of a rehearsal (`cofferdam check --devices`): what is known once the process is confined."""

import os
from typing import Any, NoReturn

from cofferdam_providers.base.key_encryption_key import KeyEncryptionKey
from cofferdam_providers.base.provider import Provider
from cofferdam_providers.base.row_codes import RowCodes, key_name
from cofferdam_runtime.entry import Start
from cofferdam_runtime.log import Log
from cofferdam_runtime.rehearsal import Rehearsal, Stored


def conclude(start: Start, log: Log, provider: Provider[Any], kek: KeyEncryptionKey) -> NoReturn:
    """Say which key-encryption key there is and what the provider finds out, and exit."""
    stored = Rehearsal.of(start.arguments).stored
    _compare(log, RowCodes(kek.key, provider).check, kek, stored)
    provider.rehearse(log)
    provider.close()
    # The lane's thread still waits for work.
    os._exit(0)


def _compare(log: Log, check: bytes, kek: KeyEncryptionKey, stored: Stored | None) -> None:
    if kek.is_new:
        log.info("a new key-encryption key would be made", file=kek.path)
    elif stored is None:
        log.info("the key-encryption key could not be compared with the stored rows", file=kek.path)
    elif stored.check and stored.check != check:
        log.error(
            "the key-encryption key is not that of the stored rows",
            file=kek.path,
            expected=key_name(stored.check),
            found=key_name(check),
            remedy="put the right key there",
        )
    elif not stored.check:
        log.info("the key store has not seen the key-encryption key yet", file=kek.path, id=key_name(check))
    else:
        log.info("the key-encryption key is that of the stored rows", file=kek.path, id=key_name(check))
    if stored is not None:
        log.info("the key store was read", rows=stored.rows)

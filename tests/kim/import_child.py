"""Uses everything of the store and prints what was imported after the modules were: `import_child.py DATABASE`."""

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("contracts", "runtime", "kim", ".")]

from tests.kim.support import ECDSA, MBED, PROVIDERS, alone, answer, mapping_row, name, reference_database  # noqa: E402

from cofferdam_contracts.ipc.keystore import CODED_ROW, KimMessage  # noqa: E402
from cofferdam_contracts.settings import AuthenticatorSettings  # noqa: E402
from cofferdam_kim.service import FrontendPeer, KimService, WorkerPeer  # noqa: E402
from cofferdam_kim.store import MappingStore  # noqa: E402


def main() -> None:
    """Ask every question, also those that fail."""
    path = Path(sys.argv[1])
    bad = mapping_row(name("bad", application="ключ"))
    bad[7] = b"bad"
    reference_database(path, [bad])
    late: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("import", "open", "exec", "compile"):
            late.append(f"{event} {arguments[0]}")

    sys.addaudithook(watch)
    store = MappingStore.open(str(path), PROVIDERS)
    service = KimService(alone(store), PROVIDERS, (AuthenticatorSettings(auth_type=3, admins=("0",)),))
    worker, key, record = WorkerPeer(MBED), (3, "1000", "ключ"), (b"", 2, ECDSA, b"code")
    statuses = [
        answer(service, peer, number, fields)[0]
        for peer, number, fields in (
            (worker, KimMessage.RESERVE, key + record),
            (worker, KimMessage.PENDING, ()),
            (worker, KimMessage.ENROL, (b"check", 1, b"seal")),
            (worker, KimMessage.ACTIVATE, (*key, *record, b"seal")),
            (worker, KimMessage.STATE, ()),
            (worker, KimMessage.ROWS, (0,)),
            (worker, KimMessage.ADOPT, (CODED_ROW.pack(2, b"code"), b"seal")),
            (worker, KimMessage.LOOKUP, key),
            (worker, KimMessage.LOOKUP, (3, "ключ", "bad")),
            (worker, KimMessage.CLIENT_KEYS, (3, "1000")),
            (FrontendPeer(1000), KimMessage.LIST_KEYS, (3, "")),
            (FrontendPeer(0), KimMessage.LIST_CLIENTS, (3, "")),
            (worker, KimMessage.MARK_DELETING, (*key, b"code", b"seal")),
            (worker, KimMessage.REMOVE, key),
            (worker, KimMessage.CANCEL, key),
        )
    ]
    list(store.report.warnings())
    store.close()
    # A damaged database takes another way.
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(100))
    late.pop()
    try:
        MappingStore.open(str(path), PROVIDERS).close()
    except Exception as error:  # noqa: BLE001  whatever it is, it must not import
        str(error)
    os.write(1, "\n".join([*late, f"asked {len(statuses)}"]).encode())


if __name__ == "__main__":
    main()

"""The command that converts key stores, started as an operator starts it."""

import subprocess
import sys
from pathlib import Path

from tests.kim.support import MBED, RECORD, create, name, open_on_disk, open_store


def test_a_store_is_converted(tmp_path: Path) -> None:
    database, folder = tmp_path / "kim" / "kim.sqlite3", tmp_path / "mappings"
    store = open_store(database)
    create(store, name())
    store.close()
    command = [sys.executable, "-m", "cofferdam_cli", "store", "convert"]
    ended = subprocess.run([*command, "to-files", database, folder], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("rows with mapping files: 1; ")
    assert ended.stderr == ""
    converted = open_on_disk(folder)
    assert converted.lookup(MBED, name()) == RECORD
    converted.close()
    again = subprocess.run([*command, "to-files", database, folder], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("not converted: ")
    absent = subprocess.run(
        [*command, "to-files", tmp_path / "gone", folder], capture_output=True, text=True, check=False
    )
    said = f"not converted: found nothing at {tmp_path / 'gone'}, needed a key store"
    assert (absent.returncode, absent.stderr[: len(said)]) == (1, said)
    wrong = subprocess.run([*command, "to-nothing"], capture_output=True, check=False)
    assert wrong.returncode == 2

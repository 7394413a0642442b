"""Rows of the key store that were changed, swapped or removed, and the keys that authenticate rows.

What a program that writes to the database can do is done to it while the service is stopped. The clients are those of
Direct, so that a normal user's run has several of them as well.
"""

import re
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest
from tests.harness.answers import refused
from tests.harness.configuration import Tables
from tests.harness.pkcs11.service import TokenService
from tests.harness.service import Service
from tests.harness.tpm.service import TpmService
from tests.harness.watch import wait_for

from cofferdam_client import (
    Client,
    Direct,
    Hash,
    Status,
    ecc_signing_key,
    ecdsa,
)
from cofferdam_contracts.ipc.limits import MAX_ANSWER

ECDSA = ecdsa(Hash.SHA_256)
DIGEST = bytes(32)
VICTIMS = ("ann", "ben")
NAMES = (*VICTIMS, "cleo")
"""Rows of the first two are exchanged; the third is not involved."""
TABLES: Tables = {"limits": {"answer_timeout_ms": 1000}}
REFUSED = "a stored key is refused; restore its row from a backup"
PUT_BACK = "codes of rows were removed or put back"
_SWAP = """
    UPDATE {table} SET {column} = (SELECT other.{column} FROM before AS other WHERE other.key_name = {table}.key_name
        AND other.application_name = CASE {table}.application_name WHEN 'ann' THEN 'ben' ELSE 'ann' END)
    WHERE {of}"""


def _swapped(table: str, column: str, of: str) -> tuple[str, ...]:
    """Return statements that exchange a column of the two victims' rows."""
    return (
        "DROP TABLE IF EXISTS temp.before",
        f"CREATE TEMP TABLE before AS SELECT * FROM {table}",
        _SWAP.format(table=table, column=column, of=of),
    )


_IDS = ("key_mapping", "key_id")
_CODES = ("cofferdam_codes", "code")
TAMPERING: dict[str, Callable[[str], tuple[str, ...]]] = {
    "ids swapped": lambda of: _swapped(*_IDS, of),
    "ids and codes swapped": lambda of: (*_swapped(*_IDS, of), *_swapped(*_CODES, of)),
    "codes emptied": lambda of: (*_swapped(*_IDS, of), f"UPDATE cofferdam_codes SET code = x'' WHERE {of}"),
    "codes of another type": lambda of: (*_swapped(*_IDS, of), f"UPDATE cofferdam_codes SET code = 'x' WHERE {of}"),
    "names changed": lambda of: (
        f"UPDATE key_mapping SET application_name = 'x' WHERE {of} AND application_name = 'ann'",
        f"UPDATE key_mapping SET application_name = 'ann' WHERE {of} AND application_name = 'ben'",
        f"UPDATE key_mapping SET application_name = 'ben' WHERE {of.replace('ann', 'x')} AND application_name = 'x'",
    ),
    "attributes changed": lambda of: (
        (
            f"UPDATE key_mapping SET key_attributes = (SELECT key_attributes FROM key_mapping WHERE key_name = 'wider')"
            f" WHERE {of}"
        ),
    ),
    "codes taken away": lambda of: (*_swapped(*_IDS, of), f"DELETE FROM cofferdam_codes WHERE {of}"),
}
"""By what is done, the statements that do it to the two victims' rows of which the text is true."""


def _of(key: str) -> str:
    return f"key_name = '{key}' AND application_name IN ('ann', 'ben')"


class Store:
    """A service with a device, stopped and started again, and its database in between."""

    def __init__(self, running: TokenService | TpmService, provider: int) -> None:
        self.running, self.service, self.provider = running, running.service, provider
        self.database = self.service.folder / "kim" / "kim.sqlite3"

    def client(self, name: str) -> Client:
        return Client(self.service.endpoint, provider=self.provider, auth=Direct(name))

    def make(self, name: str, key: str = "k", hash_alg: Hash = Hash.SHA_256) -> None:
        with self.client(name) as client:
            client.generate_key(key, ecc_signing_key(hash_algorithm=hash_alg))

    def use(self, name: str, key: str = "k") -> bytes:
        """Sign and verify; return the public part, which tells keys apart."""
        with self.client(name) as client:
            client.verify_hash(key, DIGEST, client.sign_hash(key, DIGEST, ECDSA), ECDSA)
            return client.export_public_key(key)

    def is_refused(self, name: str, key: str = "k") -> None:
        """Check that a key is refused, whatever is asked of it, and listed all the same."""
        with self.client(name) as client:
            asked: tuple[Callable[[], object], ...] = (
                lambda: client.sign_hash(key, DIGEST, ECDSA),
                lambda: client.export_public_key(key),
                lambda: client.destroy_key(key),
            )
            for ask in asked:
                with refused(Status.PSA_ERROR_CORRUPTION_DETECTED):
                    ask()
            assert key in [found.name for found in client.list_keys()]

    def between(self, *statements: str, without: str | None = None) -> None:
        """Change the database while the service is stopped, and remove a file of its folder."""
        self.service.stop()
        if without is not None:
            (self.service.folder / without).unlink()
        with closing(sqlite3.connect(self.database)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        self.running.start()

    def replaced_by(self, database: Path) -> None:
        """Put another database in place of this one."""
        self.service.stop()
        shutil.copyfile(database, self.database)
        self.running.start()


def token_service(*, give_back: bool) -> Store:
    tables: Tables = {**TABLES, "kim": {"give_back": give_back}}
    return Store(TokenService(tables=tables, authenticators=["Direct"]), 2)


def tpm_service() -> Store:
    """Return one whose rows are in the reference's form: those of our own are encrypted."""
    return Store(TpmService(tables={**TABLES, "kim": {"give_back": True}}, authenticators=["Direct"]), 3)


@pytest.mark.parametrize("kind", ["software", "token", "token, in the form of the reference", "TPM"])
def test_a_row_that_was_changed_is_refused_and_the_others_are_served(kind: str, tmp_path: Path) -> None:
    made = tpm_service() if kind == "TPM" else token_service(give_back=kind != "token")
    if kind == "software":
        made = Store(made.running, 1)
    with made.running:
        made.make("cleo")
        made.make("cleo", "wider", Hash.SHA_384)
        for name, key in product(VICTIMS, TAMPERING):
            made.make(name, key)
        before = {(name, key): made.use(name, key) for name, key in product(VICTIMS, TAMPERING)}
        hers = made.use("cleo")
        made.service.stop()
        sound = shutil.copyfile(made.database, tmp_path / "sound")
        made.running.start()
        made.between(*(statement for key, tampering in TAMPERING.items() for statement in tampering(_of(key))))
        for name, key in before:
            made.is_refused(name, key)
        assert made.use("cleo") == hers
        assert made.service.log().count(REFUSED) == len(before)
        # Nothing was done to the keys: with the right rows they work.
        made.replaced_by(sound)
        assert {(name, key): made.use(name, key) for name, key in before} == before


def test_rows_of_the_reference_are_believed_once_and_held_to_it() -> None:
    with (made := token_service(give_back=True)).running:
        for name in (*NAMES, "later"):
            made.make(name)
        before = {name: made.use(name) for name in NAMES}
        # As the reference service leaves its database: with a key of ours that was there before, they are not believed.
        tables = tuple(f"DROP TABLE cofferdam_{table}" for table in ("codes", "providers", "codes_metadata"))
        made.between(*tables)
        made.is_refused("ann")
        made.between(*tables, without=KEYS["Pkcs11"][1])
        assert {name: made.use(name) for name in NAMES} == before
        # What comes later is not believed with an object that has its owner.
        made.between(
            *_swapped(*_IDS, _of("k")),
            "INSERT INTO key_mapping SELECT authenticator_id, 'thief', key_name, provider_uuid, provider_name, key_id,"
            " key_id_version, key_attributes, key_attributes_version FROM key_mapping WHERE application_name = 'cleo'",
        )
        for name in (*VICTIMS, "thief"):
            made.is_refused(name)
        assert made.use("later")
        # Nobody gets a row believed again by taking its code away, nor the seal of the codes, nor all that is kept.
        for taken in (
            (f"DELETE FROM cofferdam_codes WHERE {_of('k')}",),
            ("UPDATE cofferdam_providers SET seal = x''",),
            ("DELETE FROM cofferdam_codes", "UPDATE cofferdam_providers SET seal = x''"),
            ("DELETE FROM cofferdam_codes", "DELETE FROM cofferdam_providers"),
        ):
            seen = made.service.log().count(PUT_BACK)
            made.between(*taken)
            assert made.service.log().count(PUT_BACK) > seen
            made.is_refused("ben")
        # Only the administrator does, for one start.
        for adopt in (True, False):
            made.running.set_table("kim", give_back=True, adopt_rows=adopt)
            made.between()
            assert made.use("ben") == before["ann"]
        assert made.service.log().count("rows of the key store were trusted as they are") == 2


def test_a_key_is_not_destroyed_because_a_row_says_so() -> None:
    columns = "authenticator_id, application_name, key_name, provider_uuid, provider_name, key_id, key_id_version"
    columns += ", key_attributes, key_attributes_version"
    with (made := token_service(give_back=False)).running:
        made.make("ann")
        before = made.use("ann")
        made.between(
            f"INSERT INTO cofferdam_pending ({columns}, state) SELECT {columns}, 2 FROM key_mapping",
            "CREATE TABLE saved AS SELECT * FROM key_mapping",
            "DELETE FROM key_mapping",
        )
        made.make("ben")
        assert "a half-made or half-destroyed key remains, as its row was changed" in made.service.log()
        made.between("DELETE FROM cofferdam_pending", "INSERT INTO key_mapping SELECT * FROM saved", "DROP TABLE saved")
        assert made.use("ann") == before


KEYS = {"MbedCrypto": (1, "kek/software.kek"), "Pkcs11": (2, "kek/pkcs11.kek"), "Tpm": (3, "tpm.kek")}
"""The number of each type of provider, and the file of its key in the service's folder."""


@pytest.mark.parametrize("kind", KEYS)
def test_a_provider_without_its_key_is_disabled_and_makes_no_other(kind: str, tmp_path: Path) -> None:
    provider, name = KEYS[kind]
    if kind == "Tpm":
        running: TokenService | TpmService = TpmService(tables=TABLES, authenticators=["Direct"])
    else:
        running = TokenService(tables=TABLES, authenticators=["Direct"])
    with running:
        made, other = Store(running, provider), Store(running, 1 if provider != 1 else 2)
        made.make("ann")
        other.make("ben")
        before, others = made.use("ann"), other.use("ben")
        file = made.service.folder / name
        right = file.read_bytes()

        def starts(expected: str) -> None:
            """Start, and check that this provider refuses, the other one serves, and the log names the remedy."""
            made.service.stop()
            logged = len(made.service.log())
            running.start()
            with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
                made.use("ann")
            assert other.use("ben") == others
            (line,) = [line for line in made.service.log()[logged:].splitlines() if str(file) in line]
            assert "level=error" in line
            assert re.search(expected, line), line

        file.rename(tmp_path / "moved")
        starts("move it back, or restore it from a backup")
        assert not file.exists()
        (tmp_path / "moved").rename(file)
        file.chmod(0o600)
        file.write_bytes(bytes(32))
        starts("expected=[0-9a-f]{8} found=[0-9a-f]{8}")
        file.write_bytes(right)
        # A reload brings it back, and one that would lose it again is refused: what is served goes on.
        reloaded(made.service, "serving")
        assert made.use("ann") == before
        file.rename(tmp_path / "moved")
        reloaded(made.service, "the reload is refused, the old configuration goes on")
        assert (made.use("ann"), other.use("ben")) == (before, others)


def reloaded(service: Service, event: str) -> None:
    """Reload, and wait until the log has the event once more."""
    seen = service.log().count(event)
    service.signal(signal.SIGHUP)
    wait_for(lambda: service.log().count(event) > seen and service.is_ready(), 30, service.log)


def test_values_that_nobody_wrote_keep_no_other_row_from_being_served() -> None:
    """A name that is no text, and a code and a name that no answer has room for, where a start and a worker read."""
    wrong = {
        "key_mapping": ("application_name = CAST(application_name AS BLOB)", "application_name = '{large}'"),
        "cofferdam_codes": ("code = zeroblob({most})",),
        "cofferdam_pending": ("key_name = '{large}'",),
    }
    made = ecc_signing_key(hash_algorithm=Hash.SHA_256)
    with Service() as service:
        with Client(service.endpoint, provider=1) as client:
            for key in ("good", "first", "second"):
                client.generate_key(key, made)
            public = client.export_public_key("good")
        service.stop()
        with closing(sqlite3.connect(service.folder / "kim" / "kim.sqlite3")) as database:
            database.execute("INSERT INTO cofferdam_pending SELECT *, 1 FROM key_mapping WHERE key_name = 'first'")
            database.execute(
                "INSERT INTO cofferdam_codes SELECT authenticator_id, application_name, key_name, 0, provider_uuid, x''"
                " FROM key_mapping WHERE key_name = 'first'"
            )
            for table, changes in wrong.items():
                for key, change in zip(("first", "second"), changes, strict=False):
                    value = change.format(large="9" * (MAX_ANSWER + 1), most=MAX_ANSWER + 1)
                    database.execute(f"UPDATE {table} SET {value} WHERE key_name = '{key}'")
            database.commit()
        service.start()
        (before,) = service.pids("kim")
        with Client(service.endpoint, provider=1) as client:
            assert client.export_public_key("good") == public
            assert [key.name for key in client.list_keys()] == ["good"]
            client.generate_key("new", made)
            client.destroy_key("good")
        assert service.pids("kim") == [before], "it has not died in between"


@pytest.mark.parametrize("change", ["key_attributes = x'00'", "provider_uuid = x'00'"])
def test_a_client_of_which_a_bad_row_remains_is_not_said_to_be_deleted(change: str) -> None:
    made = ecc_signing_key(hash_algorithm=Hash.SHA_256)
    with Service(authenticators=["Direct"], admins=["boss"]) as service:
        with Client(service.endpoint, auth=Direct("ann"), provider=1) as client:
            for key in ("bad", "good"):
                client.generate_key(key, made)
        service.stop()
        with closing(sqlite3.connect(service.folder / "kim" / "kim.sqlite3")) as database:
            database.execute(f"UPDATE key_mapping SET {change} WHERE key_name = 'bad'")
            database.commit()
        service.start()
        with (
            Client(service.endpoint, auth=Direct("boss")) as boss,
            Client(service.endpoint, auth=Direct("ann"), provider=1) as client,
        ):
            with refused(Status.PSA_ERROR_DATA_CORRUPT):
                boss.delete_client("ann")
            with refused(Status.PSA_ERROR_DOES_NOT_EXIST):
                client.export_public_key("good")
        assert "rows of the application that are held back: 1" in service.log()

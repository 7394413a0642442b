"""The faults of tests/e2e/test_faults.py: how each is made, who names it, and what the line has to contain.

What was found, what is needed and what to do is in every line.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.harness.faults.make import (
    both,
    closed_socket,
    configuration,
    copied,
    file,
    folder,
    library,
    listening,
    module,
    mounted,
    pin,
    pkcs11,
    planned,
    softhsm_conf,
    table,
    tpm,
    without_tokens,
)
from tests.harness.faults.site import PKCS11_UID, Site, compiled
from tests.harness.pkcs11.token import give
from tests.harness.service import UNPRIVILEGED_UID
from tests.harness.tpm import rules

from cofferdam_providers.tpm.errors import Code

KEK: Final = "key_encryption_key_file"


class Fault(NamedTuple):
    """A fault, and the line about it."""

    name: str
    make: Callable[[Site], object]
    by: str
    """The process that says it; of a worker, the other providers are served."""
    words: tuple[str, ...]
    """What its line contains; {folder} is that of the service."""
    root: bool = False
    """Whether only root can make it."""


CONFIG, BROKER, KIM = "config", "broker", "kim"
SOFTWARE, PKCS11, TPM = PROVIDERS = "worker[software]", "worker[pkcs11]", "worker[tpm]"
FILES: Final = (
    Fault(
        "no configuration",
        configuration(lambda _path: None),
        BROKER,
        ("the configuration cannot be read", "{folder}/config.toml", "No such file", "see -c PATH"),
    ),
    Fault(
        "a folder", configuration(Path.mkdir), CONFIG, ("{folder}/config.toml: found something that is not a regular",)
    ),
    Fault("a pipe", configuration(os.mkfifo), CONFIG, ("config.toml: found something", "allowed: a file")),
    Fault(
        "no TOML",
        configuration(lambda path: path.write_text("[x\n")),
        CONFIG,
        ("config.toml:1:3: not TOML: Expected",),
    ),
    Fault(
        "no text",
        configuration(lambda path: path.write_bytes(b"\xff")),
        CONFIG,
        ("found bytes", "allowed: TOML in UTF-8"),
    ),
    Fault(
        "a configuration that others can write",
        lambda site: site.service.configuration_path.chmod(0o666),
        CONFIG,
        ("found {folder}/config.toml with mode 0666", "allowed: what nobody but", "chmod go-w"),
    ),
    Fault(
        "somebody else's configuration",
        lambda site: os.chown(site.service.configuration_path, UNPRIVILEGED_UID, 0),
        CONFIG,
        (f"belongs to uid {UNPRIVILEGED_UID}", "chown root {folder}/config.toml"),
        root=True,
    ),
)
"""Each keeps the configuration from being read at all."""
SETTINGS: Final = (
    Fault(
        "uids of others", table("isolation", uid_base=65400), CONFIG, ("isolation.uid_base: found 65400, allowed: ",)
    ),
    Fault("a limit", table("limits", max_frontends=0), CONFIG, ("limits.max_frontends: found 0, allowed: ",)),
    Fault("a long path", table("listener", socket_path="/" + "x" * 120), CONFIG, ("listener.socket_path", "107 bytes")),
    Fault(
        "another vendor's provider",
        lambda site: setattr(
            site, "extra", '[[provider]]\nprovider_type = "CryptoAuthLib"\nkey_info_manager = "kim"\n'
        ),
        CONFIG,
        ('provider[3].provider_type: found "CryptoAuthLib", allowed: "MbedCrypto"', "remove its table"),
    ),
    Fault("a need", pkcs11(module_needs=["network"]), CONFIG, ("provider[1].module_needs[0]", 'allowed: "sockets"')),
    Fault(
        "a group",
        pkcs11(module_groups=["nobodys"]),
        CONFIG,
        ("provider[1].module_groups[0]", "the name of a group"),
    ),
    Fault("a variable", pkcs11(module_environment=["X"]), CONFIG, ("provider[1].module_environment[0]", "NAME=value")),
    Fault("a manager", tpm(key_info_manager="x"), CONFIG, ('provider[2].key_info_manager: found "x", allowed: "kim"',)),
    Fault("a tcti", tpm(tcti="usb:1"), CONFIG, ("provider[2].tcti: found", "allowed: ")),
)
"""The reader refuses all of them at once."""
RULES: Final = (
    Fault(
        "credentials without their folder",
        lambda site: site.environment.update(CREDENTIALS_DIRECTORY=f"{site.folder}/none"),
        CONFIG,
        ("found CREDENTIALS_DIRECTORY={folder}/none, which cannot be read", "allowed: the folder that systemd makes"),
    ),
    Fault(
        "one file for two purposes",
        table("key_manager", sqlite_db_path="{folder}/parsec.sock"),
        CONFIG,
        ("key_manager[0].sqlite_db_path: found the path of the clients' socket (listener.socket_path)",),
    ),
    Fault(
        "a module that others can write",
        library(copied(0o777)),
        CONFIG,
        ("provider[1].library_path: found {folder}/copy.so with mode 0777", "chmod go-w {folder}/copy.so"),
    ),
)
"""The same, for what depends on the machine."""
FATAL: Final = (
    Fault(
        "no folder for the socket",
        table("listener", socket_path="{folder}/none/p.sock"),
        BROKER,
        ("the service cannot start", "socket {folder}/none/p.sock: No such file", "make its folder first"),
    ),
    Fault(
        "a file at the socket",
        both(file("p.sock"), table("listener", socket_path="{folder}/p.sock")),
        BROKER,
        ("socket {folder}/p.sock: something else is there; move it away",),
    ),
    Fault("another service", listening, BROKER, ("{folder}/live.sock: another service is listening there; stop it",)),
    Fault(
        "few descriptors",
        lambda site: site.under("prlimit", "--nofile=20"),
        BROKER,
        ("the service cannot start", "Too many open files; raise the limits of the unit"),
    ),
    Fault(
        "a folder at the database",
        folder("kim/kim.sqlite3"),
        KIM,
        ("kim.sqlite3: found something that is no plain file",),
    ),
    Fault(
        "no database",
        file("kim/kim.sqlite3", b"x" * 4096),
        KIM,
        ("{folder}/kim/kim.sqlite3: found", "restore a backup"),
    ),
    Fault("a full disk", mounted("kim", "size=8k"), KIM, ("{folder}/kim/kim.sqlite3: found", "free space"), root=True),
    Fault(
        "a read-only disk",
        mounted("kim", "ro"),
        KIM,
        ("kim.sqlite3: found Read-only file system", "check "),
        root=True,
    ),
)
"""Each keeps the service from starting."""
OF_SOFTWARE: Final = (
    Fault(
        "a short key",
        file("kek/software.kek", b"x", 0o400),
        SOFTWARE,
        ("software.kek: found 1 bytes", "exactly 32", "restore"),
    ),
    Fault(
        "a folder at the key",
        folder("kek/software.kek"),
        SOFTWARE,
        ("software.kek is not a regular file; name a file",),
    ),
    Fault(
        "an open key",
        file("kek/software.kek", bytes(32), 0o644),
        SOFTWARE,
        ("{folder}/kek/software.kek has mode 0644 and owner ", "nobody but uid ", "chmod 0400"),
    ),
    Fault(
        "no place for the key",
        both(file("no"), lambda site: site.software.update({KEK: f"{site.folder}/no/software.kek"})),
        SOFTWARE,
        ("the key-encryption key cannot be read", "found no folder at {folder}/no", "correct "),
    ),
    Fault(
        "no key files of Parsec",
        lambda site: site.software.update(mbed_its_path=f"{site.folder}/none"),
        SOFTWARE,
        ("Parsec's key files cannot be read", "found nothing at {folder}/none", "correct provider.mbed_its_path"),
    ),
    Fault(
        "a file for Parsec's key files",
        both(file("its"), lambda site: site.software.update(mbed_its_path=f"{site.folder}/its")),
        SOFTWARE,
        ("found no folder at {folder}/its", "correct provider.mbed_its_path"),
    ),
    Fault(
        "a read-only disk for the key",
        both(mounted("ro", "ro"), lambda site: site.software.update({KEK: f"{site.folder}/ro/software.kek"})),
        SOFTWARE,
        ("{folder}/ro: found a read-only file system", "ReadWritePaths="),
        root=True,
    ),
    Fault(
        "a full disk for the key",
        both(
            mounted("full", "nr_inodes=1"),
            lambda site: site.software.update({KEK: f"{site.folder}/full/software.kek"}),
        ),
        SOFTWARE,
        ("{folder}/full: found a full file system", "make room"),
        root=True,
    ),
    Fault(
        "few threads",
        lambda site: site.under("prlimit", "--nproc=1"),
        SOFTWARE,
        ("the process cannot go on", "no thread can be started (its limit is 1); raise TasksMax="),
        root=True,
    ),
)
OF_PKCS11: Final = (
    Fault(
        "a wrong PIN",
        pin(b"9999"),
        PKCS11,
        ("C_Login: CKR_PIN_INCORRECT (the PIN is wrong)", "not tried again; correct it"),
    ),
    Fault(
        "a label",
        pkcs11(token_label="x"),
        PKCS11,
        ("no token fits label 'x'", "label 'cofferdam'", "correct the conf"),
    ),
    Fault(
        "no token",
        without_tokens,
        PKCS11,
        ("no token fits label 'cofferdam'", "initialised tokens: none", "Plug it in"),
    ),
    Fault(
        "no SoftHSM configuration",
        pkcs11(module_environment=["SOFTHSM2_CONF=/none.conf"]),
        PKCS11,
        ("of the module is missing; make it", "file=/none.conf", "named_by=provider.module_environment"),
    ),
    Fault(
        "a closed SoftHSM configuration",
        lambda site: site.softhsm.chmod(0),
        PKCS11,
        ("cannot use a file of its module; change its owner", "{folder}/softhsm2.conf", "mode 0000", "uid="),
    ),
    Fault(
        "no folder of tokens",
        lambda site: softhsm_conf(site, tokendir="{folder}/gone"),
        PKCS11,
        ("of the module is missing; make it", "{folder}/gone", "directories.tokendir in {folder}/softhsm2.conf"),
    ),
    Fault(
        "somebody else's tokens",
        lambda site: give(site.tokens, 0),
        PKCS11,
        ("cannot use a file of its module", "{folder}/tokens", "mode 0700 and owner 0:0", f"uid={PKCS11_UID}"),
        root=True,
    ),
    Fault("a crash", module("C_Initialize segv"), BROKER, ("a process died", PKCS11, "killed by SIGSEGV")),
    Fault(
        "a failure",
        module("C_Initialize return CKR_GENERAL_ERROR"),
        PKCS11,
        ("C_Initialize: CKR_GENERAL_ERROR (the mod",),
    ),
    Fault(
        "a code of the vendor",
        module("C_GetSlotList return 0x80000001"),
        PKCS11,
        ("0x80000001 (the vendor's own, see",),
    ),
    Fault(
        "a broken token",
        module("C_OpenSession return CKR_DEVICE_ERROR"),
        PKCS11,
        ("CKR_DEVICE_ERROR (the token or its",),
    ),
    Fault(
        "a failed login",
        module("C_Login return CKR_FUNCTION_FAILED"),
        PKCS11,
        ("C_Login: CKR_FUNCTION_FAILED (the module",),
    ),
    Fault(
        "no PIN",
        pkcs11(user_pin_file="{folder}/none"),
        PKCS11,
        ("found nothing at {folder}/none", "provider.user_pin_file"),
    ),
    Fault("an open PIN", pin(b"1234", 0o644), PKCS11, ("{folder}/pin2 has mode 0644", "nobody but uid", "chmod 0400")),
    Fault(
        "an empty PIN",
        pin(b""),
        PKCS11,
        ("{folder}/pin2: found 0 bytes", "needed a PIN of 1 to", "put the token's PIN"),
    ),
    Fault(
        "somebody else's PIN",
        pin(b"1234", owner=UNPRIVILEGED_UID),
        PKCS11,
        (f"{{folder}}/pin2 has mode 0400 and owner {UNPRIVILEGED_UID}", "chown 0"),
        root=True,
    ),
    Fault(
        "no ELF file",
        library(lambda site: site.secret("x.so", b"x", 0o755)),
        PKCS11,
        ("x.so: found no ELF file", "correct"),
    ),
    Fault(
        "another machine",
        library(copied(machine=183)),
        PKCS11,
        ("copy.so: found a library for another machine (ELF",),
    ),
    Fault(
        "no module",
        library(lambda site: compiled(site.folder, "int x;")),
        PKCS11,
        ("module.so: found a library without C_Get",),
    ),
    Fault(
        "a closed module",
        library(copied(0)),
        PKCS11,
        ("{folder}/copy.so with mode 0000", "closed to uid", "change its owner"),
    ),
    Fault(
        "a file at the state",
        file("pkcs11"),
        PKCS11,
        ("found no folder at {folder}/pkcs11", "correct provider.state_folder"),
    ),
    Fault(
        "somebody else's state",
        both(folder("pkcs11"), lambda site: os.chown(site.folder / "pkcs11", UNPRIVILEGED_UID, 0)),
        PKCS11,
        (f"{{folder}}/pkcs11 belongs to uid {UNPRIVILEGED_UID}", "set provider.state_folder"),
        root=True,
    ),
)
OF_TPM: Final = (
    Fault("no device", tpm(tcti="device:/dev/tpmrm9"), TPM, ("found nothing at /dev/tpmrm9", "correct provider.tcti")),
    Fault(
        "a file",
        both(file("dev", mode=0o666), tpm(tcti="device:{folder}/dev")),
        TPM,
        ("{folder}/dev: found", "no device"),
    ),
    Fault(
        "another device",
        tpm(tcti="device:/dev/null"),
        TPM,
        ("cut off after 0 bytes; see that provider.tcti leads to",),
    ),
    Fault(
        "nobody",
        tpm(tcti="swtpm:host=127.0.0.1,port=1"),
        TPM,
        ("127.0.0.1, port 1: found nobody who listens", "start"),
    ),
    Fault(
        "no socket",
        tpm(tcti="swtpm:path={folder}/none"),
        TPM,
        ("found nothing at {folder}/none", "correct provider.tcti"),
    ),
    Fault(
        "a closed socket",
        closed_socket,
        TPM,
        ("live.sock with mode 0000 and owner", "closed to uid", "change its owner or"),
    ),
    Fault(
        "a wrong password",
        tpm(owner_hierarchy_auth="x"),
        TPM,
        ("TPM_RC_BAD_AUTH", "the password of the owner hierarchy differs from owner_hierarchy_auth"),
    ),
    Fault(
        "no file of the password",
        tpm(owner_hierarchy_auth_file="{folder}/none"),
        TPM,
        ("found nothing at {folder}/none", "the authorisation value of the hierarchy; make it"),
    ),
    Fault(
        "a long password",
        both(file("auth", b"x" * 65, 0o400), tpm(owner_hierarchy_auth_file="{folder}/auth")),
        TPM,
        ("{folder}/auth: found more than 64 bytes", "put that of the hierarchy there"),
    ),
    Fault(
        "a lockout",
        planned(rules.answer("CreatePrimary", Code.LOCKOUT, times=99)),
        TPM,
        ("TPM_RC_LOCKOUT", "wait, or reset"),
    ),
    Fault(
        "a broken TPM",
        planned(rules.answer(rules.ANY, Code.FAILURE, times=99)),
        TPM,
        ("TPM_RC_FAILURE", "power it off and on"),
    ),
    Fault(
        "a mute TPM",
        planned(rules.hang(rules.ANY, times=99)),
        TPM,
        ("no answer within 4.0 s; it serves one", "provider.tcti"),
    ),
    Fault(
        "noise",
        planned(rules.garbage(rules.ANY, times=99)),
        TPM,
        ("an answer of ", "see that provider.tcti leads to a TPM"),
    ),
)
"""Each keeps one provider down."""

"""Configuration documents for the tests, and how they are read there."""

from cofferdam_config.host_facts import HostFacts
from cofferdam_config.plan import Plan, read

SECRET = "s3cr3t-Marker"
"""Stands for a PIN."""

GROUPS = {"root": 0, "tss": 107, "pcscd": 108}
"""The groups of the machine."""

PARSEC = """\
# What an installation of Parsec has in its file: every table, the optional keys too.
[core_settings]
allow_root = false
thread_pool_size = 8
idle_listener_sleep_duration = 10 # ms
log_level = "Warn"
log_timestamp = true
body_len_limit = 2097152
log_error_details = true
buffer_size_limit = 4096
allow_deprecated = true

[listener]
listener_type = "DomainSocket"
# Longest silence.
timeout = 6000
socket_path = "/run/p/parsec.sock"

[authenticator]
auth_type = "UnixPeerCredentials"
admins = [ { name = "1000" }, { name = "1001" } ]

[[key_manager]]
name = "sqlite-manager"
manager_type = "SQLite"
sqlite_db_path = "/var/lib/p/kim.sqlite3"

[[provider]]
provider_type = "MbedCrypto"
key_info_manager = "sqlite-manager"
name = "software"
"""

SMALL = """\
[core_settings]
[listener]
listener_type = "DomainSocket"
timeout = 200
[authenticator]
auth_type = "UnixPeerCredentials"
[[key_manager]]
name = "m"
manager_type = "SQLite"
[[provider]]
provider_type = "MbedCrypto"
key_info_manager = "m"
"""
"""Only what is required; 12 lines."""

PKCS11 = f"""\
[[provider]]
provider_type = "Pkcs11"
key_info_manager = "m"
library_path = "/usr/lib/module.so"
slot_number = 5
user_pin = "{SECRET}"
"""
TPM = f"""\
[[provider]]
provider_type = "Tpm"
key_info_manager = "m"
tcti = "device:/dev/tpmrm0"
owner_hierarchy_auth = "str:{SECRET}"
endorsement_hierarchy_auth = "{SECRET}"
"""


def read_text(
    text: str,
    *,
    path: str = "config.toml",
    is_root: bool = False,
    credentials: dict[str, str] | None = None,
    devices: frozenset[str] = frozenset({"/dev/tpmrm0", "/dev/tpmrm1"}),
) -> Plan:
    """Read a document on a machine that has these things."""
    facts = HostFacts(credentials=credentials or {}, groups=GROUPS, devices=devices, is_root=is_root)
    return read(text.encode(), path=path, facts=facts)

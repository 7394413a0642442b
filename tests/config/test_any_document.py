"""Any document results in a plan or an error, and no text about it holds a secret."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.config.documents import GROUPS, PARSEC, PKCS11, SECRET, TPM

from cofferdam_config.host_facts import HostFacts
from cofferdam_config.plan import Plan, read
from cofferdam_config.source import ConfigError
from cofferdam_config.tables import TABLES
from cofferdam_contracts import settings as documents

FACTS = HostFacts(credentials={}, groups=GROUPS, is_root=True)
_MANAGER = '[[key_manager]]\nname = "m"\nmanager_type = "SQLite"\n'
_LINES = (PARSEC + _MANAGER + PKCS11 + TPM).splitlines()
_TOKEN = f"""\
token_label = "{SECRET}"
token_uri = "pkcs11:token={SECRET};model=1?pin-source=/etc/pin"
module_environment = ["PIN={SECRET}"]
module_readable = ["/etc/module.conf"]
module_groups = ["tss"]
module_needs = ["sockets"]
quirks = ["id-bytes=4"]
"""
_CHIP = """\
key_encryption_key_file = "/etc/kek"
application_parents = true
bus_protection = false
"""
_OWN_LINES = (PARSEC + f'user_pin = "{SECRET}"\n').splitlines()
"""A document without errors; its secret is in a provider that does not use it."""
_TOKEN_LINES = (PARSEC + PKCS11.replace('"m"', '"sqlite-manager"') + _TOKEN).splitlines()
"""One with a PIN in two places; its secrets are also where somebody may have put a PIN by mistake."""
_TPM_LINES = (PARSEC + TPM.replace('"m"', '"sqlite-manager"') + _CHIP).splitlines()
"""One with secrets where they may be."""
_IDENTITY_LINES = f"""\
{PARSEC}
[[additional_authenticator]]
auth_type = "JwtSvid"
workload_endpoint = "unix:///run/agent.sock"
trust_domains = ["a.example"]
algorithms = ["ES256"]
[[additional_authenticator]]
auth_type = "Jwt"
issuer = "https://issuer.example"
audience = ["parsec"]
jwks_url = "https://issuer.example/keys?code={SECRET}"
[identity]
revocations = "/srv/identity/revocations.toml"
""".splitlines()
"""One with tokens; its secret is in a query."""

_KEYS = sorted(
    {setting.name for table in TABLES for setting in table.settings} | {"admins", "unknown", '"x\\n"', "a.b"}
)
_PLAIN_VALUES = st.sampled_from(
    [
        *("0", "-1", "7", "true", "1.5", "07:32:00", f"0x{'f' * 5000}"),
        *('""', '"/x"', '"m"', '"Direct"', '"Pkcs11"', '"OnDisk"', '"""\n\n"""', '"\\u0000\\u001b"'),
        *('"Tpm"', '"mssim"', '"Jwt"', '"JwtSvid"', '"unix:/x"', '"https://x"'),
        *("[]", "{}", "[{}]", '[{ name = "1" }]'),
    ]
)
_SECRET_VALUES = st.sampled_from(
    [
        *(f'["{SECRET}"]', f'[[["{SECRET}"]]]', f'{{ a = "{SECRET}" }}', f'[{{ a = "{SECRET}" }}]'),
        *(SECRET, f"[{SECRET}]", f'"{SECRET}', f'"{SECRET}" x', f'"{SECRET}\\q"'),
        *(f'"""\n{SECRET}"""', f"'hex:{SECRET}'"),
        *(f"'pkcs11:pin-value={SECRET}'", f"'pkcs11:{SECRET}=x'", f"'pkcs11:serial={SECRET}'", f"['{SECRET}=']"),
    ]
)
_HEADERS = st.sampled_from(
    [
        *(f"[{table.table_name}]" for table in TABLES),
        *(f"[[{table.table_name}]]" for table in TABLES),
        *("[provider.x]", "[[authenticator.admins]]", "[unknown]"),
    ]
)
_STATEMENTS = st.one_of(_HEADERS, st.builds("{} = {}".format, st.sampled_from(_KEYS), _PLAIN_VALUES))


@st.composite
def _mutations(draw: st.DrawFn) -> str:
    """Draw a document in which some lines are removed, added, repeated or have another value."""
    lines = list(draw(st.sampled_from([_LINES, _OWN_LINES, _TOKEN_LINES, _TPM_LINES, _IDENTITY_LINES])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        key, _, _ = lines[at].partition(" = ")
        match draw(st.sampled_from(["drop", "insert", "repeat", "change"])):
            case "drop":
                del lines[at]
            case "insert":
                lines.insert(at, draw(_STATEMENTS))
            case "repeat":
                lines.insert(at, lines[at])
            case _:
                # A line without a value, such as a header, becomes one with it.
                lines[at] = f"{key} = {draw(_SECRET_VALUES if SECRET in lines[at] else _PLAIN_VALUES)}"
    return "\n".join(lines)


@st.composite
def _edits(draw: st.DrawFn) -> bytes:
    """Draw a document in which some bytes of one line are replaced."""
    lines = [
        line.encode() for line in draw(st.sampled_from([_LINES, _OWN_LINES, _TOKEN_LINES, _TPM_LINES, _IDENTITY_LINES]))
    ]
    at = draw(st.integers(0, len(lines) - 1))
    start = draw(st.integers(0, len(lines[at])))
    end = draw(st.integers(start, len(lines[at])))
    new = draw(st.one_of(st.binary(max_size=4), st.text(alphabet="[]{}=.,#\"'\\\n 1a", max_size=4).map(str.encode)))
    lines[at] = lines[at][:start] + new + lines[at][end:]
    return b"\n".join(lines)


def _read(document: bytes) -> Plan | ConfigError:
    try:
        return read(document, path="config.toml", facts=FACTS)
    except ConfigError as error:
        return error


def _texts(document: bytes) -> list[str]:
    """Return all texts that result from reading a document."""
    result = _read(document)
    if isinstance(result, ConfigError):
        assert result.problems
        assert all(line.startswith("config.toml:") and line.isprintable() for line in result.problems)
        return [str(result), repr(result), *result.problems]
    values = [result.broker, *(value for _, _, value in result.documents)]
    assert all(documents.load(type(value), documents.dump(value)) == value for value in values)
    return [repr(result), *result.warnings]


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes_are_a_plan_or_an_error(document: bytes) -> None:
    assert _texts(document)


@settings(max_examples=200, deadline=None)
@given(_mutations())
def test_no_text_holds_a_secret_whatever_the_mistake(document: str) -> None:
    assert [text for text in _texts(document.encode()) if SECRET in text] == []


@settings(max_examples=200, deadline=None)
@given(_edits())
def test_no_text_holds_a_secret_whatever_the_slip(document: bytes) -> None:
    assert [text for text in _texts(document) if SECRET in text] == []


def test_the_documents_to_start_from_are_a_plan_and_an_error() -> None:
    assert any("user_pin" in text for text in _texts("\n".join(_OWN_LINES).encode()))
    assert len(_texts("\n".join(_LINES).encode())) > 3
    assert any("pin-source besides user_pin" in text for text in _texts("\n".join(_TOKEN_LINES).encode()))
    assert any("owner_hierarchy_auth" in text for text in _texts("\n".join(_TPM_LINES).encode()))
    assert _texts("\n".join(_IDENTITY_LINES).encode())

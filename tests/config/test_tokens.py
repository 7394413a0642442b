"""Authenticators that take tokens: the processes that they need, and what these are told."""

import stat
from typing import TypeVar

import pytest
from tests.config.documents import GROUPS, SMALL, read_text

from cofferdam_config.host_facts import HostFacts, gather
from cofferdam_config.plan import Plan, read
from cofferdam_config.source import ConfigError
from cofferdam_config.tables import SVID_ALGORITHMS
from cofferdam_config.tokens import CREDENTIAL
from cofferdam_contracts import settings
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.roles import Role, documents_of
from cofferdam_contracts.settings import AuthenticatorSettings, FrontendSettings, KimSettings, LogSettings, ProcessEntry
from cofferdam_contracts.token_settings import FetcherSettings, IdentitySettings, TokenSettings
from cofferdam_runtime.files import Element, Found

T = TypeVar("T")
FILE = "/etc/parsec/config.toml"
_REFERENCE = """\
[core_settings]
[listener]
listener_type = "DomainSocket"
timeout = 200 # in milliseconds
[authenticator]
auth_type = "JwtSvid"
admins = [ { name = "spiffe://example.org/admin" } ]
workload_endpoint="unix:///tmp/agent.sock"
[[key_manager]]
name = "on-disk-manager"
manager_type = "OnDisk"
[[provider]]
provider_type = "MbedCrypto"
key_info_manager = "on-disk-manager"
"""
"""What an installation of Parsec has that takes JWT-SVIDs."""
_SVID = """\
[[additional_authenticator]]
auth_type = "JwtSvid"
workload_endpoint = "unix:/run/agent.sock"
trust_domains = ["example.org"]
"""
_JWT = """\
[[additional_authenticator]]
auth_type = "Jwt"
issuer = "https://issuer.example"
audience = ["keys", "parsec"]
"""
_SOURCES = {
    "file": 'key_file = "/keys/a.json"\n',
    "url": 'jwks_url = "https://issuer.example/keys"\nca_file = "/ca.pem"\n',
    "discovery": "discovery = true\n",
}
_PINNED = f"""\
subject_claim = "client_id"
algorithms = ["EdDSA"]
fingerprint = "{"0a" * 32}"
leeway = 0
max_age = 60
admins = [{{ name = "root" }}]
"""
_LOG = LogSettings(level="info", timestamp=False)
_SVID_TOKENS = TokenSettings(
    auth_type=AuthType.JWT_SVID,
    audiences=("parsec",),
    issuer=None,
    subject_claim="sub",
    trust_domains=("example.org",),
    algorithms=SVID_ALGORITHMS,
    leeway_s=60,
    key_file=None,
    fingerprint=None,
    max_age_s=86400,
)
_JWT_TOKENS = TokenSettings(
    auth_type=AuthType.JWT,
    audiences=("keys", "parsec"),
    issuer="https://issuer.example",
    subject_claim="sub",
    trust_domains=(),
    algorithms=SVID_ALGORITHMS,
    leeway_s=60,
    key_file=None,
    fingerprint=None,
    max_age_s=86400,
)
_FETCHER = FetcherSettings(log=_LOG, workload_endpoint=None, jwks_url=None, discovery=False, issuer="", ca_file=None)
_AGENT = _FETCHER._replace(workload_endpoint="unix:/run/agent.sock")
_ISSUER = _FETCHER._replace(issuer="https://issuer.example")


def _documents(plan: Plan, kind: type[T]) -> dict[int, T]:
    return {number: value for _, number, value in plan.documents if isinstance(value, kind)}


def _identity(plan: Plan) -> IdentitySettings:
    return _documents(plan, IdentitySettings)[0]


def test_a_file_of_parsec_with_svids_is_used_as_it_is() -> None:
    plan = read_text(_REFERENCE, path="/config")
    assert plan.warnings == (
        (
            "/config:5: authenticator.trust_domains: none are named, so workloads of every trust domain that the agent "
            "federates with can be clients"
        ),
    )
    authenticators = (AuthenticatorSettings(auth_type=4, admins=("spiffe://example.org/admin",)),)
    assert _identity(plan) == IdentitySettings(
        log=_LOG,
        authenticators=authenticators,
        tokens=(_SVID_TOKENS._replace(trust_domains=()),),
        fetchers=(AuthType.JWT_SVID,),
        revocations="/var/lib/parsec/identity/revocations.toml",
    )
    assert _documents(plan, FetcherSettings) == {0: _FETCHER._replace(workload_endpoint="unix:///tmp/agent.sock")}
    assert _documents(plan, FrontendSettings)[0].authenticators == authenticators
    assert _documents(plan, KimSettings)[0].authenticators == authenticators


@pytest.mark.parametrize(
    ("text", "tokens", "fetchers"),
    [
        ("", (), ()),
        (_SVID, (_SVID_TOKENS,), (_AGENT,)),
        (_JWT + _SOURCES["file"], (_JWT_TOKENS._replace(key_file="/keys/a.json"),), ()),
        (
            _JWT + _SOURCES["url"] + _SVID,
            (_JWT_TOKENS, _SVID_TOKENS),
            (_ISSUER._replace(jwks_url="https://issuer.example/keys", ca_file="/ca.pem"), _AGENT),
        ),
        (
            _SVID + _JWT + _SOURCES["discovery"] + _PINNED,
            (
                _SVID_TOKENS,
                _JWT_TOKENS._replace(
                    subject_claim="client_id",
                    algorithms=("EdDSA",),
                    fingerprint="0a" * 32,
                    leeway_s=0,
                    max_age_s=60,
                ),
            ),
            (_AGENT, _ISSUER._replace(discovery=True)),
        ),
        (
            _SVID + _JWT + _SOURCES["file"],
            (_SVID_TOKENS, _JWT_TOKENS._replace(key_file="/keys/a.json")),
            (_AGENT,),
        ),
    ],
)
def test_each_source_on_the_network_has_a_process(
    text: str, tokens: tuple[TokenSettings, ...], fetchers: tuple[FetcherSettings, ...]
) -> None:
    plan = read_text(SMALL + text)
    assert (plan.warnings, plan.lacks) == ((), ())
    others = [ProcessEntry(Role.IDENTITY, 0)] if tokens else []
    others += [ProcessEntry(Role.FETCHER, number) for number in range(len(fetchers))]
    assert plan.broker.others == tuple(others)
    assert documents_of((worker.role for worker in plan.broker.workers), plan.broker.others) == {
        (role, number) for role, number, _ in plan.documents
    }
    assert _documents(plan, FetcherSettings) == dict(enumerate(fetchers))
    if tokens:
        identity = _identity(plan)
        assert identity.tokens == tokens
        assert [each.auth_type for each in identity.authenticators] == [3, *(each.auth_type for each in tokens)]
        fetched = [each.auth_type for each in tokens if each.key_file is None]
        assert list(identity.fetchers) == fetched


def test_admins_are_those_of_their_authenticator() -> None:
    plan = read_text(
        SMALL.replace('edentials"', 'edentials"\nadmins = [{ name = "0" }]') + _JWT + _SOURCES["discovery"] + _PINNED
    )
    assert _identity(plan).authenticators == (AuthenticatorSettings(3, ("0",)), AuthenticatorSettings(2, ("root",)))


def test_the_settings_survive_being_dumped_and_loaded() -> None:
    plan = read_text(SMALL + _SVID + _JWT + _SOURCES["url"])
    values = [value for role, _, value in plan.documents if role in {Role.IDENTITY, Role.FETCHER}]
    assert [settings.load(type(value), settings.dump(value)) for value in values] == values
    assert len(values) == 3


def test_a_credential_takes_the_place_of_the_file() -> None:
    credentials = {CREDENTIAL: "/credentials/keys", "other": "/credentials/other"}
    for more in ("", _SOURCES["file"]):
        plan = read_text(SMALL + _SVID + _JWT + more, credentials=credentials)
        svid, jwt = _identity(plan).tokens
        assert (jwt.key_file, jwt.key_file_is_credential) == ("/credentials/keys", True)
        assert (svid.key_file, svid.key_file_is_credential) == (None, False)
        assert len(_documents(plan, FetcherSettings)) == 1
    with pytest.raises(ConfigError, match=f"found jwks_url besides the credential {CREDENTIAL}, allowed: one source"):
        read_text(SMALL + _JWT + _SOURCES["url"], credentials=credentials)


def test_revocations_are_where_the_configuration_says() -> None:
    text = SMALL + _SVID + '[identity]\nrevocations = "gone/r.toml"\n'
    facts = HostFacts(credentials={}, groups=GROUPS, is_root=False, folder="/srv", state_folder="/srv/state")
    assert _identity(read(text.encode(), path=FILE, facts=facts)).revocations == "/srv/gone/r.toml"
    text = text.partition("[identity]")[0]
    assert _identity(read(text.encode(), path=FILE, facts=facts)).revocations == "/srv/state/identity/revocations.toml"


@pytest.mark.parametrize("kind", ["first", "additional"])
def test_mapping_files_are_not_given_to_another_authenticator(kind: str) -> None:
    """They say only the name, and a subject of an issuer can be called like a uid."""
    own = _JWT.partition("\n")[2] + _SOURCES["discovery"]
    text = SMALL.replace('"SQLite"', '"OnDisk"')
    if kind == "additional":
        assert read_text(text + _JWT + _SOURCES["discovery"]).warnings == ()
        return
    text = text.replace('auth_type = "UnixPeerCredentials"\n', own)
    with pytest.raises(ConfigError, match="mapping files do not say whose they are"):
        read_text(text)
    assert read_text(text.replace('"OnDisk"', '"SQLite"')).warnings == ()


def _found(*elements: tuple[str, int, int]) -> Found:
    """Return what leads to the last of these: path, mode, uid."""
    known = tuple(Element(path, mode, uid, 0) for path, mode, uid in (("/", stat.S_IFDIR | 0o755, 0), *elements))
    return Found(known, known[-1], real=known[-1].path)


def _missing(path: str, element: str) -> Found:
    return Found((Element("/", stat.S_IFDIR | 0o755, 0, 0),), None, element, "No such file or directory", path)


_DIR, _REG, _SOCK = stat.S_IFDIR, stat.S_IFREG, stat.S_IFSOCK
_URL_WHERE = ":18: additional_authenticator[0].ca_file: "
_FILE_WHERE = ":17: additional_authenticator[0].key_file: "
_SOCKET_WHERE = ":15: additional_authenticator[0].workload_endpoint: "
_REVOKED_WHERE = ":18: identity.revocations: "
_AGENT_LATE = "tokens are refused until the agent is there"


@pytest.mark.parametrize(
    ("text", "path", "found", "warning"),
    [
        (
            _JWT + _SOURCES["file"],
            "/keys/a.json",
            _found(("/keys", _DIR | 0o755, 0), ("/keys/a.json", _REG | 0o644, 0)),
            "",
        ),
        (
            _JWT + _SOURCES["file"],
            "/keys/a.json",
            _missing("/keys/a.json", "/keys"),
            _FILE_WHERE
            + "nothing at /keys/a.json (/keys: No such file or directory); tokens are refused until it is there",
        ),
        (
            _JWT + _SOURCES["file"],
            "/keys/a.json",
            _found(("/keys", _DIR | 0o755, 0), ("/keys/a.json", _DIR | 0o755, 0)),
            _FILE_WHERE + "something else at /keys/a.json than a file; it is not used",
        ),
        (
            _JWT + _SOURCES["file"],
            "/keys/a.json",
            _found(("/keys", _DIR | 0o755, 0), ("/keys/a.json", _REG | 0o640, 0)),
            _FILE_WHERE
            + "/keys/a.json has mode 0640, so the process that needs it cannot read it; chmod o+r /keys/a.json",
        ),
        (
            _JWT + _SOURCES["file"],
            "/keys/a.json",
            _found(("/keys", _DIR | 0o700, 0), ("/keys/a.json", _REG | 0o644, 0)),
            _FILE_WHERE + "/keys has mode 0700, so the process that needs it cannot read it; chmod o+x /keys",
        ),
        (
            _SVID,
            "/var/lib/parsec/identity/revocations.toml",
            _missing("/var/lib/parsec/identity/revocations.toml", "/var/lib/parsec/identity"),
            "",
        ),
        (
            _SVID + '[identity]\nrevocations = "/r/r"\n',
            "/r/r",
            _found(("/r", _DIR | 0o755, 0), ("/r/r", _REG | 0o600, 0)),
            _REVOKED_WHERE + "/r/r has mode 0600, so the process that needs it cannot read it; chmod o+r /r/r",
        ),
        (
            _JWT + _SOURCES["url"],
            "/ca.pem",
            _found(("/ca.pem", _REG | 0o400, 0)),
            _URL_WHERE + "/ca.pem has mode 0400, so the process that needs it cannot read it; chmod o+r /ca.pem",
        ),
        (_SVID, "/run/agent.sock", _found(("/run", _DIR | 0o755, 0), ("/run/agent.sock", _SOCK | 0o777, 7)), ""),
        (_SVID, "/run/agent.sock", _found(("/run", _DIR | 0o755, 7), ("/run/agent.sock", _SOCK | 0o777, 7)), ""),
        (
            _SVID,
            "/run/agent.sock",
            _found(("/run", _DIR | 0o777, 0), ("/run/agent.sock", _SOCK | 0o777, 0)),
            _SOCKET_WHERE
            + "others can take the agent's place: found /run with mode 0777, so that others can change it; "
            + "chmod go-w /run",
        ),
        (
            _SVID,
            "/run/agent.sock",
            _found(("/run", _DIR | 0o755, 1000), ("/run/agent.sock", _SOCK | 0o777, 0)),
            _SOCKET_WHERE + "others can take the agent's place: found /run, which belongs to uid 1000; chown root /run",
        ),
        (
            _SVID,
            "/run/agent.sock",
            _missing("/run/agent.sock", "/run/agent.sock"),
            _SOCKET_WHERE + f"nothing at /run/agent.sock (No such file or directory) yet; {_AGENT_LATE}",
        ),
        (
            _SVID,
            "/run/agent.sock",
            _found(("/run", _DIR | 0o755, 0), ("/run/agent.sock", _REG | 0o644, 0)),
            _SOCKET_WHERE + f"something else at /run/agent.sock than a socket; {_AGENT_LATE}",
        ),
    ],
)
def test_what_the_machine_has_for_tokens(text: str, path: str, found: Found, warning: str) -> None:
    facts = HostFacts(credentials={}, groups={}, is_root=True, files={path: found})
    plan = read((SMALL + text).encode(), path=FILE, facts=facts)
    assert plan.warnings == ((FILE + warning,) if warning else ())
    assert plan.lacks == ()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (_JWT + _SOURCES["file"], "/keys/a.json"),
        (_JWT + _SOURCES["url"], "/ca.pem"),
        (_SVID, "/var/lib/parsec/identity/revocations.toml"),
    ],
)
def test_what_decides_who_somebody_is_must_not_be_changeable(text: str, path: str) -> None:
    found = {path: _found((path, _REG | 0o646, 0))}
    facts = HostFacts(credentials={}, groups={}, is_root=True, files=found)
    with pytest.raises(ConfigError, match=f"found {path} with mode 0646, so that others can change it, allowed: "):
        read((SMALL + text).encode(), path=FILE, facts=facts)
    assert read(SMALL.encode(), path=FILE, facts=facts).warnings == ()


@pytest.mark.parametrize("text", ["unix:{}", "unix://{}"])
def test_the_agent_s_socket_is_looked_at_and_no_url(text: str) -> None:
    document = f'workload_endpoint = "{text.format("/run/agent/a.sock")}"\njwks_url = "https://run/keys"\n'
    facts = gather(document.encode(), path=FILE, credentials_folder="", is_root=False)
    assert "/run/agent/a.sock" in facts.files
    assert not any("keys" in path for path in facts.files)


def test_a_link_into_a_folder_with_a_secret_is_refused() -> None:
    found = _found(("/keys", _DIR | 0o755, 0), ("/keys/a.json", _REG | 0o644, 0))
    kek = 'key_encryption_key_file = "/secret/kek"\n'
    files = {"/keys/a.json": found._replace(real="/secret/a.json")}
    facts = HostFacts(credentials={}, groups={}, is_root=True, files=files)
    with pytest.raises(ConfigError, match="found a file in a folder that holds a key-encryption key"):
        read((SMALL + kek + _JWT + _SOURCES["file"]).encode(), path=FILE, facts=facts)

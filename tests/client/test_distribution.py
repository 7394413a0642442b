"""The two distributions: the client's installs alone, with its types, and shares no file with the service's."""

import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from tests.harness.service import Service

CHECKOUT = Path(__file__).resolve().parents[2]
CLIENT = CHECKOUT / "client"
SESSION = """
import importlib.metadata
from cofferdam_client import Client, Hash, ecc_signing_key, ecdsa

with Client() as client:
    client.generate_key("distributed", ecc_signing_key())
    digest = client.hash_compute(b"text", Hash.SHA_256)
    client.verify_hash("distributed", digest, client.sign_hash("distributed", digest, ecdsa()), ecdsa())
    client.destroy_key("distributed")
print(sorted({found.name for found in importlib.metadata.distributions()} - {"pip", "setuptools"}))
"""
RIGHT = """
from cofferdam_client import Client, KeyAttributes, ServiceStatusError, Status, ecc_signing_key, ecdsa, hmac_with

def sign(client: Client, digest: bytes) -> bytes:
    attributes: KeyAttributes = ecc_signing_key()
    try:
        client.generate_key("name", attributes)
    except ServiceStatusError as error:
        if error.status != Status.PSA_ERROR_ALREADY_EXISTS:
            raise
    bits: int = client.list_keys()[0].attributes.bits
    return client.sign_hash("name", digest, ecdsa()) + client.mac_compute("mac", bytes(bits), hmac_with())
"""
WRONG = """
from cofferdam_client import Client, Direct, ecc_signing_key, ecdsa, hmac_with

client = Client(auth="app")  # arg-type
Client(timeout="1")  # arg-type
client.generate_key("name", ecdsa())  # arg-type
client.sign_hash("name", "digest", ecdsa())  # arg-type
client.sign_hash("name", b"digest", hmac_with())  # arg-type
text: str = client.export_public_key("name")  # assignment
client.destroy_key("name").done()  # func-returns-value attr-defined
Direct(1)  # arg-type
ecc_signing_key("p-256")  # arg-type
client.list_keys()[0].attributes.size  # attr-defined
client.sign("name")  # attr-defined
"""


def _pip(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], check=True)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of a new virtual environment in which the client was installed, and nothing else."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-input", "./client"], check=True, cwd=CHECKOUT)
    return python


def _mypy(python: Path, folder: Path, program: str) -> list[str]:
    """Return the errors of `mypy --strict`, as far as it looks at the packages that this interpreter finds."""
    (folder / "program.py").write_text(program)
    words: list[str | Path] = [
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--no-error-summary",
        "--python-executable",
        python,
    ]
    done = subprocess.run(
        [sys.executable, *words, "program.py"], check=False, cwd=folder, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.e2e
def test_the_client_alone_uses_a_running_service(python: Path, tmp_path: Path) -> None:
    with Service() as service:
        done = subprocess.run(
            [python, "-I", "-c", SESSION],
            check=False,
            cwd=tmp_path,
            env={"PARSEC_SERVICE_ENDPOINT": service.endpoint},
            capture_output=True,
            text=True,
        )
    assert (done.stderr, done.stdout) == ("", "['cofferdam-client', 'msgspec']\n")


@pytest.mark.slow
def test_a_program_with_the_right_types_passes(python: Path, tmp_path: Path) -> None:
    assert _mypy(python, tmp_path, RIGHT) == []


@pytest.mark.slow
def test_a_program_with_wrong_types_fails_where_they_are_wrong(python: Path, tmp_path: Path) -> None:
    expected = {
        (number, code)
        for number, line in enumerate(WRONG.splitlines(), start=1)
        for code in line.partition("  # ")[2].split()
    }
    errors = [line for line in _mypy(python, tmp_path, WRONG) if ": error: " in line]
    found = {(int(error.split(":")[1]), error.rpartition("[")[2].rstrip("]")) for error in errors}
    assert found == expected, errors


def _build(folder: Path, target: str, into: Path) -> Path:
    words: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", into]
    subprocess.run(words, check=True, cwd=folder, capture_output=True)
    (built,) = into.iterdir()
    return built


def _files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _metadata(files: dict[str, bytes]) -> Message:
    return message_from_bytes(next(data for name, data in files.items() if name.endswith("/METADATA")))


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return _files(_build(CLIENT, "wheel", tmp_path_factory.mktemp("client")))


@pytest.fixture(scope="module")
def service_wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return _files(_build(CHECKOUT, "wheel", tmp_path_factory.mktemp("service")))


@pytest.mark.parametrize(
    "page", ["client/README.md", "docs/howto/python-client.md", "docs/adr/0027-two-distributions.md"]
)
def test_the_pages_name_what_the_client_depends_on(client_wheel: dict[str, bytes], page: str) -> None:
    required = _metadata(client_wheel).get_all("Requires-Dist", [])
    text = (CHECKOUT / page).read_text()
    assert [name for name in required if name not in text] == []
    assert "no other package" not in text


def test_the_distributions_share_no_file(client_wheel: dict[str, bytes], service_wheel: dict[str, bytes]) -> None:
    assert client_wheel.keys() & service_wheel.keys() == set()
    packages = {path.relative_to(path.parent.parent) for path in CHECKOUT.glob("*/cofferdam_*/py.typed")}
    assert {str(package) for package in packages} <= client_wheel.keys() | service_wheel.keys()


def test_the_service_needs_the_client_of_its_version(
    client_wheel: dict[str, bytes], service_wheel: dict[str, bytes]
) -> None:
    client, service = _metadata(client_wheel), _metadata(service_wheel)
    assert client["Version"] == service["Version"]
    assert f"cofferdam-client @ {CLIENT.as_uri()}" in service.get_all("Requires-Dist", [])


def test_a_service_for_an_index_names_the_client_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COFFERDAM_CLIENT", "==0.1.0")
    required = _metadata(_files(_build(CHECKOUT, "wheel", tmp_path))).get_all("Requires-Dist", [])
    assert "cofferdam-client==0.1.0" in required
    names = (CHECKOUT / "requirements" / "runtime.in").read_text().splitlines()[1:]
    always = [each for each in required if "extra ==" not in each]
    assert sorted(always) == sorted([*names, "cofferdam-client==0.1.0"])


def test_the_client_is_the_same_from_its_source_distribution(client_wheel: dict[str, bytes], tmp_path: Path) -> None:
    sdist = _build(CLIENT, "sdist", tmp_path / "sdist")
    _pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path / "wheel"), str(sdist))
    (wheel,) = (tmp_path / "wheel").iterdir()
    built = _files(wheel)
    assert built.keys() == client_wheel.keys()
    assert [name for name, data in built.items() if data != client_wheel[name] and not name.endswith("RECORD")] == []

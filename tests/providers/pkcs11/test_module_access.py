"""The files that a module needs, and the worker's own folder."""

import os
import stat
from pathlib import Path

import pytest
from tests.harness.pkcs11.token import Token
from tests.providers.pkcs11.child import settings_for

from cofferdam_contracts.settings import Pkcs11Settings
from cofferdam_providers.pkcs11 import module_access as module
from cofferdam_providers.pkcs11.module_access import ModuleAccess, ModuleAccessError, module_access, obstacles, own

UID = 59002


@pytest.fixture
def settings(tmp_path: Path) -> Pkcs11Settings:
    nowhere = Token(
        folder=tmp_path, library=tmp_path / "other.so", environment={}, label="", serial="", slot=0, pin="1234"
    )
    return settings_for(nowhere, tmp_path)


def softhsm(settings: Pkcs11Settings, folder: Path, text: str | None) -> ModuleAccess:
    """Return the access of a module named like SoftHSM, with this configuration."""
    configuration = folder / "softhsm2.conf"
    if text is not None:
        configuration.write_text(text)
    return module_access(
        settings._replace(
            library_path=str(folder / "lib" / "libsofthsm2.so"),
            environment=(f"SOFTHSM2_CONF={configuration}",),
        )
    )


def test_a_module_that_nobody_knows_gets_what_is_configured(settings: Pkcs11Settings, tmp_path: Path) -> None:
    found = module_access(
        settings._replace(
            readable=("/etc/a", "/etc/b", "/etc/a"),
            writable=("/var/c", settings.state_folder),
            needs=("threads",),
        )
    )
    assert found == ModuleAccess(
        loading=(str(tmp_path),),
        readable=("/etc/a", "/etc/b"),
        writable=(settings.state_folder, "/var/c"),
        needs=frozenset({"threads"}),
        origins=found.origins,
    )


def test_the_library_is_looked_for_where_it_really_is(settings: Pkcs11Settings, tmp_path: Path) -> None:
    real = tmp_path / "real" / "libnethsm_pkcs11.so.1"
    real.parent.mkdir()
    real.touch()
    (tmp_path / "module.so").symlink_to(real)
    found = module_access(settings._replace(library_path=str(tmp_path / "module.so")))
    assert found.loading == (str(real.parent),)
    assert found.needs == {"sockets", "threads"}


CONFIGURATIONS = [
    ("directories.tokendir = {folder}/tokens\n", ["tokens"]),
    ("directories.tokendir={folder}/tokens", ["tokens"]),
    ("  directories.tokendir\t=\t{folder}/tokens/  # where they are\n", ["tokens"]),
    ("directories.tokendir = {folder}/./other/../tokens\r\n", ["tokens"]),
    ("log.level = ERROR\nobjectstore.backend = file\ndirectories.tokendir = {folder}/tokens\n", ["tokens"]),
    ("directories.tokendir = {folder}/tokens\ndirectories.tokendir = {folder}/other\n", ["tokens", "other"]),
    ("# directories.tokendir = {folder}/tokens\n", []),
    ("directories.tokendir = {folder}/missing\n", []),
    ("directories.tokendir = {folder}/softhsm2.conf\n", []),
    ("directories.tokendir = tokens\n", []),
    ("directories.tokendir =\n", []),
    ("directories.tokendir\n", []),
    ("directories.tokendirs = {folder}/tokens\n", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "names"), CONFIGURATIONS)
def test_softhsm_gets_its_configuration_and_its_tokens(
    settings: Pkcs11Settings, tmp_path: Path, text: str, names: list[str]
) -> None:
    for name in ("tokens", "other"):
        (tmp_path / name).mkdir()
    found = softhsm(settings, tmp_path, text.format(folder=tmp_path))
    assert found.readable == (str(tmp_path / "softhsm2.conf"),)
    assert found.writable == (settings.state_folder, *(str(tmp_path / name) for name in names))


def test_a_link_opens_no_folder_of_the_whole_machine(settings: Pkcs11Settings, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    paths = (str(tmp_path / "link"),)
    for changed in (settings._replace(readable=paths), settings._replace(writable=paths)):
        with pytest.raises(ModuleAccessError, match="module_readable"):
            module_access(changed)


@pytest.mark.parametrize("folder", ["/", "//", "/etc", "/etc/", "/usr/../var", "{folder}/link"])
def test_no_tokens_are_in_a_folder_of_the_whole_machine(settings: Pkcs11Settings, tmp_path: Path, folder: str) -> None:
    (tmp_path / "link").symlink_to("/home")
    text = f"log.level = ERROR\ndirectories.tokendir = {folder.format(folder=tmp_path)}\n"
    with pytest.raises(ModuleAccessError, match=r"softhsm2\.conf:2: directories\.tokendir is /"):
        softhsm(settings, tmp_path, text)


def test_a_configuration_that_is_no_text_names_nothing(settings: Pkcs11Settings, tmp_path: Path) -> None:
    (tmp_path / "softhsm2.conf").write_bytes(bytes(range(256)) * 1000)
    assert softhsm(settings, tmp_path, None).writable == (settings.state_folder,)


def test_a_configuration_that_is_not_there_is_not_needed(settings: Pkcs11Settings, tmp_path: Path) -> None:
    assert softhsm(settings, tmp_path, None).readable == ()


def test_without_the_variable_softhsm_looks_where_it_is_installed(
    settings: Pkcs11Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "second.conf").write_text(f"directories.tokendir = {tmp_path}\n")
    usual = (str(tmp_path / "first.conf"), str(tmp_path / "second.conf"))
    monkeypatch.setattr(module, "_DEFAULTS", {"SOFTHSM2_CONF": usual})
    wanted = settings._replace(library_path="/usr/lib/libsofthsm2.so", environment=("OTHER=1",))
    found = module_access(wanted)
    assert found.readable == (usual[1],)
    assert found.writable == (settings.state_folder, str(tmp_path))
    # A variable that is set counts, even if it names nothing.
    assert module_access(wanted._replace(environment=("SOFTHSM2_CONF=/nowhere",))).readable == ()


def test_the_folder_is_made_for_the_worker_alone(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "cofferdam" / "pkcs11"
    mask = os.umask(0)
    try:
        own(str(folder), None)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) & 0o022 == 0
    (folder / "login").touch()
    folder.chmod(0o755)
    own(str(folder), None)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "login").exists()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_folder_belongs_to_the_worker(tmp_path: Path) -> None:
    own(str(tmp_path / "state"), UID)
    state = (tmp_path / "state").stat()
    assert (state.st_uid, state.st_gid) == (UID, UID)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_somebody_s_folder_is_not_given_away(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "passwd").touch()
    with pytest.raises(ModuleAccessError, match=r"'passwd'.*state_folder"):
        own(str(tmp_path), UID)
    assert (tmp_path.stat().st_uid, stat.S_IMODE(tmp_path.stat().st_mode)) == (0, 0o755)
    # A worker's folder is accepted from its successor, and with any content by a worker with the same uid.
    (tmp_path / "passwd").rename(tmp_path / "login")
    own(str(tmp_path), UID)
    (tmp_path / "other").touch()
    own(str(tmp_path), UID)
    with pytest.raises(ModuleAccessError):
        own(str(tmp_path), UID + 1)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_an_empty_folder_is_given_away_by_root_only(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    own(str(tmp_path / "new"), UID)
    (tmp_path / "home").mkdir(mode=0o755)
    os.chown(tmp_path / "home", UID + 1, UID + 1)
    with pytest.raises(ModuleAccessError, match=f"uid {UID + 1}; .*state_folder"):
        own(str(tmp_path / "home"), UID)
    found = (tmp_path / "home").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (UID + 1, 0o755)


@pytest.mark.parametrize("uid", [None, UID])
def test_a_folder_of_the_whole_machine_is_nobody_s(uid: int | None) -> None:
    before = os.stat("/home")
    for folder in ("/home", "/home/", "//home", "/usr/../home"):
        with pytest.raises(ModuleAccessError, match="state_folder"):
            own(folder, uid)
    assert os.stat("/home") == before


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModuleAccessError, match="state_folder"):
        own(str(tmp_path / name), None)


@pytest.mark.parametrize("name", ["link", "link/below", "dangling", "dangling/below"])
def test_links_are_followed_if_only_the_administrator_can_change_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    tmp_path.chmod(0o777)
    with pytest.raises(ModuleAccessError, match=f"can change, by {tmp_path}"):
        own(str(tmp_path / name), None)
    assert not (tmp_path / "nowhere").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    tmp_path.chmod(0o755)
    own(str(tmp_path / name), None)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700


def test_files_that_are_not_there_are_obstacles(tmp_path: Path) -> None:
    (tmp_path / "there").touch(mode=0o600)
    found = list(
        obstacles(
            ModuleAccess(
                loading=(),
                readable=(str(tmp_path / "there"), str(tmp_path / "missing")),
                writable=(str(tmp_path), str(tmp_path / "gone")),
                needs=frozenset(),
            )
        )
    )
    assert [one["file"] for one in found] == [str(tmp_path / "missing"), str(tmp_path / "gone")]
    assert [one["found"] for one in found] == [f"nothing at {one['file']}" for one in found]


@pytest.mark.parametrize(("environment", "named"), [((), "where SoftHSM looks"), (True, "provider.module_environment")])
def test_a_path_says_which_setting_names_it(
    settings: Pkcs11Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: object, named: str
) -> None:
    configuration = tmp_path / "softhsm2.conf"
    (tmp_path / "tokens").mkdir()
    configuration.write_text(f"directories.tokendir = {tmp_path}/tokens\n")
    monkeypatch.setattr(module, "_DEFAULTS", {"SOFTHSM2_CONF": (str(configuration),) if not environment else ()})
    found = module_access(
        settings._replace(
            library_path="/usr/lib/libsofthsm2.so",
            environment=(f"SOFTHSM2_CONF={configuration}",) if environment else (),
            readable=("/srv/r",),
            writable=("/srv/w",),
        )
    )
    assert set(found.readable) | set(found.writable) == found.origins.keys()
    assert named in found.origins[str(configuration)]
    assert str(configuration) in found.origins[f"{tmp_path}/tokens"]
    for path, setting in {"/srv/r": "module_readable", "/srv/w": "module_writable"}.items():
        assert f"provider.{setting}" in found.origins[path]
    assert "provider.state_folder" in found.origins[settings.state_folder]

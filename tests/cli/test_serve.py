"""Starting the service: an isolated interpreter finds all packages of the service."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from cofferdam_cli.serve import command
from cofferdam_runtime.boot import BOOT
from cofferdam_runtime.command import root_of

ROLES = ("broker", "config", "frontend", "kim")


def test_the_interpreter_is_isolated_and_the_path_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = command("config.toml")
    assert words[:8] == [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", BOOT]
    assert words[9:] == ["cofferdam_broker", str(tmp_path / "config.toml")]
    assert all(Path(folder).is_absolute() for folder in words[8].split(":"))


def test_its_path_is_enough_for_every_process() -> None:
    names = [f"cofferdam_{role}.__main__" for role in ROLES] + ["cofferdam_providers.software.__main__"]
    program = f"import sys; sys.path[:0] = sys.argv[1].split(':'); import {', '.join(names)}"
    words = command("config.toml")
    subprocess.run([*words[:7], program, words[8]], check=True)


def test_packages_are_found_without_importing_them() -> None:
    program = (
        "import sys; from cofferdam_cli.serve import command; command('c');"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    listed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert "'cofferdam_runtime'" in listed
    assert not [role for role in (*ROLES, "providers", "client") if f"cofferdam_{role}'" in listed]
    assert not [library for library in ("cryptography", "pkcs11") if f"'{library}'" in listed]


def test_the_command_becomes_the_broker(tmp_path: Path) -> None:
    program = "import sys; from cofferdam_cli.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", program, "serve", "-c", str(tmp_path / "none.toml")]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "component=broker" in done.stderr
    assert "none.toml" in done.stderr


def test_a_missing_package_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="package nonexistent is not installed"):
        root_of("nonexistent")
    with pytest.raises(FileNotFoundError, match=r"package nonexistent\.inner is not installed"):
        root_of("nonexistent.inner")


def test_a_folder_with_a_colon_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "lonely_module.py").touch()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr("cofferdam_cli.serve._LIBRARIES", ("lonely_module",))
    with pytest.raises(NotADirectoryError, match="colon"):
        command("config.toml")


def test_a_plain_module_is_found_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain_module.py").touch()
    (tmp_path / "whole_package" / "inner").mkdir(parents=True)
    (tmp_path / "whole_package" / "__init__.py").touch()
    (tmp_path / "whole_package" / "inner" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert [root_of(name) for name in ("plain_module", "whole_package", "whole_package.inner")] == [str(tmp_path)] * 3

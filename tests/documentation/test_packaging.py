"""What lies in packaging/ fits the code: the sample configuration is accepted, the unit grants what is needed."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cofferdam_cli.cli import parser
from cofferdam_config.host_facts import HostFacts
from cofferdam_config.places import PROVIDER_TYPES
from cofferdam_config.plan import read
from cofferdam_config.tables import Limits
from cofferdam_config.tcti import DEVICE
from cofferdam_config.tokens import CREDENTIAL
from cofferdam_contracts.ipc.control import Level
from cofferdam_contracts.roles import AS_CONFIGURED, UID_COUNT, WORKERS, Role
from cofferdam_contracts.settings import KimSettings, SoftwareSettings
from cofferdam_runtime.sandbox.broker import CAPABILITIES
from cofferdam_runtime.sandbox.rank import BROKER_NICE

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
FACTS = HostFacts(credentials={}, groups={}, is_root=True)


def _unit(name: str) -> configparser.RawConfigParser:
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(PACKAGING / "systemd" / name)
    return unit


@pytest.fixture(scope="module")
def service() -> configparser.RawConfigParser:
    return _unit("cofferdam.service")


def test_the_sample_configuration_is_accepted_without_warnings() -> None:
    plan = read((PACKAGING / "config.toml").read_bytes(), path="config.toml", facts=FACTS)
    assert plan.warnings == ()
    assert plan.broker.require == Level.UID
    settings = {role: value for role, _, value in plan.documents}
    kim, worker = settings[Role.KIM], settings[Role.SOFTWARE_WORKER]
    assert isinstance(kim, KimSettings)
    assert isinstance(worker, SoftwareSettings)
    # Inside what the unit lets the service write to.
    assert {path.startswith("/var/lib/parsec/") for path in (kim.stores[0].path, worker.kek_file)} == {True}


def test_what_the_sample_has_commented_out_is_accepted_as_well() -> None:
    lines = (PACKAGING / "config.toml").read_text().splitlines()
    text = "\n".join(
        line.removeprefix("#") if line.startswith("#[[") or (line.startswith("#") and " = " in line) else line
        for line in lines
    )
    plan = read(text.encode(), path="config.toml", facts=FACTS)
    assert plan.warnings == ()
    assert {worker.role for worker in plan.broker.workers} == WORKERS
    assert {other.role for other in plan.broker.others} == AS_CONFIGURED


def test_the_unit_leaves_the_broker_its_capabilities(service: configparser.RawConfigParser) -> None:
    granted = service["Service"]["CapabilityBoundingSet"].split()
    assert {name.removeprefix("CAP_").lower() for name in granted} == CAPABILITIES.keys()


def test_the_unit_waits_longer_than_the_service_takes(service: configparser.RawConfigParser) -> None:
    limits = {setting.name: setting.default for setting in Limits.settings}
    assert int(service["Service"]["TimeoutStopSec"]) * 1000 > int(str(limits["drain_ms"]))
    assert int(service["Service"]["WatchdogSec"]) * 1000 > int(str(limits["hang_ms"]))


def test_the_unit_reloads_what_it_starts(service: configparser.RawConfigParser) -> None:
    unit = service["Service"]
    start, reload = (parser().parse_args(unit[key].split()[1:]) for key in ("ExecStart", "ExecReload"))
    assert (start.command, reload.command) == ("serve", "reload")
    assert start.config == reload.config
    assert unit["Type"] == "notify", "notify-reload sends SIGHUP beside ExecReload="


def test_the_unit_bounds_what_the_limits_allow(service: configparser.RawConfigParser) -> None:
    limits = {setting.name: setting.default for setting in Limits.settings}
    frontends, connections = int(str(limits["max_frontends"])), int(str(limits["max_connections"]))
    unit = service["Service"]
    workers = len(WORKERS) * (64 + int(str(limits["worker_memory_mb"])))
    assert unit["MemoryMax"] == f"{(frontends + 1) * 64 + workers + 192}M"
    assert int(unit["TasksMax"]) >= UID_COUNT
    assert int(unit["LimitNOFILE"]) >= 2 * frontends * connections
    assert int(unit["Nice"]) == BROKER_NICE
    assert int(unit["OOMScoreAdjust"]) < min(role.row.oom_score for role in Role)
    assert "CPUWeight" in unit
    assert not {"MemoryHigh", "CPUQuota"} & set(unit), "they would stop everybody for one"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name in ("cofferdam.service", "cofferdam.socket"):
        text = (PACKAGING / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/bin/cofferdam", "/bin/true"))
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(path) for path in tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cofferdam" not in found.stdout + found.stderr
    assert found.returncode == 0


def test_the_children_may_confine_themselves(service: configparser.RawConfigParser) -> None:
    text = (PACKAGING / "systemd" / "cofferdam.service").read_text()
    needed = {"seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}
    allowed = {word for line in text.splitlines() if line.startswith("SystemCallFilter=") for word in line[17:].split()}
    assert needed <= allowed
    assert service["Service"]["KillMode"] == "mixed", "the broker ends the others in order"
    assert service["Service"]["OOMPolicy"] == "continue", "one process too many is no reason to end all"


def test_the_unit_names_the_credentials_that_there_are() -> None:
    text = (PACKAGING / "systemd" / "cofferdam.service").read_text()
    kinds = PROVIDER_TYPES.values()
    credentials = {kind.kek.credential for kind in kinds} | {one.credential for kind in kinds for one in kind.secrets}
    assert set(re.findall(r"^#LoadCredential=([^:]+):", text, re.MULTILINE)) == {*credentials, CREDENTIAL}


def test_the_unit_says_how_a_tpm_is_let_in(service: configparser.RawConfigParser) -> None:
    text = (PACKAGING / "systemd" / "cofferdam.service").read_text()
    assert service["Service"]["PrivateDevices"] == "yes"
    assert f"\n#PrivateDevices=no\n#DevicePolicy=closed\n#DeviceAllow={DEVICE} rw\n" in text


def test_socket_and_configuration_name_the_same_path() -> None:
    plan = read((PACKAGING / "config.toml").read_bytes(), path="config.toml", facts=FACTS)
    assert _unit("cofferdam.socket")["Socket"]["ListenStream"] == plan.broker.socket_path

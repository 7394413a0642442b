"""The resource manager of the tests works in front of swtpm and of the shim."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.tpm.shim import Shim
from tests.harness.tpm.swtpm import Swtpm
from tests.harness.tpm.tabrmd import Tabrmd, TabrmdError

MORE_THAN_SLOTS = 5
NOBODY = 65534
UNNAMED = 60999
CLIENT = """
import sys
from tpm2_pytss import ESAPI, TCTILdr
with TCTILdr(*sys.argv[1].split(":", 1)) as tcti, ESAPI(tcti) as esapi:
    print(len(esapi.get_random(8)))
"""


@pytest.fixture
def tpm() -> Iterator[Swtpm]:
    with Swtpm() as tpm:
        yield tpm


def test_has_room_for_more_objects_than_the_tpm(tpm: Swtpm, tmp_path: Path) -> None:
    with Tabrmd(tpm.tcti) as manager:
        for number in range(MORE_THAN_SLOTS):
            manager.tool("tpm2_createprimary", "-Q", "-c", f"key{number}", folder=tmp_path)
        assert manager.tool("tpm2_getcap", "handles-transient") == ""


def test_serves_the_library_and_the_shim_sees_it(tpm: Swtpm) -> None:
    with Shim(tpm.address) as shim, Tabrmd(shim.tcti) as manager:
        mark = shim.mark()
        done = subprocess.run(
            [sys.executable, "-I", "-c", CLIENT, manager.tcti],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **manager.environment},
        )
        assert done.stdout == "8\n"
        assert shim.count("GetRandom", since=mark) == 1


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(("uid", "served"), [(NOBODY, True), (UNNAMED, False)])
def test_serves_other_uids_that_have_names(tpm: Swtpm, uid: int, served: bool) -> None:
    with Tabrmd(tpm.tcti) as manager:
        done = subprocess.run(
            ["tpm2_getrandom", "--hex", "4"],
            check=False,
            capture_output=True,
            user=uid,
            group=uid,
            extra_groups=(),
            cwd="/",
            env={**os.environ, **manager.environment, "TPM2TOOLS_TCTI": manager.tcti},
        )
    assert (done.returncode == 0) == served


def test_comes_back_on_the_same_bus(tpm: Swtpm) -> None:
    with Tabrmd(tpm.tcti) as manager:
        manager.stop()
        with pytest.raises(TabrmdError):
            manager.tool("tpm2_getrandom", "4")
        manager.start()
        assert manager.tool("tpm2_getrandom", "--hex", "4")

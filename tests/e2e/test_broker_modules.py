"""The modules that are loaded in the broker, the only process with privileges.

They are counted when the shipped broker ends, after it has started, reloaded and replaced children, so that imports
within functions count too.
"""

import os
import sys
from pathlib import Path
from typing import Final

from tests.harness.events import reload, replace
from tests.harness.service import Service
from tests.harness.wire import ECDSA_SHA_256, P256_SIGN, Caller, call

from cofferdam_cli.serve import command
from cofferdam_runtime.boot import BOOT

MOST: Final = 106
"""Modules beyond those that the interpreter has loaded when it comes to the first line of a program."""
PACKAGES: Final = {"_prctl", "cofferdam_broker", "cofferdam_contracts", "cofferdam_runtime", "prctl"}
"""What may be loaded beside the standard library."""
_RECORDED: Final = """
import sys
before = set(sys.modules)
try:
    exec({boot!r})
finally:
    names = sorted(set(sys.modules) - before)
    with open({file!r}, "w") as file:
        file.write("\\n".join(names))
"""
_BECOME: Final = "import sys; from cofferdam_cli.serve import become; become(sys.argv[1:])"


class Recorded(Service):
    """A service whose broker writes down at its end which modules it has loaded."""

    @property
    def record(self) -> Path:
        """Return the file with their names."""
        return self.folder / "modules"

    def words(self) -> list[str]:
        """Return the words that start the shipped broker."""
        words = command(str(self.configuration_path))
        words[words.index(BOOT)] = _RECORDED.format(boot=BOOT, file=str(self.record))
        return [sys.executable, "-c", _BECOME, *words]


def test_the_broker_loads_few_modules() -> None:
    caller = Caller(os.getuid())
    with Recorded() as service:
        assert call(service.socket_path, caller.generate("k", P256_SIGN)).status == 0
        for role in ("worker[software]", "frontend", "kim"):
            replace(service, role)
        reload(service)
        assert call(service.socket_path, caller.sign("k", ECDSA_SHA_256, bytes(32))).status == 0
        service.stop()
        modules = service.record.read_text().split()
    packages = {name.partition(".")[0] for name in modules}
    assert packages - sys.stdlib_module_names == PACKAGES
    assert len(modules) <= MOST, f"{len(modules)} modules: {' '.join(modules)}"

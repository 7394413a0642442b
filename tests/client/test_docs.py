"""The examples of the documentation do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.client.simulator import service
from tests.client.vault import Vault

from cofferdam_contracts.registry import AuthType

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto" / "python-client.md"


def test_the_examples_run_one_after_the_other(tmp_path: Path) -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", HOWTO.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) > 4
    vault = Vault(authenticator=AuthType.UNIX_PEER_CREDENTIALS)
    with service(tmp_path / "s", vault.answers()) as simulator:
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(examples)],
            check=False,
            env={**os.environ, "PARSEC_SERVICE_ENDPOINT": simulator.endpoint},
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("(1, 0)\n1 software")
    assert {"invoices", "sessions", "archive"} <= set(vault.keys)

"""Run other implementations' clients against the service, and judge what they get by yet others' cryptography.

`./dev interop [--tool auto|cargo|debian|PATH]`

What cannot be had is a failure, never a skip.
"""

import argparse
import os
import sys

from tests.harness.service import Service
from tests.interop import go_client, openssl, parsec_tool, tool_session
from tests.interop.report import Report


def main() -> int:
    """Run everything; the exit status tells whether all of it passed."""
    parser = argparse.ArgumentParser(prog="./dev interop", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tool", default="auto", help="where parsec-tool is from: auto, cargo, debian, or its path")
    arguments = parser.parse_args()
    report = Report()
    uid = os.geteuid()
    with report.check(f"the session with parsec-tool {parsec_tool.VERSION} was held to its end"):
        tool = parsec_tool.obtain(arguments.tool)
        print(f"{tool.succeed('--version').strip()}; {openssl.openssl('version').strip()}", flush=True)
        assert tool.succeed("--version").strip() == f"parsec-tool {parsec_tool.VERSION}"
        with Service() as service, Service(admins=[str(uid)]) as other:
            tool_session.hold(tool.at(service.endpoint), tool.at(other.endpoint), uid, report)
            with report.check("every process lived through it"):
                assert all(row["restarts"] == 0 for row in service.status()["processes"] + other.status()["processes"])
    with report.check("the client in Go was built and ran to its end"):
        program = go_client.build()
        with Service() as service:
            go_client.run(program, service.socket_path, report)
    print(f"\n{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())

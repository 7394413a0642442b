"""Run other implementations' clients against the service, and verify their results with independent cryptography.

`./dev interop [--tool auto|cargo|debian|PATH] [--reference]`

What cannot be had is a failure, never a skip.
"""

import argparse
import os
import sys
from typing import Final

from tests.harness.pkcs11.service import PROVIDER, TokenService
from tests.harness.pkcs11.token import objects
from tests.harness.service import Service
from tests.harness.tpm.service import TpmService
from tests.harness.tpm.swtpm import Swtpm
from tests.interop import go_client, openssl, parsec_tool, spire_bundles, spire_identities, take_over, tool_session
from tests.interop.parsec_tool import ParsecTool
from tests.interop.report import Report

_HANDLES: Final = ("handles-transient", "handles-persistent", "handles-loaded-session", "handles-saved-session")
"""What tpm2_getcap lists of the things that a TPM keeps for somebody."""


def main() -> int:
    """Run everything; the exit status tells whether all of it passed."""
    parser = argparse.ArgumentParser(prog="./dev interop", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tool", default="auto", help="where parsec-tool is from: auto, cargo, debian, or its path")
    parser.add_argument(
        "--reference",
        action="store_true",
        help="take over from Parsec's own service as well, and give back; needs root and the lab",
    )
    arguments = parser.parse_args()
    report = Report()
    uid = os.geteuid()
    with report.check(f"the sessions with parsec-tool {parsec_tool.VERSION} were held to their end"):
        tool = parsec_tool.obtain(arguments.tool)
        print(f"{tool.succeed('--version').strip()}; {openssl.openssl('version').strip()}", flush=True)
        assert tool.succeed("--version").strip() == f"parsec-tool {parsec_tool.VERSION}"
        with Service() as service, Service(admins=[str(uid)]) as other:
            _session(tool_session.SOFTWARE, tool, (service, other), report)
        with TokenService() as first, TokenService(admins=[str(uid)]) as second:
            _session(tool_session.SOFTHSM, tool, (first.service, second.service), report)
            with report.check("keys of the token were in the token"):
                # The session leaves one key, of two objects, in the service that has no administrator.
                assert [len(objects(each.token)) for each in (first, second)] == [2, 0]
        with Swtpm() as tpm:
            with TpmService(swtpm=tpm) as one, TpmService(admins=[str(uid)]) as another:
                _session(tool_session.SWTPM, tool, (one.service, another.service), report)
            with report.check("nothing was left in the TPM"):
                assert "0x" not in "".join(map(tpm.getcap, _HANDLES))
    with report.check("the client in Go was built and ran to its end"):
        program = go_client.build()
        with Service() as service:
            go_client.run(program, service.socket_path, 1, report)
        with TokenService(values={"allow_export": True}) as harness:
            go_client.run(program, harness.service.socket_path, PROVIDER, report)
    with report.check("SPIRE was built and ran to its end"):
        spire_bundles.run(report)
        spire_identities.run(report)
    if arguments.reference:
        take_over.run(report)
    print(f"\n{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


def _session(
    subject: tool_session.Subject, tool: ParsecTool, services: tuple[Service, Service], report: Report
) -> None:
    """Hold a session with a provider of two services, of which the second has the tool for an administrator."""
    print(f"--- {subject.name}", flush=True)
    ends = [tool.at(service.endpoint) for service in services]
    tool_session.hold(subject, ends[0], ends[1], os.geteuid(), report)
    with report.check("every process lived through it"):
        assert all(row["restarts"] == 0 for service in services for row in service.status()["processes"])


if __name__ == "__main__":
    sys.exit(main())

"""Start the service from this checkout and use a key with it.

`./dev run [--once]`: the service runs in a scratch folder until Ctrl-C, with `--once` only for the demonstration.
Started as root, every process has a uid of its own.
"""

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from tests.harness.interpreter import cofferdam
from tests.harness.service import Service, ServiceFailedError

_MESSAGE: Final = "the tide is out"
_TIME_S: Final = 60
_INTERRUPTED: Final = 130
"""What a shell reports for a program that ended on SIGINT."""
_COLUMNS: Final = "pid,ppid,user:12,rss,nlwp,args"


class Demonstration:
    """Commands that are shown, carried out, and must do what they say."""

    def __init__(self, service: Service) -> None:
        """Show what this service does."""
        self._environment = {**os.environ, "PARSEC_SERVICE_ENDPOINT": service.endpoint}

    def show(self, *arguments: str) -> str:
        """Run a command of `cofferdam`, show it with its output, and return that.

        Raises:
            subprocess.CalledProcessError: It failed.
        """
        print(f"$ {shlex.join(['cofferdam', *arguments])}", flush=True)
        done = subprocess.run(
            [*cofferdam(), *arguments],
            check=True,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_TIME_S,
        )
        print(done.stdout.rstrip("\n"), flush=True)
        return done.stdout.strip()

    def run(self) -> bool:
        """Use an elliptic-curve key and an RSA key; return whether what was encrypted came back."""
        self.show("ping")
        self.show("create-ecc-key", "-k", "harbour")
        signature = self.show("sign", "-k", "harbour", _MESSAGE)
        self.show("verify", "-k", "harbour", "--signature", signature, _MESSAGE)
        self.show("create-rsa-key", "-k", "lock")
        ciphertext = self.show("encrypt", "-k", "lock", _MESSAGE)
        plaintext = self.show("decrypt", "-k", "lock", ciphertext)
        self.show("list-keys")
        return plaintext == _MESSAGE


def main() -> int:
    """Demonstrate, then serve until told to stop; the exit status tells whether all of it worked."""
    parser = argparse.ArgumentParser(prog="./dev run", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--once", action="store_true", help="stop after the demonstration")
    arguments = parser.parse_args()
    # Both end the service in good order, whatever is going on.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with Service(admins=[str(os.geteuid())]) as service:
            print(f"The service is ready after {service.ready_s:.2f} s; its configuration:\n")
            print(service.configuration_path.read_text(), flush=True)
            demonstration = Demonstration(service)
            worked = demonstration.run()
            demonstration.show("status", "-c", str(service.configuration_path))
            _show_processes(service.pids())
            if not arguments.once:
                _invite(service)
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
            status = service.stop()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (ServiceFailedError, subprocess.SubprocessError) as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    print("The service has ended and its folder is removed.")
    return 0 if worked and status == 0 else 1


def _show_processes(pids: Sequence[int]) -> None:
    words = ["ps", "-o", _COLUMNS, "-p", ",".join(map(str, pids))]
    print(f"$ {shlex.join(words)}", flush=True)
    try:
        subprocess.run(words, check=True)
    except FileNotFoundError:
        print("(ps is not installed here)")


def _invite(service: Service) -> None:
    print(
        "\nIt goes on until Ctrl-C. To use it from another terminal:\n\n"
        f"    export PARSEC_SERVICE_ENDPOINT={service.endpoint}\n"
        "    .venv/bin/cofferdam list-keys\n"
        f"    .venv/bin/cofferdam status -c {service.configuration_path}\n",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

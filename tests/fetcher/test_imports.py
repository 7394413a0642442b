"""A fetcher is confined once its modules are imported: nothing that it does later may import another one."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.fetcher.agent import Caller, agent, framed, message
from tests.fetcher.web import Authority, answering, website

from cofferdam_contracts.endpoints import UnixEndpoint

PROGRAM = """
import sys
from cofferdam_fetcher.source import Reports
from cofferdam_runtime.loop import Loop
kind, *words = sys.argv[1:]
found, failed, loop = [], [], Loop()
reports = Reports(lambda *each: found.append(each), failed.append)
if kind == "workload":
    from cofferdam_contracts.endpoints import UnixEndpoint
    from cofferdam_fetcher.workload_api import WorkloadApi
    source = WorkloadApi(loop, UnixEndpoint(words[0]), reports)
else:
    from cofferdam_fetcher.https import Https, Issuer, Tools
    from cofferdam_fetcher.resolver import Names
    from cofferdam_fetcher.tls import trust
    url, jwks, file = words
    source = Https(loop, Issuer(url, jwks), Tools(trust(file), Names({"issuer.example": ["127.0.0.1"]}, [])), reports)
class Refusing:
    def find_spec(self, name, path=None, target=None):
        sys.exit(f"{name} is imported")
imported = set(sys.modules)
sys.meta_path.insert(0, Refusing())
source.start()
while not found and not failed:
    loop.look(min(source.tick(), 1))
sys.meta_path.pop(0)
threads = next(line for line in open("/proc/self/status") if line.startswith("Threads"))
print(found, failed, threads.split()[1], sorted(set(sys.modules) - imported), sorted({"h2", "h11", "ssl"} & imported))
"""
KEYS = b"{}"


def _run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM, *words], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_workload_api_is_followed_without_imports_and_threads() -> None:
    def behave(caller: Caller) -> None:
        caller.begin()
        caller.say(framed(message(("example.org", KEYS))))
        caller.wait()

    with agent(behave) as endpoint:
        assert _run("workload", endpoint.path) == "[('example.org', b'{}')] [] 1 [] ['h2']"
    assert _run("workload", UnixEndpoint("/none").path).startswith("[] ['the Workload API at /none: cannot connect")


@pytest.mark.parametrize("way", ["jwks", "discovery", "error"])
def test_keys_are_fetched_without_imports_and_threads(tmp_path: Path, way: str) -> None:
    authority = Authority(tmp_path)
    with website(authority.server("issuer.example"), answering(KEYS)) as (port, _):
        url = f"https://issuer.example:{port}"
        if way == "jwks":
            assert _run("https", url, f"{url}/keys", authority.file) == f"[('{url}', b'{{}}')] [] 1 [] ['h11', 'ssl']"
        else:
            printed = _run("https", url if way == "discovery" else "https://other.example", "", authority.file)
            assert printed.endswith("1 [] ['h11', 'ssl']"), printed

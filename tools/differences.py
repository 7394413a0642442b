"""Send the same requests to two services and print where a client gets different answers.

    python -m tools.differences unix:/run/a.sock unix:/run/b.sock --provider 1 [--scenario NAME...] [--malformed COUNT]

Both have to serve the provider, with UnixPeerCredentials, and no key of the name "differences". Outcomes are statuses
and lengths, and digests where the answer is determined by the request; what is equal is only counted. Differences are
grouped by operation and pair of outcomes, with examples. docs/explanation/testing.md has what was found.
"""

import argparse
import itertools
import os
import sys
from collections import defaultdict
from typing import Final

from tests.harness import malformed, wire
from tools.differences_scenarios import SCENARIOS, Material, Probe

from cofferdam_client import Client
from cofferdam_client.authentication import FirstUsable
from cofferdam_client.endpoint import socket_path
from cofferdam_client.session import Session
from cofferdam_contracts.registry import CORE_OPCODES, Opcode

_SEED: Final = 11


def main() -> int:
    """Ask both services, and say where they differ; the exit status is 1 if they do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("endpoints", nargs=2, help="unix:PATH of a service")
    parser.add_argument("--provider", type=int, required=True, help="the number of the provider")
    parser.add_argument("--scenario", nargs="*", choices=[each.__name__ for each in SCENARIOS], default=None)
    parser.add_argument(
        "--malformed",
        type=int,
        default=0,
        metavar="COUNT",
        help="send so many malformed requests to provider 1 instead",
    )
    parser.add_argument("--examples", type=int, default=3, help="how many examples of a difference are printed")
    arguments = parser.parse_args()
    if arguments.malformed:
        first, second = (_answers(socket_path(each), arguments.malformed) for each in arguments.endpoints)
        return _compare(first, second, frozenset(), arguments.examples)
    material = Material()
    first, second = (_outcomes(each, material, arguments) for each in arguments.endpoints)
    return _compare(first, second, _unlisted(arguments.endpoints[0], arguments.provider), arguments.examples)


def _unlisted(endpoint: str, provider: int) -> frozenset[str]:
    with Client(endpoint, provider=provider) as client:
        listed = client.list_opcodes() | CORE_OPCODES
    return frozenset(opcode.name for opcode in Opcode if opcode not in listed)


def _outcomes(endpoint: str, material: Material, arguments: argparse.Namespace) -> dict[str, str]:
    probe = Probe(Session(socket_path(endpoint), arguments.provider, FirstUsable(), 120.0), material)
    for scenario in SCENARIOS:
        if arguments.scenario is None or scenario.__name__ in arguments.scenario:
            scenario(probe)
    return probe.outcomes


def _answers(path: str, count: int) -> dict[str, str]:
    """Return the first response of each connection: the reference never reads a second request."""
    caller = wire.Caller(os.geteuid())
    for name, attributes in malformed.KEYS.items():
        wire.call(path, caller.generate(name, attributes))
    outcomes: dict[str, str] = {}
    for index, case in enumerate(itertools.islice(malformed.cases(_SEED), count)):
        answer, _ = wire.converse(path, case.data, half_close=True)
        first = wire.split_responses(answer)[0]
        outcome = f"{first.status} of {first.opcode}" if first.opcode != wire.PING else str(first.status)
        outcomes[f"MALFORMED {index}, {case.name}"] = outcome
    return outcomes


def _compare(first: dict[str, str], second: dict[str, str], unlisted: frozenset[str], examples: int) -> int:
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    # What only one service was asked is a consequence: only there was a key to use.
    both = [label for label in first if label in second]
    for label in both:
        if first[label] != second[label]:
            groups[(label.split(" ")[0], first[label], second[label])].append(label)
    apart = 0
    for (opcode, one, other), found in sorted(groups.items()):
        if opcode in unlisted:
            apart += len(found)
            continue
        print(f"{opcode}: {one} | {other}: {len(found)}")
        for label in found[:examples]:
            print(f"    {label}")
    different = sum(map(len, groups.values()))
    print(f"{len(both)} answers of both, {different} different, {apart} of these by operations that the first lacks")
    return 1 if groups else 0


if __name__ == "__main__":
    sys.exit(main())

"""The broker keeps what it needs to start and signal children, and nothing else."""

import os

from tests.runtime.sandbox.harness import IS_ROOT, scene

from cofferdam_runtime.sandbox.broker import CAPABILITIES
from cofferdam_runtime.sandbox.inspect import observe


def test_only_the_listed_capabilities_are_left() -> None:
    left = scene("broker")
    before = observe(os.getpid())[0].effective
    kept = sum(1 << number for number in CAPABILITIES.values()) & before
    assert left["effective"] == kept
    assert left["no_new_privs"] is True
    if IS_ROOT:
        assert left["bounding"] == kept

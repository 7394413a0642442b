"""Random bytes of the kernel, for clients and for symmetric keys."""

import os


def random_bytes(size: int) -> bytes:
    """Return `size` bytes of the kernel's generator."""
    return os.urandom(size)

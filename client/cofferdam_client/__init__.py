"""A client library for Parsec services: `Client`, what its methods take and return, and what they raise.

The names are those of `cofferdam_client.api`. They are loaded when the first of them is used, so that
`cofferdam serve`, which needs none of them, starts the service without delay.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cofferdam_client.api import *  # noqa: F403  api says in __all__ what is public


def __getattr__(name: str) -> object:
    """Load the library and return one of its public names."""
    api = importlib.import_module("cofferdam_client.api")
    if name not in api.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(api, name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(importlib.import_module("cofferdam_client.api").__all__)

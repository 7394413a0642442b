"""Where the service listens."""

import os
from typing import Final

from cofferdam_client.errors import ConnectionFailedError

VARIABLE: Final = "PARSEC_SERVICE_ENDPOINT"
DEFAULT_ENDPOINT: Final = "unix:/run/parsec/parsec.sock"
_SCHEME: Final = "unix:"


def socket_path(endpoint: str | None) -> str:
    """Return the path of the socket that an endpoint names; None stands for the environment's, or else the default.

    Raises:
        ConnectionFailedError: It names none.
    """
    named = os.environ.get(VARIABLE) or DEFAULT_ENDPOINT if endpoint is None else endpoint
    path = named.removeprefix(_SCHEME)
    # `unix:///path` is the same endpoint written as a URI with an empty authority.
    path = path.removeprefix("//") if path.startswith("///") else path
    if not named.startswith(_SCHEME) or not path.startswith("/") or "\0" in path:
        origin = VARIABLE if endpoint is None else "the endpoint"
        raise ConnectionFailedError(f"{origin} is {named!r}; it has to be like {DEFAULT_ENDPOINT!r}")
    return path

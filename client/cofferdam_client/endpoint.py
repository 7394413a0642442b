"""The endpoint of the service: the path of its socket."""

import os
from typing import Final

from cofferdam_client.errors import ConnectionFailedError

VARIABLE: Final = "PARSEC_SERVICE_ENDPOINT"
DEFAULT_ENDPOINT: Final = "unix:/run/parsec/parsec.sock"
_SCHEME: Final = "unix:"


def socket_path(endpoint: str | None) -> str:
    """Return the path of the socket that an endpoint names.

    None stands for PARSEC_SERVICE_ENDPOINT from the environment if it is set, or else for the default.

    Raises:
        ConnectionFailedError: The endpoint is not `unix:` and an absolute path.
    """
    named = os.environ.get(VARIABLE) or DEFAULT_ENDPOINT if endpoint is None else endpoint
    path = named.removeprefix(_SCHEME)
    # `unix:///path` is the same endpoint written as a URI with an empty authority.
    path = path.removeprefix("//") if path.startswith("///") else path
    if not named.startswith(_SCHEME) or not path.startswith("/") or "\0" in path:
        origin = VARIABLE if endpoint is None else "the endpoint"
        raise ConnectionFailedError(f"{origin} is {named!r}; it must have the form {DEFAULT_ENDPOINT!r}")
    return path

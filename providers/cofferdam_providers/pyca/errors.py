"""Errors of the library as statuses; no exception of the library leaves this package.

`ValueError` has a different meaning at each place, so it is translated where it is raised; errors that may come from
anywhere are translated once, around each operation of a provider.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from cryptography.exceptions import InternalError, UnsupportedAlgorithm

from cofferdam_contracts.status import ServiceError, Status

P = ParamSpec("P")
R = TypeVar("R")


def invalid_argument(detail: str) -> ServiceError:
    """Return the error for a value that no key or algorithm of this kind can have."""
    return ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, detail)


def not_supported(detail: str) -> ServiceError:
    """Return the error for a well-formed request that is not supported here."""
    return ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, detail)


def invalid_signature(detail: str) -> ServiceError:
    """Return the error for a signature, tag or digest that does not match."""
    return ServiceError(Status.PSA_ERROR_INVALID_SIGNATURE, detail)


def invalid_padding(detail: str) -> ServiceError:
    """Return the error for a plaintext whose padding is wrong."""
    return ServiceError(Status.PSA_ERROR_INVALID_PADDING, detail)


def translated(method: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that any call of the library may raise into service errors."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except UnsupportedAlgorithm as error:
            # The tables name only what the library has, but its build of OpenSSL may lack an algorithm.
            raise not_supported("the cryptographic library lacks the algorithm") from error
        except InternalError as error:
            raise ServiceError(Status.PSA_ERROR_GENERIC_ERROR, "an internal error of the library") from error

    return call

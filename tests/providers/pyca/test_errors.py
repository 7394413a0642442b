"""The library's errors as statuses."""

import pytest
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from tests.providers.support import refused

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.errors import translated


@translated
def _fail(error: Exception) -> None:
    raise error


def test_an_algorithm_that_the_build_lacks_is_not_supported() -> None:
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        _fail(UnsupportedAlgorithm("no such curve"))


def test_an_internal_error_is_a_generic_one() -> None:
    with refused(Status.PSA_ERROR_GENERIC_ERROR):
        _fail(InternalError("unknown OpenSSL error", []))


def test_service_errors_and_bugs_pass_through() -> None:
    with refused(Status.PSA_ERROR_INVALID_PADDING):
        _fail(ServiceError(Status.PSA_ERROR_INVALID_PADDING))
    with pytest.raises(ZeroDivisionError):
        _fail(ZeroDivisionError())

"""A provider whose keys are in a device that may be unavailable.

Without its device the provider stays up and refuses every operation at once, so that clients are not left waiting.
After `RETRY_S` it makes room for a successor, which opens the device from scratch: some PKCS#11 modules do not notice a
token that came back before they are initialised again.
"""

import time
from abc import abstractmethod
from typing import ClassVar, Final, Generic, TypeVar

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import HandleT, Provider
from cofferdam_runtime.log import Log

RETRY_S: Final = 15.0
"""How long a worker without its device refuses before a successor tries again. The four deaths a minute that result are
few enough for the broker not to delay the next start (`runtime.backoff`)."""
DeviceT = TypeVar("DeviceT")


class DeviceProvider(Provider[HandleT], Generic[HandleT, DeviceT]):
    """Keeps the device once `open` has opened it, and the reason why it is refused otherwise."""

    device_name: ClassVar[str]
    """The device in messages."""
    slow_generation = True

    def __init__(self, log: Log) -> None:
        self._log = log
        self._opened: DeviceT | None = None
        self._refusal = ServiceError(Status.PSA_ERROR_HARDWARE_FAILURE, f"{self.device_name} has not been opened")

    def require_device(self) -> None:
        """Refuse while there is no device."""
        self._device()

    def _device(self) -> DeviceT:
        if self._opened is None:
            # A new error each time: an error keeps the frames it passes through, and a shared one would keep all
            # requests alive.
            raise ServiceError(self._refusal.status, self._refusal.detail)
        return self._opened

    @abstractmethod
    def _report_unusable(self, **details: object) -> str:
        """Write to the log that the device cannot be used; return the sentence."""

    def _wait(self, refusal: ServiceError, *, retry: bool = True) -> None:
        """Refuse everything from now on with this error; `retry` says whether a successor may succeed."""
        self._refusal = ServiceError(refusal.status, refusal.detail)
        next_try = f"in {RETRY_S:.0f} s" if retry else "after a reload"
        why = self._report_unusable(cause=refusal.detail, next_try=next_try)
        self.say_down(why, retry_s=RETRY_S if retry else 0.0)
        if retry:
            self.expires = time.monotonic() + RETRY_S

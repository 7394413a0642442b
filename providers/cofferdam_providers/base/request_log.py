"""What a worker logs about requests."""

from typing import Final

from cofferdam_contracts.ipc.requests import ProviderRequest
from cofferdam_contracts.registry import Opcode, ProviderId
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.peers import Principal
from cofferdam_runtime.log import Log

_CHANGES: Final = frozenset(
    {Opcode.PSA_GENERATE_KEY, Opcode.PSA_IMPORT_KEY, Opcode.PSA_DESTROY_KEY, Opcode.DELETE_CLIENT}
)


class RequestLog:
    """Writes the lines about requests; names of applications and keys only if the administrator wants them."""

    def __init__(self, log: Log, provider: ProviderId) -> None:
        self._log = log
        self._provider = provider.value
        self._debug = log.enabled("debug")

    def succeeded(self, principal: Principal, request: ProviderRequest, *, changed: bool) -> None:
        """Note a request that succeeded; `changed` is false where one that changes keys found none."""
        if changed and request.operation.opcode in _CHANGES:
            self._log.info("a key was changed", **self._about(principal, request))
        if self._debug:
            self._served(principal, request, Status.SUCCESS)

    def failed(self, principal: Principal, request: ProviderRequest, error: ServiceError) -> None:
        """Note a request that failed."""
        if self._log.enabled("info"):
            about = self._about(principal, request)
            self._log.info("a request failed", status=error.status.value, cause=error.detail, **about)
        if self._debug:
            self._served(principal, request, error.status)

    def violated(self, principal: Principal, error: Exception) -> None:
        """Note a message that no honest frontend sends."""
        self._log.error(
            "a frontend broke the protocol; its channel is closed",
            frontend=principal.number,
            uid=principal.uid,
            cause=error,
        )

    def _served(self, principal: Principal, request: ProviderRequest, status: Status) -> None:
        self._log.debug("a request was served", status=status.value, **self._about(principal, request))

    def _about(self, principal: Principal, request: ProviderRequest) -> dict[str, object]:
        about: dict[str, object] = {
            "req": f"{principal.number}:{request.id:x}",
            "op": request.operation.opcode.name,
            "provider": self._provider,
            "uid": principal.uid,
        }
        if self._log.details:
            about["app"] = request.application or str(principal.uid)
            for name, field in (("key", "key_name"), ("client", "client")):
                if hasattr(request.operation, field):
                    about[name] = getattr(request.operation, field)
        return about

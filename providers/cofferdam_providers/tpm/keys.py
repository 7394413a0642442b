"""Keys of applications as objects of the TPM."""

from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.keys import Handle, read_key
from cofferdam_providers.tpm import public
from cofferdam_providers.tpm.blobs import Blob
from cofferdam_providers.tpm.codes import Command
from cofferdam_providers.tpm.codes import Handle as Permanent
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.errors import MalformedAnswerError
from cofferdam_providers.tpm.marshal import U32, sized
from cofferdam_providers.tpm.objects import TpmObject


class TpmKey(TpmObject):
    """A key, or the public part of one."""

    def __init__(self, device: TpmDevice, attributes: KeyAttributes, blob: Blob, parent: TpmObject) -> None:
        """Describe a key that is not loaded.

        Raises:
            ServiceError: No key of a TPM has such attributes.
        """
        self.area = public.key(attributes, blob.part)
        self.part = blob.part
        self.size = (attributes.bits + 7) // 8
        """Bytes of the modulus, or of a coordinate."""
        self.is_pair = bool(blob.private)
        self._in_memory: Handle | None = None
        super().__init__(public.name_of(self.area), blob.auth, parent if self.is_pair else None)
        self._device = device
        self._private = blob.private

    @property
    def in_memory(self) -> Handle:
        """The public part, for operations that are done here instead of in the TPM."""
        if self._in_memory is None:
            data = public.exported(self.part, self.size)
            self._in_memory = read_key(public.type_of(self.part), 0, data, vouched=False)
        return self._in_memory

    def load(self) -> int:
        """Load it under its parent, or alone when it is only a public part."""
        connection = self._device.connection
        if self.parent is None:
            parameters = sized(b"") + sized(self.area) + U32.pack(Permanent.OWNER)
            answer = connection.execute(Command.LOAD_EXTERNAL, (), parameters, self._device.protect())
        else:
            parents = self._device.slots.ensure_loaded(self.parent)
            authorization = self._device.authorize(self.parent.auth)
            parameters = sized(self._private) + sized(self.area)
            answer = self._device.execute(Command.LOAD, parents, parameters, [authorization])
        if answer.parameters.sized() != self.name:
            raise MalformedAnswerError("another Name than that of the key")
        return answer.handle


def require_pair(key: TpmKey) -> None:
    """Reject a public part where a private one is needed.

    Raises:
        ServiceError: There is no private part (`PSA_ERROR_INVALID_ARGUMENT`).
    """
    if not key.is_pair:
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, "only the public part of a key")

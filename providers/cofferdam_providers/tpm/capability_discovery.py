"""What this TPM can do, asked once; CanDoCrypto is answered from it."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from cofferdam_contracts.psa.algorithm import AsymmetricEncryption, AsymmetricSignature
from cofferdam_contracts.psa.attributes import RSA_KINDS, KeyAttributes
from cofferdam_contracts.psa.policy import has_room
from cofferdam_providers.pyca.errors import not_supported
from cofferdam_providers.tpm import capabilities, public
from cofferdam_providers.tpm.codes import PT_FIRMWARE_VERSION, PT_LOCKOUT_COUNTER, PT_MANUFACTURER, PT_MAX_AUTH_FAIL
from cofferdam_providers.tpm.connection import TpmConnection

_SIZES: Final = public.RSA_SIZES


class TpmCapabilities(Struct, frozen=True):
    """Sizes, curves and algorithms of a TPM."""

    rsa_sizes: frozenset[int] = frozenset()
    curves: frozenset[int] = frozenset()
    algorithms: frozenset[int] = frozenset()
    about: Mapping[str, object] = field(default_factory=dict)
    """Its manufacturer and firmware, for the log."""
    failures: tuple[int, int] = (0, 0)
    """How many authorisations failed, and how many lock the TPM."""
    is_nearly_locked: bool = False
    """Whether one more failed authorisation locks the TPM, or it is locked."""

    def check_use(self, attributes: KeyAttributes) -> None:
        """Reject a key that this TPM cannot have or cannot use.

        Raises:
            ServiceError: `PSA_ERROR_NOT_SUPPORTED`, or what is wrong with the attributes.
        """
        public.key(attributes)
        if attributes.type.kind in RSA_KINDS:
            if attributes.bits not in self.rsa_sizes:
                sizes = ", ".join(map(str, sorted(self.rsa_sizes)))
                raise not_supported(f"RSA keys of {attributes.bits} bits in this TPM; it has {sizes or 'none'}")
        elif public.CURVES[attributes.bits] not in self.curves:
            raise not_supported(f"the curve of {attributes.bits} bits in this TPM")
        if not has_room(attributes):
            raise not_supported(f"a padding that does not fit into {attributes.bits} bits")
        algorithm = attributes.algorithm
        if isinstance(algorithm, AsymmetricSignature):
            self._check(*public.scheme_of(algorithm))
        elif isinstance(algorithm, AsymmetricEncryption) and algorithm.hash is not None:
            self._check(public.hash_of(algorithm.hash))

    def _check(self, *numbers: int) -> None:
        for number in numbers:
            if number not in self.algorithms:
                raise not_supported(f"the algorithm {number:#x} in this TPM")


def discover(connection: TpmConnection) -> TpmCapabilities:
    """Ask a TPM.

    Raises:
        TpmError: It does not answer.
    """
    failed, most = failures(connection)
    return TpmCapabilities(
        rsa_sizes=frozenset(bits for bits in _SIZES if capabilities.has_rsa(connection, bits)),
        curves=capabilities.curves(connection),
        algorithms=capabilities.algorithms(connection),
        about={**_about(connection), "failed_authorisations": f"{failed} of {most}"},
        failures=(failed, most),
        is_nearly_locked=0 < failed >= most - 1,
    )


def failures(connection: TpmConnection) -> tuple[int, int]:
    """Return how many authorisations failed, and how many lock the TPM; 0 for a TPM that is never locked."""
    variable = capabilities.properties(connection, PT_LOCKOUT_COUNTER, PT_MAX_AUTH_FAIL - PT_LOCKOUT_COUNTER + 1)
    return variable.get(PT_LOCKOUT_COUNTER, 0), variable.get(PT_MAX_AUTH_FAIL, 0)


def _about(connection: TpmConnection) -> dict[str, object]:
    fixed = capabilities.properties(connection, PT_MANUFACTURER, PT_FIRMWARE_VERSION - PT_MANUFACTURER + 1)
    vendor = fixed.get(PT_MANUFACTURER, 0).to_bytes(4, "big").decode("ascii", "replace").strip("\0 ")
    return {
        "vendor": vendor,
        "firmware": f"{fixed.get(PT_FIRMWARE_VERSION, 0):#x}",
    }

"""The table of a provider: the keys of all types."""

from functools import partial
from typing import Final

from cofferdam_config.kinds import (
    INT32_MAX,
    AbsolutePath,
    Array,
    Choice,
    Flag,
    Group,
    Integer,
    Name,
    Pattern,
    Tcti,
    Text,
    TokenUri,
    absent,
)
from cofferdam_config.schema import Key, Origin, Table
from cofferdam_config.tcti import ADDRESS, BUS_NAME, DEVICE, PORT

KEK_CREDENTIAL: Final = "cofferdam.software.kek"
"""The systemd credential that takes the place of `key_encryption_key_file` of a provider in software."""
PIN_CREDENTIAL: Final = "cofferdam.pkcs11.pin"
"""The systemd credential that takes the place of the PIN of a PKCS#11 token, wherever that is."""

PKCS11_KEK_CREDENTIAL: Final = "cofferdam.pkcs11.kek"
"""That of `key_encryption_key_file` of a PKCS#11 provider."""
TPM_KEK_CREDENTIAL: Final = "cofferdam.tpm.kek"
"""That of `key_encryption_key_file` of a TPM provider."""
OWNER_AUTH_CREDENTIAL: Final = "cofferdam.tpm.owner-auth"
"""That of the owner hierarchy's password."""
ENDORSEMENT_AUTH_CREDENTIAL: Final = "cofferdam.tpm.endorsement-auth"
"""That of the endorsement hierarchy's password."""
KEK_FILE: Final = "cofferdam/software.kek"
"""The default of `key_encryption_key_file`, in the state folder."""
PKCS11_KEK_FILE: Final = "cofferdam/pkcs11.kek"
TPM_KEK_FILE: Final = "cofferdam/tpm.kek"

_own = partial(Key, origin=Origin.COFFERDAM)
_hidden = partial(Key, shown=False)
_pkcs11 = partial(_hidden, only_for=("Pkcs11",))
_tpm = partial(_hidden, only_for=("Tpm",))
_atca = partial(_hidden, only_for=("CryptoAuthLib",))
_own_hidden = partial(_own, shown=False)
_software = partial(_own_hidden, only_for=("MbedCrypto",))
_of_a_tpm = partial(_own_hidden, only_for=("Tpm",))
_module = partial(_own_hidden, only_for=("Pkcs11",))

_VARIABLE: Final = Pattern(
    expression=r"(?!LD_|PYTHON)[A-Za-z_][A-Za-z0-9_]*=[^\0]*",
    words="a string NAME=value, whose name does not begin with LD_ or PYTHON",
)
_SECRET: Final = Pattern(
    expression=r"(?!hex:).*|hex:(?:[0-9A-Fa-f]{2})*",
    words="a string, which after `hex:` has pairs of hexadecimal digits",
)
PROVIDER: Final = Table(
    name="provider",
    meaning=(
        "What keys are kept in and used with, in order of preference: clients take the first by default. At least one "
        "is required, and no two of the same type or name. Values that can be secret are never printed."
    ),
    is_array=True,
    required=True,
    tag="provider_type",
    keys=(
        Key(
            "provider_type",
            Choice(
                values=("MbedCrypto", "Pkcs11", "Tpm"),
                absent=absent("provider", "CryptoAuthLib", "TrustedService"),
            ),
            "The kind of provider. `MbedCrypto` is the one in software, `Pkcs11` one with a token behind a PKCS#11 "
            "module, `Tpm` one with a TPM 2.0.",
            required=True,
        ),
        Key("key_info_manager", Name(), "The `name` of a key manager.", required=True),
        Key(
            "name",
            Name(),
            "What the provider is called in the key store; keys of a renamed provider are not found again.",
            default_note="by type: `mbed-crypto-provider`, `pkcs11-provider`, `tpm-provider`",
        ),
        _own_hidden(
            "list_all_opcodes",
            Flag(),
            "Whether ListOpcodes also shows the operations that Parsec's provider does not have: PsaSignMessage and "
            "PsaVerifyMessage; except with `Tpm` PsaCipherEncrypt and PsaCipherDecrypt; and with `Pkcs11` "
            "PsaAeadEncrypt, PsaAeadDecrypt and PsaExportKey. They work either way, as far as the device has them.",
            default=False,
        ),
        _own_hidden(
            "key_encryption_key_file",
            AbsolutePath(),
            "File with 32 random bytes, the key that the provider's rows of the key store are encrypted with, or, with "
            "`Pkcs11` and for rows in Parsec's form, authenticated; made at the first start. A systemd credential "
            f"`{KEK_CREDENTIAL}`, with `Pkcs11` `{PKCS11_KEK_CREDENTIAL}`, with `Tpm` `{TPM_KEK_CREDENTIAL}`, takes "
            "its place. No two providers have the same.",
            only_for=("MbedCrypto", "Pkcs11", "Tpm"),
            default_note=f"`{KEK_FILE}`, with `Pkcs11` `{PKCS11_KEK_FILE}`, with `Tpm` `{TPM_KEK_FILE}`, in the state "
            "folder, which is `/var/lib/parsec`",
        ),
        _software(
            "mbed_its_path",
            AbsolutePath(),
            "Folder with the `.psa_its` files of Parsec's provider, to take its keys over from: the folder that it ran "
            "in.",
        ),
        _pkcs11("library_path", AbsolutePath(), "The PKCS#11 module.", required=True),
        _pkcs11("serial_number", Text(), "Serial number of the token; goes before `slot_number`."),
        _pkcs11(
            "slot_number",
            Integer(),
            "Slot of the token. Where another key says which token is meant, this one only leads to a warning if that "
            "token is in another slot.",
            default_note="the only token there is",
        ),
        _module("token_label", Text(), "Label of the token; goes before `slot_number`."),
        _module(
            "token_uri",
            TokenUri(),
            "The token as `p11tool` and others show it: `pkcs11:` and any of token, serial, manufacturer, model, "
            "slot-id, slot-description, slot-manufacturer, library-manufacturer, library-description and "
            "library-version. Its pin-source is the same as `user_pin_file`. Goes before `slot_number`, and may not "
            "contradict the other keys.",
        ),
        _pkcs11(
            "user_pin",
            _SECRET,
            "PIN of the token: plain, or after `str:`, or the bytes of it in hexadecimal after `hex:`. Not beside "
            "`user_pin_file`, which is the better place.",
            default_note="no login",
        ),
        _module(
            "user_pin_file",
            AbsolutePath(),
            "File with the PIN of the token, which only root, or the user that starts the service, may read. A systemd "
            f"credential `{PIN_CREDENTIAL}` takes its place and that of `user_pin`.",
        ),
        _pkcs11(
            "software_public_operations",
            Flag(),
            "Whether operations with public keys are done in software.",
            default=False,
        ),
        _pkcs11("allow_export", Flag(), "Whether keys may be made that can be exported.", default=True),
        _module(
            "module_environment",
            Array(_VARIABLE),
            'What the module finds in its environment, for example `["SOFTHSM2_CONF=/etc/softhsm2.conf"]`. Nothing is '
            "inherited.",
        ),
        _module(
            "module_readable",
            Array(AbsolutePath()),
            "Files and folders that the module reads while it works, such as its configuration; they have to exist. "
            "Libraries can be read while it is loaded. No folder of the whole machine, such as `/etc`, and nothing "
            "that is the service's: its key store, keys, PINs and sockets.",
        ),
        _module(
            "module_writable",
            Array(AbsolutePath()),
            "Files and folders in which it may also write, make and remove files, such as those of a token in "
            "software. The worker's uid needs the permission as well. Neither what `module_readable` may not have nor "
            "the configuration itself.",
        ),
        _module(
            "module_groups",
            Array(Group()),
            "Groups that the worker is a member of when the service is started as root, for devices and daemons that "
            "are open to a group.",
        ),
        _module(
            "module_needs",
            Array(Choice(values=("sockets", "threads", "libraries"))),
            "What the module does beyond files: connect to a daemon or the network; start threads; load libraries, or "
            "make code, after the start. Each one takes something off the worker's confinement.",
        ),
        _module(
            "state_folder",
            AbsolutePath(),
            "Folder that the worker has to itself, to remember that the token refused a PIN, which is not tried again. "
            "Made when it is missing.",
            default_note="`pkcs11` in the state folder, which is `/var/lib/parsec`",
        ),
        _module(
            "quirks",
            Array(Pattern(expression=r"[a-z][a-z0-9-]*(?:=[0-9]+)?", words="a name, or a name, `=` and a number")),
            "What the module does otherwise than the standard says, where the worker does not find out by itself.",
        ),
        _tpm(
            "tcti",
            Tcti(),
            f"How to reach the TPM. What is left out is `{DEVICE}` (Parsec takes `/dev/tpm0`, which serves one process "
            f"at a time and has no resource manager), `{ADDRESS}`, {PORT}, `{BUS_NAME}` and `system`. A host is an "
            "address or `localhost`. Parsec does not have `swtpm:path=`, and takes it for `localhost`.",
            required=True,
        ),
        _tpm(
            "owner_hierarchy_auth",
            _SECRET,
            "Password of the owner hierarchy, in the forms of `user_pin`; may be empty. Not beside "
            "`owner_hierarchy_auth_file`, which is the better place for one that is not.",
            default_note="required, unless it is elsewhere",
        ),
        _of_a_tpm(
            "owner_hierarchy_auth_file",
            AbsolutePath(),
            "File with the password, which only root, or the user that starts the service, may read. A systemd "
            f"credential `{OWNER_AUTH_CREDENTIAL}` takes its place and that of `owner_hierarchy_auth`.",
        ),
        _tpm(
            "endorsement_hierarchy_auth",
            _SECRET,
            "Password of the endorsement hierarchy, in the same forms.",
            default_note="an empty one",
        ),
        _of_a_tpm(
            "endorsement_hierarchy_auth_file",
            AbsolutePath(),
            f"File with it, as for the owner hierarchy. The credential is `{ENDORSEMENT_AUTH_CREDENTIAL}`.",
        ),
        _tpm(
            "skip_if_no_tpm",
            Flag(),
            "Whether to go on without this provider if there is no TPM: it is left out where the device is missing. "
            "Where a simulator or a daemon is, it stays, and refuses until that is there.",
            default=False,
        ),
        _of_a_tpm(
            "application_parents",
            Flag(),
            "Whether each application has a storage parent of its own, so that one application's keys cannot be loaded "
            "under another's parent. Not with `kim.give_back`: Parsec cannot load such keys.",
            default=False,
        ),
        _of_a_tpm(
            "bus_protection",
            Flag(),
            "Whether commands to the TPM are authorised, and their secrets encrypted, with salted HMAC sessions. "
            "`false` sends passwords in the clear, which is faster: only for a TPM that nobody can listen to.",
            default=True,
        ),
        _atca("device_type", Text(), "The kind of device, for example `atecc608a`.", required=True),
        _atca("iface_type", Text(), "`i2c` or `test-interface`; `i2c` needs the next five keys.", required=True),
        _atca("wake_delay", Integer(high=(1 << 16) - 1), "Time that the device takes to wake."),
        _atca("rx_retries", Integer(low=-INT32_MAX - 1, high=INT32_MAX), "How often to read an answer again."),
        _atca("slave_address", Integer(high=255), "Address of the device on the bus."),
        _atca("bus", Integer(high=255), "Number of the bus."),
        _atca("baud", Integer(high=(1 << 32) - 1, unit="bits per second"), "Speed of the bus."),
        _atca("access_key_file_name", Text(), "File with the keys of the device."),
    ),
)

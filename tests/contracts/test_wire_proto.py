"""Our one .proto file against the many of the reference (vectors/protobuf_fields.json), and the generated module."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from tests.contracts import parsec_pb2 as pb
from tests.contracts.golden import FACTS
from tests.contracts.google import BODIES, shape_of

from cofferdam_contracts.operations import OPERATIONS, CheckType
from cofferdam_contracts.psa.algorithm import AeadScheme, CipherMode, Hash, RawAgreement
from cofferdam_contracts.psa.attributes import DhFamily, EccFamily
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.wire.protobuf import FIELDS, Message
from cofferdam_contracts.wire.requests import REQUESTS
from cofferdam_contracts.wire.results import RESULTS

ROOT = Path(__file__).resolve().parent.parent.parent
SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def our_name(name: str) -> str:
    """Return what a message or an enumeration of the original packages is called here."""
    package, _, rest = name.partition(".")
    if name == "can_do_crypto.CheckType":
        return "CanDoCryptoOperation.CheckType"
    if rest in {"Operation", "Result"}:
        return package.title().replace("_", "") + rest
    return rest.replace("Algorithm.None", "Algorithm.NoAlgorithm")


def our_descriptors(descriptors: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for descriptor in descriptors:
        yield descriptor.full_name.removeprefix("cofferdam.wire."), descriptor
        yield from our_descriptors(descriptor.nested_types)


def field_type(field: Any) -> str:  # noqa: ANN401  the back end's own type has no public name
    named = field.message_type or field.enum_type
    return SCALARS[field.type] if named is None else named.full_name.removeprefix("cofferdam.wire.")


MESSAGES = dict(our_descriptors(pb.DESCRIPTOR.message_types_by_name.values()))
ENUMS = {
    f"{name}.{enum.name}": {value.name: value.number for value in enum.values}
    for name, descriptor in MESSAGES.items()
    for enum in descriptor.enum_types
}


def test_there_are_the_messages_of_the_reference_and_no_others() -> None:
    assert {our_name(name) for name in FACTS["messages"]} == MESSAGES.keys()


@pytest.mark.parametrize("name", FACTS["messages"])
def test_a_message_has_the_fields_of_the_reference(name: str) -> None:
    expected = [
        (
            field["number"],
            field["name"],
            our_name(field["type"]) if "." in field["type"] else field["type"],
            field.get("repeated", False),
            field.get("oneof"),
        )
        for field in FACTS["messages"][name]
    ]
    actual = [
        (
            field.number,
            field.name,
            field_type(field),
            field.is_repeated,
            field.containing_oneof.name if field.containing_oneof else None,
        )
        for field in MESSAGES[our_name(name)].fields
    ]
    assert actual == expected


def test_the_enumerations_are_those_of_the_reference() -> None:
    assert {our_name(name): values for name, values in FACTS["enums"].items()} == ENUMS


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Algorithm.Hash", Hash),
        ("Algorithm.Cipher", CipherMode),
        ("Algorithm.Aead.AeadWithDefaultLengthTag", AeadScheme),
        ("Algorithm.KeyAgreement.Raw", RawAgreement),
        ("KeyType.EccFamily", EccFamily),
        ("KeyType.DhFamily", DhFamily),
        ("CanDoCryptoOperation.CheckType", CheckType),
    ],
)
def test_our_values_have_the_numbers_of_the_wire(name: str, kind: type[Any]) -> None:
    absent = {value for value in ENUMS[name] if value.endswith("NONE")}
    assert {value: number for value, number in ENUMS[name].items() if value not in absent} == {
        member.name: member.value for member in kind
    }


def test_every_operation_has_both_bodies() -> None:
    assert REQUESTS.keys() == RESULTS.keys() == OPERATIONS.keys() == set(Opcode)


def test_the_generated_module_is_up_to_date(tmp_path: Path) -> None:
    """What `./dev proto` does, into another folder."""
    source = ROOT / "contracts" / "cofferdam_contracts" / "wire" / "parsec.proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path", str(source.parent)]
    subprocess.run(
        [*command, "--python_out", str(tmp_path), "--pyi_out", str(tmp_path), str(source)], check=True, timeout=60
    )
    for suffix in (".py", ".pyi"):
        generated = (tmp_path / "parsec_pb2").with_suffix(suffix)
        assert generated.read_bytes() == (ROOT / "tests" / "contracts" / generated.name).read_bytes()


@pytest.mark.parametrize(("name", "message"), BODIES, ids=[name for name, _ in BODIES])
def test_our_tables_are_those_of_the_proto_file(name: str, message: Message) -> None:
    assert_same(message, MESSAGES[name])


def assert_same(message: Message, descriptor: Any) -> None:  # noqa: ANN401  as above
    assert message.shape == shape_of(descriptor)
    assert [*message.fields] == [field.name for field in descriptor.fields]
    assert [field.number for field in descriptor.fields] == [*range(1, len(message.fields) + 1)]
    if message.shape != FIELDS:
        grouped = [field.containing_oneof is not None or field.is_repeated for field in descriptor.fields]
        assert all(grouped)
    for kind, field in zip(message.fields.values(), descriptor.fields, strict=True):
        if isinstance(kind, Message):
            assert_same(kind, field.message_type)
        else:
            assert kind.name == ("uint32" if field.enum_type else SCALARS[field.type])


def test_the_product_imports_no_protobuf() -> None:
    """Neither the service nor the client needs Google's library."""
    program = (
        "import sys, cofferdam_frontend.__main__, cofferdam_client; print([m for m in sys.modules if 'google' in m])"
    )
    path = os.pathsep.join(str(ROOT / folder) for folder in ("contracts", "runtime", "frontend", "client"))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "[]\n"

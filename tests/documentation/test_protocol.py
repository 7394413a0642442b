"""docs/reference/parsec-protocol.md has the operations, providers and messages that the code has."""

import re
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tests.contracts import parsec_pb2

from cofferdam_contracts.registry import ADMIN_OPCODES, ANONYMOUS_OPCODES, PROVIDERS, Opcode, ProviderId

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "parsec-protocol.md").read_text()
SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def _type(field: FieldDescriptor) -> str:
    inner = field.message_type or field.enum_type
    name = SCALARS[field.type] if inner is None else inner.full_name.removeprefix("cofferdam.wire.")
    return f"repeated {name}" if field.is_repeated else name


def _fields(message: Descriptor) -> str:
    return ", ".join(f"{field.number} `{field.name}` {_type(field)}" for field in message.fields) or "-"


def _operation(opcode: Opcode) -> str:
    name = "".join(word.capitalize() for word in opcode.name.split("_"))
    needs = "admin" if opcode in ADMIN_OPCODES else "-" if opcode in ANONYMOUS_OPCODES else "identity"
    messages = parsec_pb2.DESCRIPTOR.message_types_by_name
    request, result = (_fields(messages[f"{name}{part}"]) for part in ("Operation", "Result"))
    return f"| {int(opcode):#04x} ({int(opcode)}) | {name} | {needs} | {request} | {result} |"


def test_the_table_of_operations_is_what_the_code_has() -> None:
    assert [line for line in PAGE.splitlines() if line.startswith("| 0x")] == [_operation(opcode) for opcode in Opcode]


def test_the_table_of_providers_is_what_the_code_has() -> None:
    rows = {
        int(number): (uuid, name)
        for number, uuid, name in re.findall(
            r"^\| (\d) \| \w+ \| `([0-9a-f-]{36})` \| ([\w-]+) \|$", PAGE, re.MULTILINE
        )
    }
    assert rows.keys() == set(ProviderId)
    assert {number: rows[number] for number in PROVIDERS} == {
        number: (known.uuid, known.name) for number, known in PROVIDERS.items()
    }


def test_the_opcodes_that_are_listed_are_what_the_code_has() -> None:
    section = PAGE.partition("\nListOpcodes of the reference names:\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d) \| ([\d, ]+) \|$", section, re.MULTILINE)
    assert {int(number): set(map(int, opcodes.split(", "))) for number, opcodes in rows} == {
        number: known.opcodes for number, known in PROVIDERS.items()
    }

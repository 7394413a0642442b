"""The golden vectors, by what they are; see vectors/README.md."""

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "vectors"
_ALL: list[dict[str, str]] = json.loads((_FOLDER / "protocol_vectors.json").read_text())

VECTORS = {vector["what"]: bytes.fromhex(vector["hex"]) for vector in _ALL if "hex" in vector}
REQUESTS = {what: data for what, data in VECTORS.items() if "request" in what}
BODIES = {what.removeprefix("body: "): data for what, data in VECTORS.items() if what.startswith("body: ")}
FACTS: dict[str, Any] = json.loads((_FOLDER / "protobuf_fields.json").read_text())


def vector(begin: str) -> bytes:
    """Return the only vector whose description begins so."""
    (found,) = (data for what, data in VECTORS.items() if what.startswith(begin))
    return found

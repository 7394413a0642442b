"""The dependencies of the distribution `cofferdam`, for its build: the client of the same checkout, and runtime.in."""

import os
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Dependencies(MetadataHookInterface):
    """Sets `dependencies`. COFFERDAM_CLIENT, such as `==0.1.0`, replaces the path of the client's folder."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the dependencies in the metadata of the project."""
        root = Path(self.root)
        client = os.environ.get("COFFERDAM_CLIENT", f"@ {(root / 'client').as_uri()}")
        lines = (root / "requirements" / "runtime.in").read_text().splitlines()
        metadata["dependencies"] = [f"cofferdam-client {client}", *(line for line in lines if not line.startswith("#"))]

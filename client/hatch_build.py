"""Adds files from outside this folder to the distribution of the client: the contracts, and the licence."""

from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CheckoutHook(BuildHookInterface[BuilderConfig]):
    """Adds the files when it builds from a checkout; an unpacked source distribution has them in this folder."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files, unless the build is an editable install, which finds the contracts by their path."""
        client = Path(self.root)
        if version != "editable" and not (client / "cofferdam_contracts").exists():
            build_data["force_include"] |= {
                str(client.parent / "contracts" / "cofferdam_contracts"): "cofferdam_contracts",
                str(client.parent / "LICENSE"): "cofferdam_client/LICENSE",
            }

"""What a change of `./dev mutants` is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One change."""

    name: str
    """What is lost by it."""
    file: str
    edits: tuple[tuple[str, str], ...]
    """Text that is there once, and what takes its place."""
    tests: tuple[str, ...]
    """Paths, as pytest takes them."""
    root: bool = False
    """Whether only root's tests can notice it."""


def mutant(name: str, file: str, old: str, new: str, *tests: str, root: bool = False) -> Mutant:
    return Mutant(name, file, ((old, new),), tests, root)

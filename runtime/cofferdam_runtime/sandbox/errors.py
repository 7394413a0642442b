"""The error of confinement."""


class SandboxError(Exception):
    """Raised when a process could not be confined as its policy says; it must exit without serving any client."""

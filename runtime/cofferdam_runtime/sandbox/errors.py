"""What can go wrong with confinement."""


class SandboxError(Exception):
    """Raised when a process could not be confined as its policy says; it must end without serving anyone."""

"""What a process raises about a peer that no honest process would be."""


class ForbiddenMessageError(Exception):
    """Raised when a peer sends what its channel does not allow; the channel is closed without an answer."""

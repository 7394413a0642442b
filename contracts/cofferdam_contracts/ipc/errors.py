"""The error about a peer that does what no honest process does."""


class ForbiddenMessageError(Exception):
    """Raised when a peer sends a message that its channel does not allow; the channel is closed without an answer."""

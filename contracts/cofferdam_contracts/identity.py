"""Who owns a key and what it is called."""

from cofferdam_contracts.record import field, record


@record
class Application:
    """An authenticated client: the authenticator's number and the name it vouches for.

    The pair is the namespace of keys, so that authenticators can be active side by side.
    """

    authenticator: int
    name: str = field(repr=False)


@record
class KeyIdentity:
    """The full name of a key: authenticator number, application name, key name."""

    authenticator: int
    application: str = field(repr=False)
    key_name: str = field(repr=False)

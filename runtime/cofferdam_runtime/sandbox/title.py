"""The title of a process in ps, which all users see: it names the role and nothing about a client."""

import setproctitle


def set_title(role: str) -> None:
    """Show the process as `cofferdam: role`."""
    setproctitle.setproctitle(f"cofferdam: {role}")

"""The title of a process in ps; everyone sees it, so it names the role and nothing of a client."""

import setproctitle


def set_title(role: str) -> None:
    """Show the process as `cofferdam: role`."""
    setproctitle.setproctitle(f"cofferdam: {role}")

"""The title of a process in ps, which all users see: it names the role and nothing about a client."""

from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any


def set_title(role: str) -> None:
    """Show the process as `cofferdam: role`."""
    _setproctitle().setproctitle(f"cofferdam: {role}")


def _setproctitle() -> Any:  # noqa: ANN401  a module
    """Return the extension module of the package `setproctitle`, else the package.

    What the package adds is a log message, for which it imports `logging` and 16 more modules: a tenth of a start.
    """
    package = PathFinder.find_spec("setproctitle")
    extension = package and PathFinder.find_spec("_setproctitle", package.submodule_search_locations)
    if extension is None or extension.loader is None:
        import setproctitle  # noqa: PLC0415  only where it is built differently

        return setproctitle
    module = module_from_spec(extension)
    extension.loader.exec_module(module)
    return module

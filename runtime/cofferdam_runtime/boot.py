"""How the broker executes a child: the boot code on its command line, and its descriptor numbers."""

from typing import Final

CONTROL_DESCRIPTOR: Final = 3
SETTINGS_DESCRIPTOR: Final = 4
BOOT: Final = (
    "import gc,sys;gc.disable();sys.path[:0]=sys.argv.pop(1).split(':');package=sys.argv.pop(1);"
    "sys.exit(__import__(package+'.__main__',fromlist=['main']).main())"
)
"""Code that the interpreter runs: it puts our own roots first on the path, then runs the package that the broker names.
Garbage collection starts once everything is imported, see `entry`."""

"""How the broker executes a child: the words of its command line, and where its descriptors are."""

from typing import Final

CONTROL_DESCRIPTOR: Final = 3
SETTINGS_DESCRIPTOR: Final = 4
BOOT: Final = (
    "import gc,sys;gc.disable();sys.path[:0]=sys.argv.pop(1).split(':');package=sys.argv.pop(1);"
    "sys.exit(__import__(package+'.__main__',fromlist=['main']).main())"
)
"""What the interpreter runs: put our own roots first, then the role's package. The broker names the package. Garbage is
collected once everything is imported, see `entry`."""

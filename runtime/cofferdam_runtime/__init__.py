"""How a process of the service lives: start, confinement, channels, loop, log."""

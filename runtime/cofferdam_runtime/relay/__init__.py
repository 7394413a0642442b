"""The log relay: writes the log lines of all processes of the service to stderr, each process within its own budget.

`serve` starts it (`start`) before it becomes the broker, and replaces stderr with a socket that all children inherit.
Each child replaces that with a channel of its own (`join`) before it serves any client. So no process that handles
others' input holds a descriptor of the log itself, or one that it could fill or shut down for another process.
"""

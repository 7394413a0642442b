"""The relay of the log: writes to stderr what every process of the service sends it, each within a budget of its own.

`serve` starts it (`start`) before it becomes the broker, and puts a socket in place of stderr, which all children
inherit. Each child puts a channel of its own in place of that (`join`), before it serves anybody. So no process that
reads what others send has a descriptor of the log itself, or one that it could fill or shut down for another.
"""

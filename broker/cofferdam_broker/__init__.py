"""The broker: starts, wires, watches and replaces the other processes. It never reads bytes that clients send."""

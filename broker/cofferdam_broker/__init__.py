"""The broker: starts, wires, watches and replaces the other processes. It reads not one byte of a client."""

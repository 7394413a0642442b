"""Reads the administrator's configuration file, in a process of its own, into one settings document per process."""

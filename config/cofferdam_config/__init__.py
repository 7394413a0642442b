"""Reads the administrator's configuration file, in a process of its own, into one settings document per process.

A document passes through these modules, each of which imports only those above it:

- `source`: from bytes to a tree of values, and the line of each of them; syntax errors
- `report`: errors and warnings, each with file, line and key
- `kinds`, and for two grammars `tcti` and `token_uri`: which values a setting may have, and what they are converted to
- `schema`: what a table and a setting are, and the check of a tree against them
- `tables`: all tables and settings
- `places`: what follows from the settings and the machine (`host_facts`, `files`): secrets, files, sockets
- `rules`: one table of the rules that involve several settings
- `host_rules`: another of those that involve what is on the machine: owners, modes, what is missing, whose uids
- `plan`: the settings of every process

`check` does the same for an operator, without a service.
"""

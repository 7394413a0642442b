"""The protocols between Cofferdam's processes and their clients, and among the processes.

Pure values and codecs: nothing in this package opens files, connects, starts processes or reads a clock.

Throughout this tree "the reference" is Parsec's own service, parsec-service 1.5.0; its behaviour is described in
docs/reference/parsec-protocol.md and docs/reference/parsec-behaviour.md.
"""

"""What the processes of Cofferdam say to clients and to each other.

Pure values and codecs: nothing in this package opens, connects, spawns or reads a clock.

Everywhere in this tree "the reference" is Parsec's own service, parsec-service 1.5.0. What it does is written down in
docs/reference/parsec-protocol.md and docs/reference/parsec-behaviour.md.
"""

"""Identities by token: which application a token speaks for, and for how long."""

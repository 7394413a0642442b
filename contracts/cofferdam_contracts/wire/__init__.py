"""The Parsec wire protocol between clients and the service."""

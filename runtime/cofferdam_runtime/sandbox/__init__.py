"""Confinement: policies as data, and one module per mechanism that enforces them."""

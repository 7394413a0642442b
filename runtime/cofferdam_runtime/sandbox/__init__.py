"""Confinement: policies as data, and one module for each mechanism that enforces them."""

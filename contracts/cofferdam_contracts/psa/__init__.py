"""PSA algorithms, key attributes, policies and their binary encoding."""

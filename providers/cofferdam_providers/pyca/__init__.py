"""Keys and algorithms on pyca/cryptography, for any backend: private keys in memory, and public operations."""

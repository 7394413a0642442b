"""The PKCS#11 provider: keys in a token, used through its vendor's module."""

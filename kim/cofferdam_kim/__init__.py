"""The key store: which key of which client is which object of which provider."""

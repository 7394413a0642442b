"""The TPM 2.0 provider."""

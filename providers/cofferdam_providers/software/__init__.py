"""The software provider: keys on pyca/cryptography, encrypted at rest."""

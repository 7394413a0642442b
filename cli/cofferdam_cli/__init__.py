"""The command `cofferdam`: it starts the service, shows its processes, and uses it from a shell."""

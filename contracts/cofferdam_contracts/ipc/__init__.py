"""Messages between the processes of the service."""

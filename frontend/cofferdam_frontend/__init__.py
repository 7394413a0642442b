"""The frontend: reads the bytes of one principal's clients, authenticates them, and asks the workers."""

"""What every provider worker shares: the interface, the checks, the cache, the loop."""

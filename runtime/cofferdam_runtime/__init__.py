"""What every process of the service shares: start-up, confinement, channels, event loop, log."""

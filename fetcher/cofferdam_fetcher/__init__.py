"""The process that gets trust bundles from the network."""

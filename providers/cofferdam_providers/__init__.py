"""Provider workers: the processes that hold keys."""

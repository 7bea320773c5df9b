"""The run directory: stages, checkpoints, metrics, events."""

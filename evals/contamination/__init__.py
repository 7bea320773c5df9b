"""Training rows that stand in a benchmark."""

"""What a recipe asks of a machine, before anything starts."""

"""What a recipe may say: its sections, and every fault told at once."""

"""What a recipe may say: its sections, and every fault reported at once."""

"""How numbers, foreign text and drawings are written, on the page and elsewhere."""

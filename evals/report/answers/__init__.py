"""What is computed from the stored answers of a benchmark: by question, by category, by habit."""

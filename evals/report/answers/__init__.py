"""What the stored answers of a benchmark come to: by question, by category, by habit."""

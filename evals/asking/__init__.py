"""Questions to a model or a judge, and the answers as they are kept."""

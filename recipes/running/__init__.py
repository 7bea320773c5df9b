"""A run from its recipe: engines, stages in order, evaluation between them."""

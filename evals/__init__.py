"""Evals judge a model."""

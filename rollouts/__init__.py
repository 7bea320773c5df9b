"""Rollouts speak: completions from inference engines."""

"""Tiny models and synthetic data, made offline."""

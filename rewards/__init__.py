"""Rewards judge one answer."""

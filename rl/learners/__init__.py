"""Optimizer steps over trees, behind one protocol."""

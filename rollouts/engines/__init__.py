"""Inference engines, chosen by name: one file each, the folder is the registry."""

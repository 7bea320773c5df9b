"""Recipes decide what runs: pages, pipeline, command line."""

"""Recipes decide what runs: scripts, configs, pipeline, command line."""

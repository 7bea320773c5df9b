"""Plumbline learns: algorithms, data, models, learners, runs."""

"""Answers to scores, and scores to results with intervals and paired tests."""

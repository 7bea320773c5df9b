"""Contamination: benchmark questions and pictures that are in the training data."""

"""Benchmark data: its rows, its files, its two parts."""

"""Decisions that evaluation makes: the gate, and the best of several stages."""

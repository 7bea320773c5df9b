"""Decisions that evaluation makes: `gate` (did a stage lose too much?), `best` (which is best?)."""

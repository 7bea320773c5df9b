"""Synthetic scenes: pictures, training rows and two benchmarks, made offline and deterministic by seed."""

from __future__ import annotations

COLOURS = ("red", "green", "blue", "yellow", "black", "purple")
SHAPES = ("circle", "square", "triangle")
PLACES = ("top left", "top right", "bottom left", "bottom right")


def corpus() -> list[str]:
    """The text that scenes are asked and answered in, for training a tokenizer."""
    answers = [*COLOURS, *SHAPES, *PLACES, *map(str, range(10)), "yes", "no", "Yes", "No"]
    questions = [
        "What color is the shape at the top left?",
        "How many shapes are there in the image?",
        "Is there a red circle in this image? Please answer yes or no.",
        "Answer the question using a single word or phrase.",
        "What shape is at the bottom right?",
        "It is a red circle.",
    ]
    return [
        *questions,
        *answers,
        *(f" {a}" for a in answers),
        *(f"It is {a}." for a in answers),
    ] * 5

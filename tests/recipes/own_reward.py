"""A reward of a user's own file, for models that know nothing yet."""

from pathlib import Path


def spread_reward(folder: Path) -> str:
    """Writes own.py and returns the name of its reward, which tells any two answers apart: so
    pairs, advantages and differing scores exist although no answer is right.
    """
    file = folder / "own.py"
    file.write_text(
        "from rewards.base import reward\n\n"
        "@reward(name='spread')\n"
        "def spread(text: str) -> float:\n"
        "    return sum(map(ord, text)) % 97 / 97\n"
    )
    return f"{file}:spread"

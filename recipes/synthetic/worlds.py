"""What the scenes show: small worlds of shapes, signs and handwritten digits, and their pictures.

A world belongs to exactly one part (train, select or report), decided by a hash of what it shows:
two parts can never hold the same world, whatever the seed. Handwritten digits go by the scanned
image, so no scan is in two parts.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from PIL import Image, ImageDraw, ImageFont

Part = Literal["train", "select", "report"]
Kind = Literal["shapes", "sign", "digit"]

KINDS: tuple[Kind, ...] = ("shapes", "sign", "digit")
SIDE = 64
COLORS = {
    "red": (220, 30, 30),
    "green": (30, 170, 60),
    "blue": (40, 70, 220),
    "yellow": (240, 210, 40),
}
INKS = ("red", "green", "blue")  # readable on a light ground
SHAPES = ("circle", "square", "triangle")
PLACES = ("top left", "top right", "bottom left", "bottom right")
LINES = ("top", "middle", "bottom")  # where a sign hangs
WORDS = ("bus", "cat", "egg", "fox", "key", "sun")
CROWD = (1, 1, 1, 2, 2, 3, 4)  # how many shapes, as often as each stands here
ALIKE = 0.6  # share of pictures whose shapes are all alike
GROUNDS = (245, 235, 225)
SHARES: dict[Part, range] = {"train": range(10), "select": range(10, 12), "report": range(12, 16)}


@dataclass(frozen=True)
class Thing:
    """One thing in a world: a shape, a word or a digit (`name`), its colour and its place."""

    name: str
    color: str
    place: str


@dataclass(frozen=True)
class World:
    """What a picture shows. `scan` is a handwritten digit's index; `wobble` moves things."""

    kind: Kind
    things: tuple[Thing, ...]
    ground: int
    wobble: int
    scan: int = -1

    @property
    def part(self) -> Part:
        """The part that the world belongs to: by its content, never by ground or wobble."""
        content = f"scan {self.scan}" if self.kind == "digit" else f"{self.kind} {self.things}"
        slot = int.from_bytes(hashlib.sha256(content.encode()).digest()[:8]) % 16
        return next(part for part, slots in SHARES.items() if slot in slots)


@cache
def _scans() -> tuple[Any, Any]:
    """scikit-learn's handwritten digits: 1,797 real 8 x 8 images (0 to 16) and what each shows."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target


def worlds(kind: Kind, part: Part, rng: random.Random) -> Iterator[World]:
    """Endless different worlds of one kind and part (no two alike in everything that is drawn)."""
    seen: set[World] = set()
    while True:
        world = _draw_lots(kind, rng)
        if world.part == part and world not in seen:
            seen.add(world)
            yield world


def _draw_lots(kind: Kind, rng: random.Random) -> World:
    ground, wobble = rng.choice(GROUNDS), rng.randrange(1 << 16)
    if kind == "shapes":
        places = sorted(rng.sample(PLACES, rng.choice(CROWD)))
        looks = [(rng.choice(SHAPES), rng.choice(tuple(COLORS))) for _ in places]
        if rng.random() < ALIKE:
            looks = looks[:1] * len(places)
        things = tuple(Thing(*look, place) for look, place in zip(looks, places, strict=True))
        return World(kind, things, ground, wobble)
    if kind == "sign":
        thing = Thing(rng.choice(WORDS), rng.choice(INKS), rng.choice(LINES))
        return World(kind, (thing,), ground, wobble)
    targets = _scans()[1]
    scan = rng.randrange(len(targets))
    return World(kind, (Thing(str(targets[scan]), "blue", ""),), ground, wobble, scan)


def picture(world: World) -> Image.Image:
    """The world drawn: 64 x 64 RGB, the same pixels on every call."""
    rng = random.Random(world.wobble)
    image = Image.new("RGB", (SIDE, SIDE), (world.ground,) * 3)
    if world.kind == "digit":
        _paste_scan(image, world, rng)
        return image
    draw = ImageDraw.Draw(image)
    for thing in world.things:
        if world.kind == "shapes":
            _draw_shape(draw, thing, rng)
        else:
            _draw_word(draw, thing, rng)
    return image


def png(world: World) -> bytes:
    """The picture as PNG bytes."""
    buffer = io.BytesIO()
    picture(world).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _draw_shape(draw: ImageDraw.ImageDraw, thing: Thing, rng: random.Random) -> None:
    cell = PLACES.index(thing.place)
    x = 16 + 32 * (cell % 2) + rng.randint(-2, 2)
    y = 16 + 32 * (cell // 2) + rng.randint(-2, 2)
    r, fill = rng.randint(9, 13), COLORS[thing.color]
    if thing.name == "circle":
        draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)
    elif thing.name == "square":
        draw.rectangle([x - r, y - r, x + r, y + r], fill=fill)
    else:
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=fill)


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _draw_word(draw: ImageDraw.ImageDraw, thing: Thing, rng: random.Random) -> None:
    x, y = 32 + rng.randint(-2, 2), 14 + 18 * LINES.index(thing.place) + rng.randint(-1, 1)
    draw.rectangle([2, y - 12, 61, y + 12], outline=(120, 120, 120))
    draw.text((x, y), thing.name, fill=COLORS[thing.color], font=_font(24), anchor="mm")


def _paste_scan(image: Image.Image, world: World, rng: random.Random) -> None:
    pixels = _scans()[0][world.scan]
    side = rng.randint(48, 52)
    ink = Image.frombytes("L", (8, 8), (pixels * 15.9375).astype("uint8").tobytes())
    mask = ink.resize((side, side), Image.Resampling.BICUBIC)
    corner = ((SIDE - side) // 2 + rng.randint(-2, 2), (SIDE - side) // 2 + rng.randint(-2, 2))
    image.paste(COLORS[world.things[0].color], corner, mask)

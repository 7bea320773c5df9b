"""Images made ready ahead: the same pixels reach the model, in order, a bounded way ahead; broken
ones and lost processes cost one sample each.
"""

from __future__ import annotations

import io
import os
import random
import signal
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from rl.core import Image, ImageSource, Message, Sample, Text
from rl.data.ahead import ImageAhead
from rl.data.images import open_image
from rl.errors import DataError


def picture(seed: int, width: int, height: int, mode: str = "RGB", form: str = "PNG", **options):
    """An image of smooth noise, so that a wrong kernel or rounding shows."""
    rng = random.Random(seed)
    small = PIL.Image.frombytes("RGB", (16, 16), rng.randbytes(16 * 16 * 3))
    image = small.resize((width, height), PIL.Image.Resampling.BICUBIC).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return ImageSource(data=buffer.getvalue())


def sample(uid: str, *images: ImageSource) -> Sample:
    parts = (*(Image(i) for i in range(len(images))), Text("?"))
    return Sample(uid, (Message("user", parts),), images)


def turned(seed: int) -> ImageSource:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return picture(seed, 320, 200, form="JPEG", exif=exif)


KINDS = [
    picture(0, 640, 480),
    picture(1, 333, 777, form="JPEG"),
    picture(2, 300, 200, mode="RGBA"),
    picture(3, 300, 200, mode="L", form="JPEG"),
    picture(4, 500, 180, mode="P"),
    turned(5),
    picture(6, 64, 64),
    picture(7, 130, 127),
    picture(8, 2000, 40),
]


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize("max_pixels", [4096, 16384, 10**6])
def test_the_same_pixels_reach_the_model(tiny_qwen3vl: Path, processes: int, max_pixels) -> None:
    import torch

    from rl.models.load import find_spec, load_processor

    spec = find_spec(tiny_qwen3vl, load_processor(tiny_qwen3vl, max_pixels))
    given = [sample(str(i), image) for i, image in enumerate(KINDS)]
    given.append(sample("two", KINDS[0], KINDS[6]))
    with ImageAhead(spec.resized, processes=processes) as ahead:
        ready = list(ahead.samples(given))
    assert [s.uid for s in ready] == [s.uid for s in given]
    resized = 0
    for before, after in zip(given, ready, strict=True):
        for old, new in zip(before.images, after.images, strict=True):
            resized += open_image(new).size != open_image(old).size
            expected, found = (spec.pixels([open_image(i)])[0] for i in (old, new))
            assert expected.keys() == found.keys()
            for key in expected:
                assert torch.equal(expected[key], found[key]), (before.uid, key)
    # At 4096 the strip of 2000x40 comes to a size that the processor would change once more: left
    # to it.
    assert resized == {4096: 8, 16384: 9, 10**6: 0}[max_pixels]


def test_a_family_without_a_known_resize_gets_decoded_pixels(tiny_llava: Path) -> None:
    from rl.models.load import find_spec, load_processor

    spec = find_spec(tiny_llava, load_processor(tiny_llava))
    with ImageAhead(spec.resized, processes=0) as ahead:
        ready = list(ahead.samples([sample("a", KINDS[1])]))
    assert open_image(ready[0].images[0]).tobytes() == open_image(KINDS[1]).tobytes()


def test_no_further_ahead_than_asked_and_each_image_once(tmp_path: Path) -> None:
    taken, ahead_by, decoded = 0, [], tmp_path / "thumbnails"

    def given() -> Any:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield sample(str(number), picture(number // 2, 200, 150))

    with ImageAhead(processes=2, look_ahead=8) as ahead:
        for number, ready in enumerate(ahead.samples(given(), thumbnails=decoded)):
            assert ready.uid == str(number)
            ahead_by.append(taken - number)
        assert max(ahead_by) <= 8
        assert len(ahead._children) <= 2
        # A second pass over another list uses the same processes.
        pids = {child._process.pid for child in ahead._children}
        list(ahead.samples([sample("x", picture(99, 200, 150))]))
        assert {child._process.pid for child in ahead._children} == pids
    assert len(list(decoded.glob("*.png"))) == 20
    assert not list(decoded.glob("*.partial"))


@pytest.mark.parametrize("processes", [0, 2])
def test_a_broken_image_costs_its_sample(tmp_path: Path, processes: int) -> None:
    half = ImageSource(data=KINDS[0].read()[: len(KINDS[0].read()) // 2])
    gone = ImageSource(path=str(tmp_path / "gone.png"))
    given = [
        sample("a", KINDS[0]), sample("b", half), sample("c", gone),
        sample("d", ImageSource(data=b"x")), sample("e", KINDS[6]),
    ]  # fmt: skip
    told: dict[str, str] = {}
    with ImageAhead(processes=processes) as ahead:
        ready = ahead.samples(given, on_error=lambda s, why: told.update({s.uid: why}))
        assert [s.uid for s in ready] == ["a", "e"]
        assert set(told) == {"b", "c", "d"}
        assert "is missing" in told["c"]
        with pytest.raises(DataError):
            list(ahead.samples(given))


def test_a_lost_process_is_replaced() -> None:
    with ImageAhead(processes=1) as ahead:
        assert len(list(ahead.samples([sample("a", KINDS[0])]))) == 1
        (child,) = ahead._children
        os.kill(child._process.pid, signal.SIGKILL)
        assert [s.uid for s in ahead.samples([sample("b", KINDS[1])])] == ["b"]
        assert ahead._children != [child]


def test_for_the_web_an_image_is_sent_as_it_is_where_it_can_be() -> None:
    with ImageAhead(processes=0, form="web") as ahead:
        (ready,) = ahead.samples([sample("a", *KINDS)])
    for number, (old, new) in enumerate(zip(KINDS, ready.images, strict=True)):
        assert (new == old) == (number in (0, 1, 6, 7, 8))
        assert new.read()[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1")
        assert open_image(new).tobytes() == open_image(old).tobytes()

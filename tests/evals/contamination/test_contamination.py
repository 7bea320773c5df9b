"""Training rows that stand in a benchmark are found, however they are encoded, and others are
not.
"""

import io
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from evals.asking.generate import EvalSettings, evaluate
from evals.contamination.prints import PrintStore, print_of
from evals.contamination.search import Flag, Overlap, overlaps, train_row, without_images
from evals.decisions.gate import GateConfig
from evals.registry import get_benchmark
from evals.scoring.results import ResultOptions, write_result
from rl.core import Answer, ImageSource, Labelled, Message, Preference, Sample, Text
from rl.core import Image as Mark
from rl.errors import DataError
from tests.evals.conftest import TableSampler, mme_rows, png, write_parquet


def re_encoded(data: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).save(out, format="BMP")
    return out.getvalue()


def trained(*images: bytes, text: str = "What is this?", uid: str = "t") -> Sample:
    parts = (*(Mark(n) for n in range(len(images))), Text(text))
    return Sample(uid, (Message("user", parts),), tuple(ImageSource(data=i) for i in images))


def found(records, items, store=None):
    rows = [train_row(record, "sft") for record in records]
    return overlaps(rows, {"mme": items}, store or PrintStore())["mme"]


@pytest.fixture
def items(tmp_path):
    return get_benchmark("mme").load(write_parquet(tmp_path / "d.parquet", mme_rows(0, 5)))


def test_overlap_by_pixels(items):
    copy = re_encoded(png(3))
    assert ImageSource(data=copy).sha256 != ImageSource(data=png(3)).sha256
    overlap = found([Labelled(trained(copy, png(99)), Answer("x"), True)], items)
    assert overlap.num_images == 1
    assert overlap.sample_ids == ("mme-00006", "mme-00007")
    assert {flag.kinds for flag in overlap.flags.values()} == {("image",)}
    assert {flag.train for flag in overlap.flags.values()} == {"sft:t"}
    nothing = found([], items)
    assert (nothing.num_images, nothing.flags) == (0, {})


def test_the_question_with_its_image_is_told(items):
    record = trained(png(3), text=items[6].question.upper() + " Think.")
    overlap = found([record], items)
    assert overlap.flags["mme-00006"].kinds == ("image", "question")
    assert overlap.flags["mme-00007"].kinds == ("image",)


def test_a_short_question_without_its_image_is_no_overlap(items):
    records = [trained(png(200 + n), text=item.question) for n, item in enumerate(items)]
    assert found(records, items).flags == {}


def test_a_long_question_about_an_image_is_found_by_its_words(items):
    words = " ".join(f"word{n}" for n in range(30))
    long = replace(items[0], question=words)
    short = replace(items[1], question=" ".join(words.split()[:25]))
    overlap = found([trained(png(200), text=words)], [long, short])
    assert {uid: flag.kinds for uid, flag in overlap.flags.items()} == {"mme-00000": ("text",)}


def test_size_counts():
    large, small = (print_of(ImageSource(data=png(1, size))) for size in (8, 4))
    assert large.pixels != small.pixels


def test_broken_image(items):
    with pytest.raises(DataError, match="no image that can be read"):
        print_of(ImageSource(data=b"nothing"))
    assert found([trained(b"nothing")], items).flags == {}


# -- pictures that look the same


def photo(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture with large and small shapes in soft colours."""
    rng = random.Random(seed)
    noise = Image.new("RGB", (8, 6))
    noise.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(48)])
    return noise.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


CHANGES = {
    "half": lambda im: encoded(im.resize((160, 120))),
    "square": lambda im: encoded(im.resize((224, 224))),
    "jpeg": lambda im: encoded(im, "JPEG", quality=20),
    "dark": lambda im: encoded(ImageEnhance.Brightness(im).enhance(0.75)),
    "crop": lambda im: encoded(im.crop((16, 12, 304, 228))),
    "corner": lambda im: encoded(im.crop((0, 0, 290, 218)), "JPEG", quality=60),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    rows = mme_rows(0, 12)
    for number, row in enumerate(rows):
        row["image"] = {"bytes": encoded(photo(number // 2)), "path": None}
    path = tmp_path_factory.mktemp("photos") / "d.parquet"
    return get_benchmark("mme").load(write_parquet(path, rows))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(photos, change):
    overlap = found([trained(CHANGES[change](photo(4)))], photos)
    assert overlap.sample_ids == ("mme-00008", "mme-00009")


def test_other_pictures_are_not_found(photos):
    records = [trained(encoded(photo(1000 + n)), uid=str(n)) for n in range(60)]
    assert found(records, photos).flags == {}


def test_scenes_of_other_worlds_are_not_found(tmp_path):
    from recipes.synthetic.scenes import write_scenes

    write_scenes(tmp_path, sft=400, rl=8, select=60, report=60)
    records = [
        trained(path.read_bytes(), uid=path.stem) for path in (tmp_path / "images").iterdir()
    ]
    assert found(records, get_benchmark("mme").load(tmp_path / "mme")).num_images == 0


def test_fingerprints_are_kept_and_read_again(photos, tmp_path, monkeypatch):
    base = tmp_path / "cache" / "images.sqlite"
    first = PrintStore(base)
    records = [trained(CHANGES["half"](photo(4)))]
    before = found(records, photos, first)
    first.close()
    monkeypatch.setattr("evals.contamination.prints.print_of", None)  # nothing is decoded any more
    second = PrintStore(base)
    assert found(records, photos, second) == before
    second.close()


# -- text


def asked(text: str, references=("yes",), uid: str = "q-0"):
    """A text-only benchmark row."""
    from evals.data.items import Item

    sample = Sample(uid, (Message("user", (Text(text),)),), (), tuple(references))
    return Item(sample, text, uid, "all", "report")


WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789éßжあ漢", min_size=1, max_size=8)
QUESTIONS = st.lists(WORDS, min_size=1, max_size=60).map(" ".join)


@given(QUESTIONS, st.text(max_size=40), st.text(max_size=40), WORDS)
def test_an_exact_duplicate_is_always_found(question, before, after, answer):
    row = Sample("t", (Message("user", (Text(f"{before}\n{question}\n{after}"),)),))
    told = Preference(row, Answer(answer), Answer("no"))
    assert found([told], [asked(question, [answer])]).sample_ids == ("q-0",)


@given(QUESTIONS, st.integers(0, 2**32))
def test_unrelated_text_is_never_found(question, seed):
    rng = random.Random(seed)
    words = [f"{rng.getrandbits(64):x}" for _ in range(400)]
    assert found([trained(text=" ".join(words))], [asked(question, [words[0]])]).flags == {}


def test_a_part_of_a_long_question_counts_by_its_share():
    words = [f"word{n}" for n in range(40)]
    item = asked(" ".join(words))
    half = found([trained(text="see: " + " ".join(words[5:30]))], [item])
    assert half.flags["q-0"].kinds == ("text",)
    assert half.flags["q-0"].text_share == pytest.approx(25 / 40)
    assert found([trained(text=" ".join(words[:12]))], [item]).flags == {}
    assert found([trained(text=" ".join(words[:15]))], [item]).flags == {}  # 15 of 40


def test_marks_case_and_width_do_not_hide_a_copy():
    question = "Tom has 3 apples, Ann has 12; how many apples do Tom and Ann have together?"
    copy = question.upper().replace(",", " —").replace("3", "３")
    assert found([trained(text=copy)], [asked(question)]).sample_ids == ("q-0",)


def test_a_very_short_question_needs_its_answer():
    item = asked("What is the capital of France?", ["Paris"])
    assert found([trained(text="What is the capital of France?")], [item]).flags == {}
    known = trained(text="What is the capital of France? It is Paris.")
    assert found([known], [item]).sample_ids == ("q-0",)


def test_a_template_is_no_copy():
    rule = "Read the following passage with care, then answer the question below in one word only"
    items = [asked(f"{rule} item{n} {'x' * n} tail{n}", uid=f"q-{n}") for n in range(30)]
    assert found([trained(text=rule)], items).flags == {}
    assert found([trained(text=items[7].question)], items).sample_ids == ("q-7",)


# -- what a result says


def test_a_score_stands_with_and_without_flagged_questions(tmp_path, photos):
    folder = tmp_path / "evals/sft/mme"
    benchmark = get_benchmark("mme")
    settings = EvalSettings(max_new_tokens=4)
    sampler = TableSampler(lambda s: s.references[0] if s.uid in ("mme-00008", "mme-00009") else "")
    evaluate(benchmark, photos, sampler, folder, settings=settings, weights="w")
    overlap = found([trained(CHANGES["half"](photo(4)))], photos)
    result = write_result(
        folder, benchmark, ResultOptions(stage="sft", gate=GateConfig()), contamination=overlap
    )
    part = next(name for name in ("select", "report") if photos[8].part == name)
    told = result["contamination"]
    assert (told["checked"], told["overlap_images"]) == (True, 1)
    assert told["flagged"]["mme-00008"] == {
        "kinds": ["image"], "text_share": 0.0, "train": "sft:t",
    }  # fmt: skip
    assert told["without"][part]["left_out"] == 2
    assert told["without"][part]["value"] == 0.0 < result["parts"][part]["value"]
    lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    flags = {line["sample_id"]: line["flags"] for line in lines if "flags" in line}
    assert flags == {"mme-00008": ["image"], "mme-00009": ["image"]}


def test_a_flagged_questions_image_leaves_whole(tmp_path, photos):
    """One of an image's two questions was known by its words: without the other MME has no pair."""
    folder = tmp_path / "evals/sft/mme"
    benchmark = get_benchmark("mme")
    sampler = TableSampler(lambda s: s.references[0])
    settings = EvalSettings(max_new_tokens=4)
    evaluate(benchmark, photos, sampler, folder, settings=settings, weights="w")
    overlap = Overlap(0, {"mme-00008": Flag(("text",), 0.9, "sft:t")})
    result = write_result(
        folder, benchmark, ResultOptions(stage="sft", gate=GateConfig()), contamination=overlap
    )
    part, other = sorted(("select", "report"), key=lambda name: name != photos[8].part)
    whole, told = result["parts"], result["contamination"]["without"]
    assert told[part]["left_out"] == 2
    assert told[part]["n"] == whole[part]["n"] - 2
    assert told[part]["clusters"] == whole[part]["clusters"] - 1
    assert told[part]["value"] == told[part]["max"]
    assert (told[other]["left_out"], told[other]["n"]) == (0, whole[other]["n"])


def test_the_text_only_probe_shows_no_image_and_is_not_compared(tmp_path, photos):
    benchmark = get_benchmark("mme")
    asked_of = []

    def answer(sample):
        asked_of.append(sample)
        return "Yes"

    probe = without_images(photos)
    for stage, items, images in (("base", photos, True), ("sft", probe, False)):
        settings = EvalSettings(max_new_tokens=4, images=images)
        folder = tmp_path / "evals" / stage / "mme"
        evaluate(benchmark, items, TableSampler(answer), folder, settings=settings, weights="w")
    assert all(sample.images for sample in asked_of[: len(photos)])
    for sample in asked_of[len(photos) :]:
        assert sample.images == ()
        assert all(isinstance(part, Text) for message in sample.messages for part in message.parts)
    result = write_result(
        tmp_path / "evals/sft/mme",
        benchmark,
        ResultOptions(stage="sft", gate=GateConfig(), base=tmp_path / "evals/base/mme"),
    )
    assert result["settings"]["images"] is False
    assert result["comparisons"]["base"]["refused"] == "images differs: True and False"
    assert result["parts"]["report"]["clusters"] == len(
        {i.cluster_id for i in photos if i.part == "report"}
    )


def test_prints_of_paths_and_bytes_agree(tmp_path: Path):
    data = encoded(photo(1))
    (tmp_path / "a.png").write_bytes(data)
    store = PrintStore()
    one, two = store.of([ImageSource(path=str(tmp_path / "a.png")), ImageSource(data=data)])
    assert one == two is not None
    assert list(store.of([ImageSource(path=str(tmp_path / "gone.png"))])) == [None]

"""Fixed subsets: nested, of whole images, whatever images hold."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from evals.data.items import Item
from evals.data.parts import take
from rl.core import Message, Sample, Text

MOST = 5  # questions an image


def questions(sizes: list[tuple[int, str, str]]) -> list[Item]:
    """Images of so many questions, each of a category and part."""
    return [
        Item(
            Sample(f"{image}-{number}", (Message("user", (Text("?"),)),), ()),
            "?",
            f"image {image}",
            category,
            part,
        )
        for image, (size, category, part) in enumerate(sizes)
        for number in range(size)
    ]


IMAGES = st.tuples(
    st.integers(1, MOST), st.sampled_from(["count", "color"]), st.sampled_from(["select", "report"])
)


@settings(max_examples=150, deadline=None)
@given(st.lists(IMAGES, min_size=2, max_size=25))
def test_subsets_nest_and_hold_whole_images(sizes):
    items = questions(sizes)
    asked_about = Counter(item.cluster_id for item in items)
    smaller: set[str] = set()
    for limit in range(MOST, MOST + len(items)):
        kept = take(items, limit)
        uids = {item.sample.uid for item in kept}
        assert smaller <= uids
        smaller = uids
        assert kept == [item for item in items if item.sample.uid in uids]
        for cluster, number in Counter(item.cluster_id for item in kept).items():
            assert number == asked_about[cluster]
        for part in {item.part for item in items}:
            whole = sum(item.part == part for item in items)
            number = sum(item.part == part for item in kept)
            assert min(whole, limit - MOST + 1) <= number <= limit  # only one image did not fit
    assert len(smaller) == len(items)

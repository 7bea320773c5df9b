"""Golden trees of every family: token by token, and which tokens are trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rl.core import (
    Answer,
    Completion,
    Image,
    Labelled,
    Message,
    Preference,
    Rollout,
    Sample,
    Score,
    Text,
)
from rl.data.images import open_image
from rl.data.render import Renderer
from rl.errors import DataError, ModelError
from tests.rl.models.trees import FAMILIES, TEXT_ONLY, Small, checkpoint, picture, small

IMAGE = picture(64, 48, 0)


def turn(role: str, *parts: str | int, loss: bool | None = None) -> Message:
    made = tuple(Text(part) if isinstance(part, str) else Image(part) for part in parts)
    return Message(role=role, parts=made, loss=loss)  # type: ignore[arg-type]


def chat(*, has_image: bool) -> Sample:
    first = turn("user", 0, "what color?") if has_image else turn("user", "what color?")
    messages = (
        turn("system", "be brief"),
        first,
        turn("assistant", "red"),
        turn("user", "how many?"),
        turn("assistant", "2"),
    )
    return Sample(uid="s1", messages=messages, images=(IMAGE,) if has_image else ())


def renderer(model: Small, max_length: int = 512) -> Renderer:
    return Renderer(model.processor, model.spec, max_length)


def written(model: Small, ids: Sequence[int], trained: Sequence[bool]) -> str:
    """The text with <<trained>> marks; runs of placeholders as one <image xN>."""
    out, run, inside = "", 0, False
    placeholder = model.spec.image_token_id
    for token, is_trained in [*zip(ids, trained, strict=True), (-1, False)]:
        if token == placeholder:
            run += 1
            continue
        if run:
            out, run = out + f"<image x{run}>", 0
        if is_trained != inside:
            out, inside = out + ("<<" if is_trained else ">>"), is_trained
        if token >= 0:
            out += model.spec.tokenizer.decode([token])
    return out


CHATML = (
    "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n{image}what color?<|im_end|>\n"
    "<|im_start|>assistant\n<<red<|im_end|>>>\n<|im_start|>user\nhow many?<|im_end|>\n"
    "<|im_start|>assistant\n"
)
QWEN = CHATML.replace("{image}", "<|vision_start|><image x12><|vision_end|>")
GOLDEN = {  # prompt, answer
    "tiny_qwen3vl": (QWEN, "<<2<|im_end|>>>"),
    "tiny_qwen25vl": (QWEN, "<<2<|im_end|>>>"),
    "tiny_qwen2vl": (QWEN, "<<2<|im_end|>>>"),
    **{name: (CHATML.replace("{image}", ""), "<<2<|im_end|>>>") for name in TEXT_ONLY},
    "tiny_llava": (
        "be brief USER: <image x16>\nwhat color? ASSISTANT:<< red</s>>>USER: how many? ASSISTANT:",
        "<< 2</s>>>",
    ),
}


@pytest.mark.parametrize("family", GOLDEN)
def test_golden(request: pytest.FixtureRequest, family: str) -> None:
    model = small(checkpoint(request, family))
    tree = renderer(model).demonstration_tree(chat(has_image=model.spec.has_vision))
    [branch] = tree.branches
    prompt, answer = GOLDEN[family]
    assert tree.trunk_trained is not None
    assert written(model, tree.trunk_ids, tree.trunk_trained) == prompt
    assert branch.trained is None
    assert written(model, branch.token_ids, [True] * len(branch.token_ids)) == answer
    assert branch.token_ids[-1] == model.spec.end_id


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_ids_are_what_an_engine_tokenises(
    request: pytest.FixtureRequest, family: str
) -> None:
    model = small(checkpoint(request, family))
    sample = chat(has_image=model.spec.has_vision)
    made = renderer(model)
    text = made.prompt_text(sample)
    if model.spec.has_vision:
        encoded = model.processor(text=[text], images=[open_image(IMAGE)])["input_ids"][0]
    else:
        encoded = model.processor(text)["input_ids"]
    assert list(made.prompt_ids(sample)) == list(encoded)


@pytest.mark.parametrize("family", FAMILIES)
def test_templates_without_spans_give_the_same_tree(
    request: pytest.FixtureRequest, family: str
) -> None:
    model = small(checkpoint(request, family))
    marked = renderer(model)
    bare = renderer(model)
    for tag in ("{% generation %}", "{% endgeneration %}"):
        bare.template = bare.template.replace(tag, "")
    bare.marks_spans = False
    sample = chat(has_image=model.spec.has_vision)
    assert bare.demonstration_tree(sample) == marked.demonstration_tree(sample)


def test_loss_of_each_turn_is_a_choice(tiny_qwen3: Path) -> None:
    model = small(tiny_qwen3)
    sample = chat(has_image=False)
    first_off = list(sample.messages)
    first_off[2] = replace(first_off[2], loss=False)
    tree = renderer(model).demonstration_tree(replace(sample, messages=tuple(first_off)))
    assert tree.trunk_trained is None
    assert tree.num_trained == 2
    last_off = list(sample.messages)
    last_off[-1] = replace(last_off[-1], loss=False)
    tree = renderer(model).demonstration_tree(replace(sample, messages=tuple(last_off)))
    assert tree.branches[0].num_trained == 0
    assert tree.trunk_trained is not None
    assert sum(tree.trunk_trained) == 2


def question(*, images: int = 0) -> Sample:
    parts: list[str | int] = [*range(images), "what color?"]
    return Sample(
        uid="q1", messages=(turn("user", *parts),), images=(IMAGE,) * images, references=("red",)
    )


def test_pairs_and_labels(tiny_qwen3vl: Path) -> None:
    model = small(tiny_qwen3vl)
    made, sample = renderer(model), question(images=1)
    pair = made.preference_tree(
        Preference(sample, Answer("red"), Answer("never decoded", token_ids=(40, 41)))
    )
    assert pair.is_pair
    assert [b.label for b in pair.branches] == [True, False]
    assert [b.uid for b in pair.branches] == ["q1/chosen", "q1/rejected"]
    assert pair.branches[1].token_ids == (40, 41)  # as sampled: nothing is added
    assert pair.trunk_ids == made.prompt_ids(sample)
    one = made.labelled_tree(Labelled(sample, Answer("red"), label=False))
    assert not one.is_pair
    assert one.branches[0].label is False
    assert one.branches[0].token_ids == pair.branches[0].token_ids


def test_rollouts_keep_the_engines_ids(tiny_qwen3vl: Path) -> None:
    model = small(tiny_qwen3vl)
    done = Completion((30, 2), (-0.5, -0.1), "red", "stop")
    cut = Completion((31, 32), (-1.0, -2.0), "gre", "length")
    rollout = Rollout(question(images=1), (1, 5, 2), (done, cut))
    tree = renderer(model).rollout_tree(rollout, [Score(1.0), Score(None, "error", "hung")])
    assert tree.trunk_ids == (1, 5, 2)
    assert tree.images == (IMAGE,)
    assert [b.token_ids for b in tree.branches] == [(30, 2), (31, 32)]
    assert [b.behavior_logps for b in tree.branches] == [(-0.5, -0.1), (-1.0, -2.0)]
    assert [b.reward for b in tree.branches] == [1.0, None]
    assert [b.is_truncated for b in tree.branches] == [False, True]


def test_bad_rows_are_named(tiny_qwen3vl: Path) -> None:
    model = small(tiny_qwen3vl)
    made = renderer(model)
    with pytest.raises(DataError, match="q1: no answer to learn"):
        made.demonstration_tree(question())
    with pytest.raises(DataError, match="q1: an empty answer"):
        made.labelled_tree(Labelled(question(), Answer(""), label=True))
    with pytest.raises(DataError, match=r"q1: 1 image placeholders .*, 0 images"):
        made.prompt_ids(replace(question(), messages=(turn("user", "what is <|image_pad|>?"),)))
    with pytest.raises(DataError, match="2 image marks, 1 images"):
        made.prompt_ids(replace(question(images=2), images=(IMAGE,)))
    with pytest.raises(DataError, match="image placeholder inside an answer"):
        made.labelled_tree(Labelled(question(), Answer("<|image_pad|>"), label=True))
    long = Labelled(question(images=1), Answer("red"), label=True)
    narrow = renderer(model, max_length=16)
    with pytest.raises(DataError, match=r"q1: \d+ tokens .* at most max_length = 16"):
        narrow.labelled_tree(long)


def test_a_template_that_rewrites_earlier_turns_is_refused(tiny_qwen3: Path) -> None:
    model = small(tiny_qwen3)
    made = renderer(model)
    made.template = "{{ messages | length }}:" + made.template.replace(
        "{% generation %}", ""
    ).replace("{% endgeneration %}", "")
    made.marks_spans = False
    with pytest.raises(ModelError, match="generation"):
        made.demonstration_tree(chat(has_image=False))

import json
from pathlib import Path

from rl.core import (
    Completion,
    FinishReason,
    Image,
    ImageSource,
    Message,
    Rollout,
    Sample,
    Score,
    Text,
)
from rollouts.pairs import best_and_worst, write_pairs


def group(uid: str, answers: list[tuple[str, float | None, FinishReason]]):
    sample = Sample(
        uid,
        (Message("user", (Image(0), Text("What?"))),),
        images=(ImageSource(data=uid.encode()),),
        references=("red",),
    )
    completions = tuple(
        Completion(tuple(range(len(text))), (0.0,) * len(text), text, finish)
        for text, _, finish in answers
    )
    scores = [Score(value, "ok" if value is not None else "unscored") for _, value, _ in answers]
    return Rollout(sample, (1, 2), completions), scores


def test_best_against_worst_with_ids_and_scores(tmp_path: Path) -> None:
    row = best_and_worst(
        group("a", [("blue", 0.0, "stop"), ("red", 1.0, "stop"), ("x", None, "stop")]), tmp_path
    )
    assert row is not None
    assert (row["chosen"], row["rejected"]) == ("red", "blue")
    assert (row["chosen_score"], row["rejected_score"]) == (1.0, 0.0)
    assert row["chosen_ids"] == [0, 1, 2]
    assert row["messages"] == [{"role": "user", "content": "<image>What?"}]
    assert Path(row["images"][0]).read_bytes() == b"a"


def test_no_pair_where_nothing_is_better_or_the_best_was_cut_off(tmp_path: Path) -> None:
    assert (
        best_and_worst(group("a", [("red", 1.0, "stop"), ("Red", 1.0, "stop")]), tmp_path) is None
    )
    assert (
        best_and_worst(group("a", [("red", 1.0, "length"), ("b", 0.0, "stop")]), tmp_path) is None
    )
    assert best_and_worst(group("a", [("red", None, "stop")]), tmp_path) is None


def test_held_out_prompts_are_in_no_other_file(tmp_path: Path) -> None:
    groups = [group(f"p{i}", [("red", 1.0, "stop"), ("blue", 0.0, "stop")]) for i in range(20)]
    counts = write_pairs(groups, tmp_path, heldout=5, label_threshold=0.5)
    assert (counts.pairs, counts.heldout, counts.labelled, counts.tied) == (15, 5, 30, 0)

    def ids(name: str) -> set[str]:
        lines = (tmp_path / name).read_text().splitlines()
        return {json.loads(line)["id"].split("/")[0] for line in lines}

    assert ids("preference.jsonl") == ids("labelled.jsonl")
    assert not ids("preference.jsonl") & ids("heldout.jsonl")
    lines = (tmp_path / "labelled.jsonl").read_text().splitlines()
    labels = [json.loads(line)["label"] for line in lines]
    assert sum(labels) == 15

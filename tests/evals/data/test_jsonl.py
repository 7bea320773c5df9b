"""The one reader of JSON Lines: a torn last line is no row, wherever answers are read."""

import json

import pytest

from evals.asking.generate import EvalSettings, evaluate, is_current
from evals.asking.judge import CachedJudge, JudgeIdentity, Judgement
from evals.asking.responses import read_responses
from evals.data.jsonl import json_rows
from evals.registry import get_benchmark
from evals.scoring.compare import compare_sides, open_side
from evals.scoring.results import score_folder
from evals.scoring.score import score_file
from rl.errors import DataError
from tests.evals.conftest import TableSampler

MME = get_benchmark("mme")
SETTINGS = EvalSettings(max_new_tokens=16, max_pixels=16384, backend="table", dtype="float32")


@pytest.fixture
def torn(tmp_path, mme_folder):
    """Two evaluated stages; the second one's last answer was cut off within a Chinese character."""
    items = MME.load(mme_folder)
    for stage in ("base", "sft"):
        folder = tmp_path / "run/evals" / stage / "mme"
        sampler = TableSampler(lambda sample: "有")
        evaluate(MME, items, sampler, folder, settings=SETTINGS, weights="w")
    file = folder / "responses.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[: content.rindex("有".encode()) + 1])
    return folder, items


def asked_again(folder, items) -> int:
    sampler = TableSampler(lambda sample: "有")
    evaluate(MME, items, sampler, folder, settings=SETTINGS, weights="w")
    return sampler.asked


def test_resuming_asks_the_question_of_a_torn_line_again(torn):
    folder, items = torn
    assert not is_current(folder, MME, items, SETTINGS, "w")
    assert asked_again(folder, items) == 1
    assert is_current(folder, MME, items, SETTINGS, "w")
    (folder / "responses.jsonl").unlink()
    assert not is_current(folder, MME, items, SETTINGS, "w")


def test_scoring_leaves_a_torn_line_out_and_says_so(torn, capsys):
    folder, items = torn
    scored = score_folder(folder, MME)
    assert len(scored.rows) == len(items) - 1
    said = capsys.readouterr().err
    assert f"responses.jsonl:{len(items)}: the last line was cut off while it was written" in said
    assert "--resume asks its question again" in said


def test_the_score_command_says_so_too(tmp_path, capsys):
    file = tmp_path / "r.jsonl"
    row = {"sample_id": "a", "references": ["red"], "response": "red"}
    file.write_text(json.dumps(row) + "\n" + json.dumps({**row, "sample_id": "b"})[:-9])
    found = score_file("gqa", file)
    assert [item["sample_id"] for item in found["items"]] == ["a"]
    assert f"{file}:2: the last line was cut off" in capsys.readouterr().err


def test_comparing_notes_it_beside_the_comparison(torn):
    folder, _ = torn
    run = folder.parents[2]
    (row,) = compare_sides([open_side(f"{run}:base"), open_side(f"{run}:sft")])["comparisons"][0][
        "benchmarks"
    ]
    assert row["state"] == "compared"
    assert any("the last line was cut off" in note for note in row["noted"])


def test_a_broken_line_elsewhere_is_an_error_with_its_number(torn):
    folder, items = torn
    file = folder / "responses.jsonl"
    lines = file.read_bytes().split(b"\n")
    lines[4] = lines[4][:30]
    file.write_bytes(b"\n".join(lines))
    for read in (lambda: read_responses(folder), lambda: asked_again(folder, items)):
        with pytest.raises(DataError, match=r"responses\.jsonl:5: no JSON"):
            read()


def test_data_of_a_user_may_not_be_torn(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n{"a"')
    with pytest.raises(DataError, match=":2: no JSON"):
        list(json_rows(file))


@pytest.mark.parametrize("end", [b"\0\0", b"[1", b"\xff\xfe{", b'{"a"\n'])
def test_what_is_no_beginning_of_a_row_is_not_torn(tmp_path, end):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n' + end)
    with pytest.raises(DataError, match=r"rows\.jsonl:2: "):
        list(json_rows(file, on_torn=lambda line: None))


@pytest.mark.parametrize("content", ['{"a": 1}', '{"a": 1}\n', '\ufeff{"a": 1}\n\n  \n'])
def test_a_whole_last_line_needs_no_newline(tmp_path, content):
    file = tmp_path / "rows.jsonl"
    file.write_text(content)
    torn: list[int] = []
    assert list(json_rows(file, on_torn=torn.append)) == [(1, {"a": 1})]
    assert torn == []


def test_a_broken_line_among_judgements_is_an_error(tmp_path):
    file = tmp_path / "judgements.jsonl"
    file.write_text('{"key"\n')

    class Silent:
        identity = JudgeIdentity("j", "r")

        def ask(self, prompts, attempt=0):
            return [Judgement(None, "silent")] * len(prompts)

    with pytest.raises(DataError, match=r"judgements\.jsonl:1: no JSON"):
        CachedJudge(Silent(), file)

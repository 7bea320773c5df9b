"""Text benchmarks, and those whose answers a judge or a sandbox reads."""

import json

import pytest

from evals.asking.judge import Judged, JudgeIdentity, Judgement, judge_rows
from evals.benchmarks.humaneval import solution
from evals.registry import get_benchmark
from evals.sandbox.runner import why_not
from evals.scoring.score import score_file
from rl.errors import DataError
from tests.evals.benchmarks.test_benchmarks import example_rows
from tests.evals.conftest import write_parquet
from tests.rewards.golden import rows_of


class Says:
    """A judge that answers from a table; None is a failed call."""

    identity = JudgeIdentity("table", "1")

    def __init__(self, answers: list[str | None]) -> None:
        self.answers, self.asked = answers, []

    def ask(self, prompts, attempt=0):
        self.asked += list(prompts)
        said = [self.answers.pop(0) for _ in prompts]
        return [Judgement(text, "" if text is not None else "no answer") for text in said]


def rows_for(name: str, tmp_path, responses: list[str], profile: str = "official") -> list[dict]:
    file = write_parquet(tmp_path / f"{name}.parquet", example_rows(name, len(responses)))
    items = get_benchmark(name).load(file, profile=profile)
    return [
        {
            "sample_id": item.sample.uid,
            "cluster_id": item.cluster_id,
            "category": item.category,
            "question": item.question,
            "references": list(item.sample.references),
            **item.columns,
            "response": response,
        }
        for item, response in zip(items, responses, strict=False)
    ]


@pytest.mark.parametrize(("profile", "rule"), [("official", "strict"), ("flexible", "flexible")])
def test_gsm8k_golden(tmp_path, profile, rule):
    golden = rows_of("gsm8k")
    rows = [
        {"sample_id": n, "references": [row["target"]], "response": row["prediction"]}
        for n, row in enumerate(golden)
    ]
    file = tmp_path / "r.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    found = score_file("gsm8k", file, profile)
    assert set(found["metrics"]) == {"strict", "flexible", "stderr", "stderr_clustered"}
    assert [item["parsed"] or "[invalid]" for item in found["items"]] == [r[rule] for r in golden]
    mean = sum(item["score"] for item in found["items"]) / len(golden)
    assert found["metrics"][rule] == pytest.approx(mean, abs=1e-12)
    assert found["metrics"]["flexible"] > found["metrics"]["strict"] > 0
    gsm8k = get_benchmark("gsm8k").for_profile(profile)
    assert gsm8k.primary(found["metrics"]) == found["metrics"][rule]


def test_gsm8k_prompts(tmp_path):
    file = write_parquet(tmp_path / "test-0.parquet", example_rows("gsm8k", 1))
    gsm8k = get_benchmark("gsm8k")
    assert gsm8k.load(file)[0].sample.messages[0].text == (
        "Reason step by step, then give the answer on a last line of its own as: #### <number>\n\n"
        "Question: Ann has 1,000 eggs and sells 200. How many are left? (0)\nAnswer:"
    )
    write_parquet(tmp_path / "train-0.parquet", example_rows("gsm8k", 2))
    text = gsm8k.load(file)[0].sample.messages[0].text
    assert text.startswith("Question: Ann has 1,000 eggs")
    assert text.count("#### 800\n\nQuestion:") == 2


def test_mmlu_and_ceval_read_the_first_line(tmp_path):
    for name, letter in (("mmlu", "C"), ("ceval", "C")):
        benchmark = get_benchmark(name)
        (row,) = rows_for(name, tmp_path, [""])
        for text, official, flexible in (
            (f" ({letter}).\nbecause", 1.0, 1.0),
            (f"{letter}。", float(name == "ceval"), 1.0),
            (letter.lower(), 1.0, 0.0),
            (f"答案是{letter}", 0.0, 1.0),
            (f"\n{letter}", 0.0, 1.0),
            ("", 0.0, 0.0),
        ):
            assert benchmark.score({**row, "response": text}).score == official, text
            assert benchmark.score({**row, "response": text}, "flexible").score == flexible, text
        assert benchmark.random_baseline([row]) == 0.25


def test_ceval_subject_is_the_configuration(tmp_path):
    write_parquet(tmp_path / "law" / "val-00000-of-00001.parquet", example_rows("ceval", 1))
    (item,) = get_benchmark("ceval").load(tmp_path)
    assert (item.category, item.sample.uid) == ("law", "ceval-law-0")
    assert item.sample.messages[0].text.startswith("以下是中国关于法学的单项选择题")


def test_ifeval_levels():
    ifeval = get_benchmark("ifeval")
    base = {
        "category": "punctuation",
        "references": [],
        "instruction_id_list": ["punctuation:no_comma", "keywords:existence"],
        "kwargs": [{}, {"keywords": ["cat"], "relation": None}],
    }
    rows = [
        {**base, "sample_id": "a", "response": "a cat"},
        {**base, "sample_id": "b", "response": "Sure, this:\na cat"},
        {**base, "sample_id": "c", "response": "a dog"},
    ]
    scores = [ifeval.score(row) for row in rows]
    assert [score.score for score in scores] == [1.0, 0.0, 0.0]
    assert [score.parsed for score in scores] == [1.0, 0.5, 0.5]
    metrics = ifeval.aggregate(rows, scores)
    assert metrics == {
        "accuracy": pytest.approx(1 / 3),
        "categories": {"punctuation": pytest.approx(1 / 3)},
        "prompt_strict": pytest.approx(1 / 3),
        "instruction_strict": pytest.approx(4 / 6),
        "prompt_loose": pytest.approx(2 / 3),
        "instruction_loose": pytest.approx(5 / 6),
    }
    assert [ifeval.score(row, "flexible").score for row in rows] == [1.0, 1.0, 0.0]
    for name in ("x:y", [], {"a": 1}, 5):
        with pytest.raises(DataError, match="unknown instruction"):
            ifeval.score({**rows[0], "instruction_id_list": [name], "kwargs": [{}]})


def mathvista_row(kind: str, form: str, answer: str, response: str, **more) -> dict:
    return {
        "sample_id": "m",
        "question_type": kind,
        "answer_type": form,
        "choices": ["3/11", "8/11"] if kind == "multi_choice" else None,
        "precision": 2.0,
        "query": "Question: what?",
        "references": [answer],
        "response": response,
        **more,
    }


@pytest.mark.parametrize(
    ("row", "official", "vlmevalkit"),
    [
        (mathvista_row("multi_choice", "text", "8/11", "B"), 1.0, 1.0),
        (mathvista_row("multi_choice", "text", "8/11", "so it is B"), 0.0, 1.0),
        (mathvista_row("multi_choice", "text", "8/11", ""), 0.0, 0.0),
        (mathvista_row("free_form", "float", "0.73", "0.729"), 1.0, 0.0),
        (mathvista_row("free_form", "float", "0.70", "0.7"), 0.0, 1.0),
        (mathvista_row("free_form", "integer", "14", "14"), 1.0, 1.0),
        (mathvista_row("free_form", "integer", "14", "about 14"), 0.0, 0.0),
        (mathvista_row("free_form", "list", "[1, 2]", "[1, 2]"), 1.0, 1.0),
    ],
)
def test_mathvista_without_a_judge(row, official, vlmevalkit):
    mathvista = get_benchmark("mathvista")
    assert mathvista.score(row).score == official
    assert mathvista.score(row, "vlmevalkit").score == vlmevalkit


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("choices", 3),
        ("choices", "a"),
        ("choices", {"A": "a"}),
        ("precision", []),
        ("precision", "x"),
        ("precision", float("nan")),
    ],
)
def test_mathvista_columns_of_wrong_types_are_refused(column, value):
    row = mathvista_row("free_form", "float", "0.73", "0.73", **{column: value})
    with pytest.raises(DataError, match=rf"mathvista m: {column} (is|are) .*; expected "):
        get_benchmark("mathvista").score(row)


def test_mathvista_judge_reads_what_the_rule_cannot():
    mathvista = get_benchmark("mathvista")
    assert isinstance(mathvista, Judged)
    rows = [
        mathvista_row("free_form", "integer", "14", "14"),
        mathvista_row("free_form", "integer", "14", "It is {fourteen}."),
        mathvista_row("free_form", "integer", "14", "no idea"),
        mathvista_row("free_form", "integer", "14", "hm"),
    ]
    judge = Says(["14", "", None])
    judged = judge_rows(rows, mathvista, judge)
    assert len(judge.asked) == 3  # the first is read by the rule
    assert judge.asked[0].endswith("Question: what?\nResponse: It is {fourteen}.\nAnswer:")
    scores = [mathvista.score(row) for row in judged]
    assert [score.score for score in scores] == [1.0, 1.0, 0.0, None]
    assert [score.status for score in scores] == ["ok", "ok", "unparsed", "error"]


def test_mmvet_grades_and_errors(tmp_path):
    mmvet = get_benchmark("mmvet")
    assert isinstance(mmvet, Judged)
    rows = rows_for("mmvet", tmp_path, ["x = -1", "x = 3", "?", "x"])
    with pytest.raises(DataError, match="no judge has read this answer"):
        mmvet.score(rows[0])
    # the third has no grade at first, the fourth's call fails
    judge = Says(["0.5 points", "0.0", "good", None, "1.0"])
    judged = judge_rows(rows, mmvet, judge)
    assert judge.asked[0].endswith("What is x in the equation? | -1 <AND> -5 | x = -1 |")
    scores = [mmvet.score(row) for row in judged]
    assert [score.score for score in scores] == [0.5, 0.0, 1.0, None]
    assert scores[3].status == "error"
    metrics = mmvet.aggregate(judged, scores)
    assert metrics["accuracy"] == 0.5  # the error stands outside
    assert metrics["categories"] == {"math_ocr": 0.5}
    assert metrics["capabilities"] == {"ocr": 0.5, "math": 0.5}
    assert mmvet.score({**judged[0], "judgement": "1.5"}).status == "error"


@pytest.mark.parametrize(
    ("text", "profile", "program"),
    [
        ("    return 1\n\ndef g(): pass", "official", "    return 1\n"),
        ("    return 1\n```\nThis ...", "official", "    return 1\n"),
        (
            "```python\ndef f():\n    return 2\n```",
            "flexible",
            "    pass\ndef f():\n    return 2\n",
        ),
        ("Sure:\n```\n    return 3\n```", "flexible", "    return 3\n"),
        ("    return 4\nprint(f())", "flexible", "    return 4"),
    ],
)
def test_humaneval_programs(text, profile, program):
    head = 'def f():\n    """It."""\n'
    made = solution(head, text, profile)
    assert made.removeprefix(head).lstrip("\n") == program


@pytest.mark.skipif(bool(why_not()), reason=f"no sandbox: {why_not()}")
def test_humaneval_runs_the_tests():
    row = {
        "sample_id": "humaneval-0",
        "prompt": 'def f(x):\n    """Twice x."""\n',
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
        "entry_point": "f",
        "references": ["    return 2 * x\n"],
    }
    humaneval = get_benchmark("humaneval")
    for text, score in (
        ("    return x + x", 1.0),
        ("    return 4 if open('/etc/passwd') else 4", 0.0),
        ("    import os; os._exit(0)", 0.0),
        ("", 0.0),
    ):
        assert humaneval.score({**row, "response": text}).score == score, text
    with pytest.raises(DataError, match="no test, entry_point"):
        humaneval.score({"sample_id": "a", "prompt": "", "response": ""})

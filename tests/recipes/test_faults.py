"""Everything that would stop a run is told before it starts, all at once: file, line, key."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.test_bad_input import (  # noqa: F401
    command,
    one_line,
    page,
    place,
    row,
    rows,
    run,
)

SCORER = "name: cups\ndata: counts.jsonl\ncolumns: {id: number}\nscorer:\n  name: numeric\n"


def counts(place: Path, values: list[dict[str, Any]]) -> None:  # noqa: F811
    good = {"image": "a.png", "question": "How many?", "answer": "3"}
    rows(place, "counts", [{"number": n, **good, **value} for n, value in enumerate(values)])


def write(place: Path, text: str) -> None:  # noqa: F811
    """The page `page.yaml` as text, for its line numbers."""
    (place / "page.yaml").write_text(text)


PAGE = """model: {path: model}
evals:
  benchmarks:
    - name: cups.yaml
stages:
  - name: sft
    algorithm: sft
    data: [{path: sft.jsonl}]
  - name: grpo
    from: sft
    algorithm: {name: grpo, group_size: 4}
    data: [{path: rl.jsonl}]
    rewards:
      - exact
"""


def test_a_good_page_plans(
    place: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    (place / "cups.yaml").write_text(SCORER)
    counts(place, [{}] * 4)
    write(place, PAGE)
    assert command("plan", "page.yaml") == 0, capsys.readouterr().err


def test_plan_lists_every_fault(
    place: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    (place / "cups.yaml").write_text(SCORER)
    counts(place, [{}, {"image": "gone.png"}, {}])
    rows(place, "rl", [row(None)] * 3)
    (place / "mine.py").write_text("def mine(text: str, keywords: list[str]) -> float: ...\n")
    text = PAGE.replace("sft.jsonl", "gone.jsonl").replace(
        "- exact", "- ./mine.py:mine\n      - exakt"
    )
    write(place, f"run: {{root: a.png}}\n{text}")
    assert command("plan", "page.yaml") == 2
    lines = capsys.readouterr().err.removeprefix("plumbline: ").splitlines()
    assert len(lines) == 5, lines
    said = "\n".join(lines)
    assert "page.yaml:1 run.root: a.png/run: the folder cannot be written" in said
    assert "page.yaml:9 stages.sft.data: gone.jsonl: the data file is missing" in said
    assert "argument 'keywords' of reward 'mine' is not in the data: not in any row of 3" in said
    assert 'page.yaml:16 stages.grpo.rewards.1: unknown reward "exakt". Did you mean exact?' in said
    assert f"counts.jsonl:2: no image {place / 'gone.png'}; 1 of 3 rows lack theirs" in said


def test_names_and_files_are_told_beside_wrong_types(
    place: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = PAGE.replace("- exact", "- {name: exact, ignore_cas: true}")
    text = text.replace("cups.yaml", "mmee").replace("sft.jsonl", "gone.jsonl")
    write(place, text.replace("group_size: 4", "group_size: four"))
    assert command("plan", "page.yaml") == 2
    said = capsys.readouterr().err
    assert 'page.yaml:11 stages.grpo.algorithm.group_size: got "four"' in said
    assert "page.yaml:14 stages.grpo.rewards.exact.ignore_cas: reward 'exact': unknown" in said
    assert "Did you mean ignore_case?" in said
    assert (
        'page.yaml:4 evals.benchmarks.mmee.name: unknown benchmark "mmee". Did you mean mme?'
        in said
    )
    assert "gone.jsonl: the data file is missing" in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    from: sft", "    from: best()", r"page.yaml:10 stages.grpo.from: best\(\) names no"),
        (
            "    algorithm: sft",
            "    algorithm: dpo\n    heldout: grpo",
            "page.yaml:8 stages.sft.heldout: .* Name a sample",
        ),
        ("    from: sft", "    from: sf", 'stages.grpo.from: unknown stage "sf". Did you mean sft'),
        ("path: sft.jsonl", "stage: grpo", "sft.data.0.stage: .*writes no rows. Name a sample"),
        (
            "    - name: cups.yaml",
            "    - {name: cups.yaml}\n    - {name: cups.yaml}",
            "is evals.*0 too",
        ),
        (
            "  benchmarks:\n    - name: cups.yaml",
            "  gate: {strict: true}",
            "evals.gate: decides by",
        ),
        (
            "stages:\n",
            "stages:\n  - {name: a, sample: {rewards: [exact]}, data: [{path: rl.jsonl}]}\n"
            "  - {name: b, sample: {rewards: [exact]}, data: [{stage: a}]}\n",
            "stages.b.data: a sample stage writes no rows for another sample stage",
        ),
        ("  - name: sft", "  - name: ../sft", "stages.../sft.name: got .*pattern"),
        (
            "    from: sft",
            "    from: best(base, sft)\n    evaluate: false",
            None,
        ),
        (
            "    algorithm: sft",
            "    algorithm: sft\n    evaluate: false\n    eval_every: 2",
            None,
        ),
    ],
)
def test_what_a_page_cannot_mean(
    place: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    said: str | None,
) -> None:
    import re

    (place / "cups.yaml").write_text(SCORER)
    counts(place, [{}] * 4)
    assert old in PAGE
    write(place, PAGE.replace(old, new, 1))
    assert command("plan", "page.yaml") == (0 if said is None else 2)
    if said is not None:
        assert re.search(said, line := capsys.readouterr().err), line


@pytest.mark.parametrize(
    ("change", "values", "said"),
    [
        ("  tolerence: 1", [{}], r"cups.yaml:6 scorer.tolerence: .*Did you mean tolerance\?"),
        (
            "  tolerance: wide",
            [{}],
            r"cups.yaml:6 scorer.tolerance: .*'wide'; expected a valid num",
        ),
        ("", [{}, {"number": 0}], r"counts.jsonl:2: id 'cups-0' is in .*counts.jsonl:1 too"),
        (
            "",
            [{}, {"answer": None}],
            "counts.jsonl:2: answer None; expected a text.*Fix or remove",
        ),
        ("", [{}, {"answer": "many"}], "counts.jsonl:2: scorer numeric raised .*no number"),
        ("prompt: '{qestion}'", [{}], "counts.jsonl:1: prompt: .*Did you mean question"),
        ("", [{"image": "x.png"}], r"no image in any row.*counts.jsonl:1: no image .*x.png\)"),
    ],
)
def test_a_page_without_code_is_told_by_line(
    place: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    change: str,
    values: list[dict[str, Any]],
    said: str,
) -> None:
    import re

    (place / "cups.yaml").write_text(SCORER + change)
    counts(place, values)
    write(place, PAGE)
    assert command("plan", "page.yaml") == 2
    assert re.search(said, line := one_line(capsys)), line


def test_a_scorers_column_is_kept_for_it(place: Path) -> None:  # noqa: F811
    from evals.base import BenchmarkConfig
    from tests.evals.conftest import open_benchmark

    (place / "mine.py").write_text(
        "def near(text: str, solution: str, unit: str, slack: float = 1) -> float:\n"
        "    return float(text in (solution, solution + unit))\n"
    )
    (place / "cups.yaml").write_text(SCORER.replace("numeric", "./mine.py:near"))
    counts(place, [{"unit": " cups"}] * 2)
    benchmark, items = open_benchmark(BenchmarkConfig(name="cups.yaml"))
    assert [dict(item.columns) for item in items] == [{"unit": " cups"}] * 2
    said = {"sample_id": items[0].sample.uid, "references": ["3"], **items[0].columns}
    assert benchmark.score({**said, "response": "3 cups"}).score == 1.0
    assert benchmark.score({**said, "response": "3 bolts"}).score == 0.0


def test_paths_of_a_page_are_relative_to_the_page(place: Path) -> None:  # noqa: F811
    from evals.base import BenchmarkConfig
    from tests.evals.conftest import open_benchmark

    there = place / "pages" / "data"
    there.mkdir(parents=True)
    (place / "a.png").rename(there / "a.png")
    counts(there, [{}] * 2)
    (there.parent / "mine.py").write_text("def yes(text: str) -> float:\n    return 1.0\n")
    text = SCORER.replace("counts.jsonl", "data/counts.jsonl").replace("numeric", "./mine.py:yes")
    (there.parent / "cups.yaml").write_text(text)
    _, items = open_benchmark(BenchmarkConfig(name="pages/cups.yaml"))
    assert Path(str(items[0].sample.images[0].path)).resolve() == there / "a.png"


def test_half_a_character_in_a_row(
    place: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows(place, "sft", [row("red"), json.dumps(row("re\ud800d"))])
    assert run(page()) == 2
    assert r"sft.jsonl:2 uid sft:2: messages[1] holds '\ud800', half of" in one_line(capsys)

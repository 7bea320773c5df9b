"""Two sets of answers to the same questions: which questions pair, whether settings allow it, and
the paired comparison itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from evals.accuracy import cell_sums
from evals.base import Benchmark
from evals.data.items import ItemScore
from evals.scoring.samples import Scored, mean
from evals.scoring.stats import (
    Floats,
    Statistic,
    minimum_detectable_effect,
    paired_bootstrap,
    sign_test,
)
from rl.errors import EvalError

ALPHA = 0.05
# Settings that say where something came from, not what was asked. With them belongs, between
# different models, the chat template and other files: they are part of a model.
_FREE = ("data_path", "backend", "dtype")
_OF_THE_MODEL = ("chat_template", "files")
_BY_QUESTION = ("prompt_hash", "data_fingerprint")
_DEFAULTS: dict[str, Any] = {"images": True, "n": 1, "files": "", "extra": {}}
_QUESTION = ("part", "question", "references", "images")


class Unequal(NamedTuple):
    """A setting that forbids a comparison."""

    key: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.key} differs: {self.theirs} and {self.ours}"


def unequal_settings(
    ours: tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]],
    theirs: tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]],
    *,
    same_model: bool = True,
) -> list[Unequal]:
    """What forbids to compare two (header, rows): prompts, data, pixel limits, generation settings.

    A subset (`limit`) of the same questions is no difference: prompts and data are then compared
    question by question. `same_model`: the chat template must agree too.
    """
    header, their_header = ours[0], theirs[0]
    found = []
    if header["version"] != their_header["version"]:
        found.append(Unequal("version", their_header["version"], header["version"]))
    if header.get("judge") != their_header.get("judge"):
        found.append(Unequal("judge", their_header.get("judge"), header.get("judge")))
    mine, other = ({**_DEFAULTS, **given["settings"]} for given in (header, their_header))
    free = {*_FREE, *_BY_QUESTION, *(() if same_model else _OF_THE_MODEL)}
    if mine.get("temperature") == other.get("temperature") == 0:
        free.add("seed")  # greedy answers draw nothing
    found += [
        Unequal(key, other.get(key), mine.get(key))
        for key in sorted(mine.keys() | other.keys())
        if key not in free and mine.get(key) != other.get(key)
    ]
    if any(mine.get(key) != other.get(key) for key in _BY_QUESTION):
        found += _unequal_questions(ours, theirs)
    return found


def _unequal_questions(
    ours: tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]],
    theirs: tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]],
) -> list[Unequal]:
    known = {row["sample_id"]: row for row in theirs[1]}
    shared = [(known[row["sample_id"]], row) for row in ours[1] if row["sample_id"] in known]
    if not shared:
        return [
            Unequal("data", "other questions", f"{len(ours[1])} questions, none of them shared")
        ]
    found = []
    changed = [b["sample_id"] for a, b in shared if any(a.get(k) != b.get(k) for k in _QUESTION)]
    if changed:
        note = f"{len(changed)} of {len(shared)} shared questions are others, first {changed[0]}"
        found.append(Unequal("data", theirs[0]["settings"]["data_fingerprint"], note))
    hashes = [(a.get("prompt_hash"), b.get("prompt_hash")) for a, b in shared]
    whole = [given[0]["settings"]["prompt_hash"] for given in (theirs, ours)]
    if any(a is None or b is None for a, b in hashes):  # rows that do not say: the set's hash must
        if whole[0] != whole[1]:
            found.append(Unequal("prompt_hash", *whole))
    elif any(a != b for a, b in hashes):
        found.append(Unequal("prompt_hash", *whole))
    return found


class Pairs(NamedTuple):
    """Both sides' answers to the shared questions, in one order, and the ids that only one has."""

    ours: Scored
    theirs: Scored
    only_ours: list[str]
    only_theirs: list[str]


def pair(ours: Scored, theirs: Scored) -> Pairs:
    """Pairs by sample_id. A question that failed on one side leaves the other side too, as one of
    its answers does: its scores are blanked there.
    """
    index = {row["sample_id"]: number for number, row in enumerate(theirs.rows)}
    mine = [n for n, row in enumerate(ours.rows) if row["sample_id"] in index]
    a, b = ours.at(mine), theirs.at([index[ours.rows[n]["sample_id"]] for n in mine])
    is_usable = [
        all(score.score is not None for score in verdicts)
        for verdicts in zip(*a.rounds, *b.rounds, strict=True)
    ]
    known = {row["sample_id"] for row in a.rows}
    return Pairs(
        a.blanked(is_usable),
        # Their rows for their answers, our columns for what a question is.
        b.blanked(is_usable),
        [str(row["sample_id"]) for row in ours.rows if row["sample_id"] not in known],
        [str(name) for name in index if name not in known],
    )


def compare(
    ours: Scored, theirs: Scored, benchmark: Benchmark, *, seed: int = 0
) -> dict[str, Any] | None:
    """The paired comparison ours - theirs over the questions that both answered; None where there
    is none.

    `difference`, its interval, bounds, p and `mde_primary` are in the primary statistic's units,
    `mde` and `accuracy_...` are shares. The sign test counts images that got better and worse; it
    stands only for scores of 0 and 1. Raises: EvalError where no question is shared.
    """
    pairs = pair(ours, theirs)
    a, b = pairs.ours, pairs.theirs
    if ours.rows and not a.rows:
        raise EvalError(
            "not the same questions",
            where=f"comparison on {benchmark.id}",
            expected="questions that both answered (equal sample_id)",
            do="compare answers to the same data",
        )
    a_valid, b_valid = a.valid, b.valid
    if not a_valid.rows:
        return None
    layout = benchmark.layout(a.rows)
    # The pairing (clusters, categories) is ours for both, or a resample would mix images.
    theirs_as_ours = b.over(a.rows)
    strata = strata_of(a, layout)
    primary, accuracy = paired_bootstrap(
        sums(benchmark, a, layout),
        sums(benchmark, theirs_as_ours, layout),
        a.statistic(statistics(benchmark)),
        theirs=b.statistic(statistics(benchmark)),
        strata=strata,
        seed=seed,
    )
    figures, their_figures = figures_of(benchmark, a_valid), figures_of(benchmark, b_valid)
    return {
        "n": len(a_valid.rows),
        "clusters": len({row["cluster_id"] for row in a_valid.rows}),
        "degrees_of_freedom": len(strata) - len(set(strata)),
        "unpaired": {"ours": len(pairs.only_ours), "theirs": len(pairs.only_theirs)},
        "difference": primary.value,
        "interval": [primary.low, primary.high],
        "lower_bound": primary.lower_bound,
        "upper_bound": primary.upper_bound,
        "stderr": primary.stderr,
        "p_value": primary.p_value,
        "accuracy_difference": accuracy.value,
        "accuracy_interval": [accuracy.low, accuracy.high],
        "accuracy_p_value": accuracy.p_value,
        "sign_test_p": _sign_test(a_valid, b_valid),
        "verdict": verdict_of(primary.value, primary.p_value),
        "mde": minimum_detectable_effect(accuracy.stderr),
        "mde_primary": minimum_detectable_effect(primary.stderr),
        "flips": _flips(benchmark, a_valid, b_valid),
        "flips_by_category": {
            category: _flips(
                benchmark, *(_in(a_valid, side, category) for side in (a_valid, b_valid))
            )
            for category in sorted({row["category"] for row in a_valid.rows})
        },
        "decomposition": {
            key: [their_figures[key], value] if value is not None else None
            for key, value in figures.items()
        },
    }


def strata_of(scored: Scored, layout: Sequence[str]) -> list[tuple[str, ...]]:
    """Each cluster's stratum: its categories, where the statistic is made of several cells."""
    found: dict[str, set[str]] = {}
    for row in scored.rows:
        cells = {str(row.get("category", ""))} if len(layout) > 1 else set()
        found.setdefault(str(row["cluster_id"]), set()).update(cells)
    return [tuple(sorted(cells)) for cells in found.values()]


def sums(benchmark: Benchmark, part: Scored, layout: Sequence[str]) -> Floats:
    """The benchmark's sufficient statistics, and behind them the accuracy's, round by round: [C,
    rounds x (K + 2)].
    """
    return part.sums(lambda scores: round_sums(benchmark, part.rows, scores, layout))


def round_sums(
    benchmark: Benchmark,
    rows: Sequence[Mapping[str, Any]],
    scores: Sequence[ItemScore],
    layout: Sequence[str],
) -> Floats:
    """One round's `sums`: [C, K + 2]."""
    names, sums_CK = benchmark.sums(rows, scores, layout)
    clusters, accuracy_C2 = cell_sums(rows, scores, [0] * len(rows), 1)
    assert names == clusters, "a benchmark lists clusters in order of first appearance"
    return np.concatenate([sums_CK, accuracy_C2], axis=1)


def statistics(benchmark: Benchmark) -> Statistic:
    """Primary statistic and accuracy of the totals that `round_sums` lays out."""

    def both(totals: Floats) -> Floats:
        accuracy = totals[..., -2] / np.maximum(totals[..., -1], 1)
        return np.stack([benchmark.statistic(totals[..., :-2]), accuracy], axis=-1)

    return both


def figures_of(benchmark: Benchmark, valid: Scored) -> dict[str, float | None]:
    """What a difference is split into, None without rows; a row's `num_tokens` are those of all its
    answers.
    """
    if not valid.rows:
        return dict.fromkeys(("parse_rate", "truncated", "mean_tokens", "yes_ratio"))
    rounds = [[s for s in scores if s.score is not None] for scores in valid.scored_rounds]
    yes = [benchmark.yes_ratio(scores) for scores in rounds]
    return {
        "parse_rate": fmean(mean(map(benchmark.is_parsed, scores)) for scores in rounds),
        "truncated": fmean(mean(s.status == "truncated" for s in scores) for scores in rounds),
        "mean_tokens": mean(row.get("num_tokens", 0) for row in valid.rows) / len(valid.rounds),
        "yes_ratio": fmean(known) if (known := [y for y in yes if y is not None]) else None,
    }


def verdict_of(difference: float, p_value: float) -> str:
    """better | worse | no evidence, at 5 %."""
    if p_value >= ALPHA or difference == 0:
        return "no evidence"
    return "better" if difference > 0 else "worse"


def _sign_test(ours: Scored, theirs: Scored) -> float | None:
    if not {*ours.values, *theirs.values} <= {0.0, 1.0}:
        return None
    change: dict[str, float] = {}
    for row, a, b in zip(ours.rows, ours.values, theirs.values, strict=True):
        change[row["cluster_id"]] = change.get(row["cluster_id"], 0.0) + a - b
    better = sum(value > 0 for value in change.values())
    return sign_test(better, sum(value < 0 for value in change.values()))


def _in(key: Scored, scored: Scored, category: str) -> Scored:
    return scored.at([n for n, row in enumerate(key.rows) if row["category"] == category])


def _flips(benchmark: Benchmark, ours: Scored, theirs: Scored) -> dict[str, int]:
    """Questions that changed sides; for a graded score, ones that got worse or better."""
    pairs = list(zip(ours.scores, theirs.scores, strict=True))
    parsed = [(benchmark.is_parsed(a), benchmark.is_parsed(b)) for a, b in pairs]
    values = list(zip(ours.values, theirs.values, strict=True))
    return {
        "right_to_wrong": sum(a < b for a, b in values),
        "wrong_to_right": sum(a > b for a, b in values),
        "unparsed_to_parsed": sum(a and not b for a, b in parsed),
        "parsed_to_unparsed": sum(b and not a for a, b in parsed),
    }

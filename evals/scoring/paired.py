"""Two models' answers to the same questions: may they be compared, which questions pair, and what
the difference is.

    unequal_settings(ours, theirs)      # other prompts, data, pixel limits: no comparison
    compare(ours, theirs, benchmark)    # pairs by sample_id; difference, interval, p-value, flips

"Ours" is the model in question (a stage), "theirs" the one that it is held against (its parent, or
a baseline); every difference is ours - theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from evals.accuracy import cell_sums
from evals.base import Benchmark
from evals.data.items import ItemScore, cluster_id_of
from evals.scoring.samples import Scored
from evals.scoring.significance import minimum_detectable_effect, sign_test
from evals.scoring.stats import Floats, Statistic, paired_bootstrap
from rl.errors import EvalError

ALPHA = 0.05
# Settings that may differ: where the answers came from, not what was asked.
_MAY_DIFFER = ("data_path", "backend", "dtype")
# Settings that belong to a model: they may differ between two models, and not within one.
_OF_THE_MODEL = ("chat_template", "files")
# Hashes over all questions: where they differ, the shared questions are compared one by one.
_OF_ALL_QUESTIONS = ("prompt_hash", "data_fingerprint")
# What a header means that does not name the setting.
_DEFAULTS: dict[str, Any] = {"images": True, "n": 1, "files": "", "extra": {}}
# What makes two rows of one sample_id the same question.
_QUESTION = ("part", "question", "references", "images")

# The header and the rows of an evaluation's folder.
Answers = tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]


class Unequal(NamedTuple):
    """A setting that forbids a comparison.

    >>> str(Unequal("max_pixels", theirs=64, ours=128))
    'max_pixels differs: 64 and 128'
    """

    key: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.key} differs: {self.theirs} and {self.ours}"


def unequal_settings(ours: Answers, theirs: Answers, *, same_model: bool = True) -> list[Unequal]:
    """What forbids a comparison: other prompts, data, pixel limits or generation settings.

    One side may have answered a subset of the other's questions (`limit`): prompts and data are
    then compared question by question. With `same_model` (two stages of a run) the chat template
    and the model's other files must agree too.
    """
    header, their_header = ours[0], theirs[0]
    unequal = []
    if header["version"] != their_header["version"]:
        unequal.append(Unequal("version", their_header["version"], header["version"]))
    if header.get("judge") != their_header.get("judge"):
        unequal.append(Unequal("judge", their_header.get("judge"), header.get("judge")))
    mine, other = ({**_DEFAULTS, **one["settings"]} for one in (header, their_header))
    may_differ = {*_MAY_DIFFER, *_OF_ALL_QUESTIONS, *(() if same_model else _OF_THE_MODEL)}
    if mine.get("temperature") == other.get("temperature") == 0:
        may_differ.add("seed")  # greedy answers draw nothing
    unequal += [
        Unequal(key, other.get(key), mine.get(key))
        for key in sorted(mine.keys() | other.keys())
        if key not in may_differ and mine.get(key) != other.get(key)
    ]
    if any(mine.get(key) != other.get(key) for key in _OF_ALL_QUESTIONS):
        unequal += _unequal_questions(ours, theirs)
    return unequal


def _unequal_questions(ours: Answers, theirs: Answers) -> list[Unequal]:
    """What differs in the questions that both sides were asked."""
    known = {row["sample_id"]: row for row in theirs[1]}
    shared = [(known[row["sample_id"]], row) for row in ours[1] if row["sample_id"] in known]
    if not shared:
        return [
            Unequal("data", "other questions", f"{len(ours[1]):,} questions, none of them shared")
        ]
    unequal = []
    changed = [b["sample_id"] for a, b in shared if any(a.get(k) != b.get(k) for k in _QUESTION)]
    if changed:
        note = (
            f"{len(changed):,} of {len(shared):,} shared questions are others, first {changed[0]}"
        )
        unequal.append(Unequal("data", theirs[0]["settings"]["data_fingerprint"], note))
    hashes = [(a.get("prompt_hash"), b.get("prompt_hash")) for a, b in shared]
    all_prompts = [side[0]["settings"]["prompt_hash"] for side in (theirs, ours)]
    # Rows of an older version do not hold their prompt's hash: then the hash over all must agree.
    is_unknown = any(a is None or b is None for a, b in hashes)
    is_unequal = all_prompts[0] != all_prompts[1] if is_unknown else any(a != b for a, b in hashes)
    if is_unequal:
        unequal.append(Unequal("prompt_hash", *all_prompts))
    return unequal


class Pairs(NamedTuple):
    """Both sides' answers to the shared questions, in one order, and the ids that only one has."""

    ours: Scored
    theirs: Scored
    only_ours: list[str]
    only_theirs: list[str]


def pair(ours: Scored, theirs: Scored) -> Pairs:
    """Pairs two sets of answers by sample_id.

    A question of which any answer failed on one side becomes an error on both sides: left in on one
    side alone, it would count for that side and not for the other.
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
        b.blanked(is_usable),
        [str(row["sample_id"]) for row in ours.rows if row["sample_id"] not in known],
        [str(name) for name in index if name not in known],
    )


def compare(
    ours: Scored, theirs: Scored, benchmark: Benchmark, *, seed: int = 0
) -> dict[str, Any] | None:
    """The paired comparison over the questions that both answered, as result.json holds it; None
    where no shared question has a score on both sides.

    `difference` (ours - theirs), its interval, bounds, p-value and `mde_primary` are in the units
    of the benchmark's own statistic; `mde` and `accuracy_...` are shares. `sign_test_p` counts
    images that got better and worse, and is None unless every score is 0 or 1. `flips` counts
    questions that changed sides, and `decomposition` holds [theirs, ours] of what may explain the
    difference. Raises: EvalError where no question is shared.
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
    # Clusters and categories are read from our rows for both sides. Were theirs used for theirs, a
    # different order of images would pair one image's answers with another's in every resample.
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
    """Each cluster's stratum, in order of first appearance: the categories of its questions where
    the statistic is made of several cells (MME's total is a sum over categories), else one stratum
    for all. Raises: EvalError where a row has no cluster.
    """
    by_cluster: dict[str, set[str]] = {}
    for row in scored.rows:
        cells = {str(row.get("category", ""))} if len(layout) > 1 else set()
        by_cluster.setdefault(cluster_id_of(row), set()).update(cells)
    return [tuple(sorted(cells)) for cells in by_cluster.values()]


def sums(benchmark: Benchmark, part: Scored, layout: Sequence[str]) -> Floats:
    """Each cluster's sums for the benchmark's own statistic followed by those for the accuracy, the
    rounds side by side: [C, rounds x (K + 2)].
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
    """The primary statistic and the accuracy of the totals that `round_sums` lays out: [..., K + 2]
    -> [..., 2].
    """

    def both(totals: Floats) -> Floats:
        accuracy = totals[..., -2] / np.maximum(totals[..., -1], 1)
        return np.stack([benchmark.statistic(totals[..., :-2]), accuracy], axis=-1)

    return both


def figures_of(benchmark: Benchmark, valid: Scored) -> dict[str, float | None]:
    """The figures that may explain a difference, each None without rows: the shares of answers that
    could be read, were truncated, and said yes, and the mean number of tokens of an answer.
    """
    if not valid.rows:
        return dict.fromkeys(("parse_rate", "truncated", "mean_tokens", "yes_ratio"))
    rounds = [[s for s in scores if s.score is not None] for scores in valid.scored_rounds]
    yes = [benchmark.yes_ratio(scores) for scores in rounds]
    return {
        "parse_rate": fmean(fmean(map(benchmark.is_parsed, scores)) for scores in rounds),
        "truncated": fmean(fmean(s.status == "truncated" for s in scores) for scores in rounds),
        # A row's num_tokens are those of all its answers.
        "mean_tokens": fmean(row.get("num_tokens", 0) for row in valid.rows) / len(valid.rounds),
        "yes_ratio": fmean(known) if (known := [y for y in yes if y is not None]) else None,
    }


def verdict_of(difference: float, p_value: float) -> str:
    """better, worse or no evidence, at the 5 % level.

    >>> verdict_of(1.5, 0.01), verdict_of(1.5, 0.2)
    ('better', 'no evidence')
    """
    if p_value >= ALPHA or difference == 0:
        return "no evidence"
    return "better" if difference > 0 else "worse"


def _sign_test(ours: Scored, theirs: Scored) -> float | None:
    """The sign test over images; None where a score is neither 0 nor 1."""
    if not {*ours.values, *theirs.values} <= {0.0, 1.0}:
        return None
    change: dict[str, float] = {}
    for row, a, b in zip(ours.rows, ours.values, theirs.values, strict=True):
        change[row["cluster_id"]] = change.get(row["cluster_id"], 0.0) + a - b
    better = sum(value > 0 for value in change.values())
    return sign_test(better, sum(value < 0 for value in change.values()))


def _in(key: Scored, scored: Scored, category: str) -> Scored:
    """The questions whose row in `key` is of this category."""
    return scored.at([n for n, row in enumerate(key.rows) if row["category"] == category])


def _flips(benchmark: Benchmark, ours: Scored, theirs: Scored) -> dict[str, int]:
    """How many questions changed sides; with graded scores, how many got worse or better."""
    pairs = list(zip(ours.scores, theirs.scores, strict=True))
    parsed = [(benchmark.is_parsed(a), benchmark.is_parsed(b)) for a, b in pairs]
    values = list(zip(ours.values, theirs.values, strict=True))
    return {
        "right_to_wrong": sum(a < b for a, b in values),
        "wrong_to_right": sum(a > b for a, b in values),
        "unparsed_to_parsed": sum(a and not b for a, b in parsed),
        "parsed_to_unparsed": sum(b and not a for a, b in parsed),
    }

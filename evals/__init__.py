"""Evals judge a model.

    base, accuracy, choices   what a benchmark is, and the two bases that most benchmarks have
    benchmarks/               one file for each benchmark
    custom, registry          benchmarks without code; a benchmark by its name
    data/                     data rows become questions, in two parts: `select` and `report`
    asking/                   questions become answers: `responses.jsonl`
    scoring/                  answers become scores, intervals and comparisons: `result.json`
    decisions/                `gate` (did a stage lose too much?) and `best` (which stage is best?)
    contamination/            questions that are in the training data
    sandbox/                  where code that a model wrote is run
    report/                   the leaderboard and the HTML page

Every step from `responses.jsonl` on is a function of files: it needs no model and can be repeated.
"""

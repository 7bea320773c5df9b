"""The benchmarks: one file each, and the folder is the registry.

A new benchmark is a new file here (or a file of your own, named `./counting.py:Counting` in a
recipe). Its module docstring says source, licence, data, one row, rule and score. The file holds
one class:

    class Counting(AccuracyBenchmark):        # or ChoiceBenchmark: options and a letter
        id = "counting"                       # the name in recipes; also version, source, licence
        columns = ("question", "image", "answer")  # what the data must have
        examples = (...,)                     # rows that the contract tests run
        def prompt(self, row, profile): ...   # what the model is asked, beside the images
        def item(self, row, number, images, prompt): ...  # the question of one data row
        def judge(self, row, profile): ...    # the verdict on one answer: the benchmark's rule

A *profile* is the program whose rule is copied: `official` (the authors'), `lmms_eval`,
`vlmevalkit`. Rules that several benchmarks share are in `rewards/`; a rule of one benchmark is in
its file. `evals/base.py` lists what a class may add (another statistic, a judge), docs/extending.md
has a complete example.
"""

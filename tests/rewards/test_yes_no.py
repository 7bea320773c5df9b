"""Yes or no: what each program reads, on any text."""

from hypothesis import given
from hypothesis import strategies as st

from evals.benchmarks.pope import yes_no_pope
from rewards.yes_no import yes_no_lmms_eval, yes_no_official, yes_no_vlmevalkit


@given(st.text())
def test_every_rule_takes_any_text(text):
    for read in (yes_no_official, yes_no_lmms_eval, yes_no_vlmevalkit, yes_no_pope):
        assert read(text) in ("yes", "no", "other")


@given(st.text(), st.text())
def test_yes_no_official_reads_four_characters(head, tail):
    text = (head + "zzzz")[:4].lower()
    if len(text) == 4 and len((text + tail).lower()[:4]) == 4:
        assert yes_no_official(text + "z" + tail) == yes_no_official(text + "z")

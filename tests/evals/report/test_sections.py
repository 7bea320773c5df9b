"""A section of the page is one file in a folder."""

import pkgutil

import evals.report.sections
from evals.report import build_report
from evals.report.page.section import sections

LENGTHS = """
from evals.report.page.section import Section


def section(facts):
    long = [row for row in facts.rows if (row.mean_tokens or 0) > 1]
    return Section("lengths", "Lengths", 75, {"long": long}, text=TEXT) if long else None


TEXT = "<h2>Lengths</h2>{% for row in long %}<p>{{ row.stage }} {{ row.n }}</p>{% endfor %}"
"""


def test_a_new_section_is_one_file(make_run, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    (own / "own_lengths.py").write_text(LENGTHS)
    monkeypatch.setattr(
        evals.report.sections, "__path__", [*evals.report.sections.__path__, str(own)]
    )
    text = build_report(make_run()).read_text()
    before, after = text.index('<section id="reward">'), text.index('<section id="training">')
    assert before < text.index('<section id="lengths">') < after
    links = text[text.index("<nav") : text.index("</nav>")]
    assert '<a href="#reward">Reward</a><a href="#lengths">Lengths</a>' in links
    assert "<p>base 24</p>" in text


def test_a_section_with_nothing_to_show_is_not_on_the_page(make_run, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    (own / "own_nothing.py").write_text("def section(facts):\n    return None\n")
    monkeypatch.setattr(
        evals.report.sections, "__path__", [*evals.report.sections.__path__, str(own)]
    )
    text = build_report(make_run()).read_text()
    assert "nothing" not in text[text.index("<nav") : text.index("</nav>")]


def test_every_section_declares_a_place_of_its_own(make_run, tmp_path):
    from evals.report.build import facts_of
    from evals.report.page.browser import write_browser
    from evals.report.run import read_run

    run = read_run(make_run())
    summaries = {name: write_browser(run, name, tmp_path) for name in run.benchmarks}
    found = sections(facts_of(run, tmp_path, summaries))
    files = list(pkgutil.iter_modules(evals.report.sections.__path__))  # this run shows them all
    assert len({section.order for section in found}) == len(found) == len(files)
    assert len({section.id for section in found}) == len(found)

"""Moving through the page in a real browser: jumps land and stay, Back finds the list again, and
a phone reaches every score.
"""

import pytest

from evals.report import build_report
from tests.evals.report.conftest import MadeRun

AFTER_EXAMPLES = ("rules", "reward", "training", "cost", "provenance")
STILL = """new Promise((resolve) => {
  let [seen, frames] = ["", 0];
  const look = () => {
    const now = `${scrollY} ${document.documentElement.scrollHeight}`;
    frames = now === seen ? frames + 1 : 0;
    seen = now;
    if (frames > 20) resolve(true);
    else requestAnimationFrame(look);
  };
  look();
})"""
LIST = """({
  benchmark: document.getElementById('by-benchmark').value,
  kind: document.getElementById('by-kind').value,
  text: document.getElementById('by-text').value,
  found: document.getElementById('found').textContent,
  first: document.querySelector('.example')?.getAttribute('aria-label'),
})"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A run with more questions than are drawn at once."""
    run = MadeRun(tmp_path_factory.mktemp("runs") / "quickstart", images=30, steps=30).write()
    return build_report(run).as_uri()


@pytest.fixture
def fresh(page, url):
    """The page, opened anew at a place of it."""

    def open_(place="", width=1280, height=900):
        page.errors.clear()
        page.show(width, height)
        page.goto("about:blank")
        page.goto(url + place)
        return page

    return open_


def distance(page, place):
    """Pixels from where a section's top belongs, just below the nav, to where it is."""
    assert page.js(STILL)
    return page.js(
        f"""document.getElementById('{place}').getBoundingClientRect().top
          - parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop)"""
    )


def click(page, selector):
    page.js(f"document.querySelector({selector!r}).click()")


def loaded(page):
    page.until("document.querySelectorAll('.example').length > 0")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("place", AFTER_EXAMPLES)
def test_a_click_in_the_nav_lands_at_its_section_and_stays_there(fresh, width, place):
    page = fresh(width=width)
    click(page, f"nav a[href='#{place}']")
    assert abs(distance(page, place)) < 2
    # The answers above arrive when the reader comes near them: what he looks at does not move.
    page.js("document.getElementById('rules').scrollIntoView()")
    loaded(page)
    assert abs(distance(page, "rules")) < 2
    click(page, f"nav a[href='#{place}']")
    assert abs(distance(page, place)) < 2


@pytest.mark.parametrize("place", AFTER_EXAMPLES)
def test_an_address_that_names_a_section_opens_there(fresh, place):
    page = fresh(f"#{place}")
    assert abs(distance(page, place)) < 2
    assert page.js("document.querySelector('nav a[aria-current]').hash") == f"#{place}"


def test_a_browser_without_anchoring_keeps_the_place_too(fresh):
    page = fresh("#cost")
    page.js("document.documentElement.style.overflowAnchor = 'none'")
    assert page.js("document.querySelectorAll('.example').length") == 0  # nothing loads unseen
    click(page, "nav a[href='#rules']")
    loaded(page)
    assert abs(distance(page, "rules")) < 2
    assert page.js("document.documentElement.style.overflowAnchor") == "none"


def test_details_that_a_link_names_open(fresh):
    page = fresh()
    page.js("document.getElementById('scores-2').open = false")
    click(page, "a[href='#scores-2']")
    page.until("document.getElementById('scores-2').open")
    assert abs(distance(page, "scores-2")) < 2
    click(page, ".checks a[href='#training-rows-1']")
    row = "document.querySelector('tr:target').textContent"
    assert "none in the benchmark" in page.until(row)


def chosen(page, **wanted):
    """Waits until controls and list are those of a choice; gives them."""
    for key, value in wanted.items():
        page.until(f"document.getElementById('by-{key}').value === {value!r}")
    page.until("document.getElementById('found').textContent.includes('shown')")
    assert page.js(STILL)
    return page.js(LIST)


def test_back_and_forward_set_the_list_and_its_controls(fresh):
    page = fresh()
    one = "a.jump[data-benchmark=mme][data-kind=became][data-stage=grpo]"
    two = "a.jump[data-benchmark=textvqa][data-kind=became][data-stage=sft]"
    click(page, one)
    first = chosen(page, benchmark="mme", kind="became", stage="4")
    assert page.js("document.activeElement.textContent") == "Examples"  # Tab goes on from there
    click(page, two)
    second = chosen(page, benchmark="textvqa", kind="became", stage="1")
    assert first["first"] != second["first"]
    page.js("history.back()")
    assert chosen(page, benchmark="mme", kind="became") == first
    assert "benchmark=mme" in page.js("location.hash")
    assert abs(distance(page, "examples")) < 2
    page.js("history.forward()")
    assert chosen(page, benchmark="textvqa", kind="became") == second
    # A section between two lists has the list that was chosen when it was left.
    click(page, "nav a[href='#cost']")
    assert chosen(page, benchmark="textvqa", kind="became") == second
    click(page, one)
    chosen(page, benchmark="mme", kind="became")
    page.js("history.back()")
    assert chosen(page, benchmark="textvqa", kind="became") == second
    assert page.js("location.hash") == "#cost"
    assert abs(distance(page, "cost")) < 2
    # Before any choice the list is that of a fresh page.
    page.js("history.go(-3)")
    chosen(page, benchmark="mme", kind="changed", stage="4")
    assert page.js("location.hash") == ""
    assert page.errors == []


def test_an_address_put_into_the_same_tab_sets_the_list(fresh):
    page = fresh()
    page.js("location.hash = '#examples?benchmark=textvqa&stage=grpo&kind=all&text=line+2'")
    told = chosen(page, benchmark="textvqa", kind="all", text="line 2")
    assert told["found"].startswith("30 of 60")
    assert abs(distance(page, "examples")) < 2
    page.js("location.hash = '#examples?benchmark=mme&stage=grpo&kind=all'")
    assert chosen(page, benchmark="mme", kind="all", text="")["found"].startswith("60 of 60")
    page.js("history.back()")
    assert chosen(page, benchmark="textvqa", kind="all", text="line 2") == told


def test_what_is_chosen_by_hand_goes_with_its_entry(fresh):
    page = fresh()
    click(page, "a.jump[data-benchmark=mme][data-kind=became][data-stage=grpo]")
    chosen(page, benchmark="mme", kind="became")
    page.js(
        "(() => { const by = document.getElementById('by-kind'); by.value = 'right';"
        " by.dispatchEvent(new Event('change')); })()"
    )
    right = chosen(page, kind="right")
    assert "kind=right" in page.js("location.hash")
    click(page, "a.jump[data-benchmark=textvqa][data-kind=became][data-stage=sft]")
    chosen(page, benchmark="textvqa", kind="became")
    page.js("history.back()")
    assert chosen(page, benchmark="mme", kind="right") == right


def test_a_kind_that_does_not_occur_is_counted_and_not_offered(fresh):
    page = fresh("#examples?benchmark=mme&stage=grpo&kind=all")
    loaded(page)
    options = page.js(
        "[...document.getElementById('by-kind').options].map((o) => [o.value, o.text, o.disabled])"
    )
    told = {value: (text, is_off) for value, text, is_off in options}
    assert told["all"] == ("all (60)", False)
    assert told["known"] == ("known from training (0)", True)
    assert told["rose"][1]  # nothing rises in part where an answer is right or wrong
    became = page.js(
        "document.querySelector('a.jump[data-benchmark=mme][data-kind=became][data-stage=grpo]')"
        ".textContent"
    )
    assert told["became"] == (f"became right ({became})", False)
    own = "[...document.getElementById('by-against').options].filter((o) => o.disabled)"
    assert page.js(f"{own}.map((o) => o.text)") == ["grpo"]
    # Each against its parent; base, which has none, never against itself.
    for stage, name, against in (("1", "sft", "base"), ("0", "base", "sft")):
        page.js(
            f"(() => {{ const by = document.getElementById('by-stage'); by.value = '{stage}';"
            " by.dispatchEvent(new Event('change')); })()"
        )
        page.until(f"{own}.map((o) => o.text).join() === '{name}'")
        assert page.js("document.getElementById('by-against').selectedOptions[0].text") == against


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("kind=known", "No question fits “known from training” for grpo compared with dpo."),
        ("kind=won&against=grpo", "grpo is compared with itself"),
        ("kind=constructor&category=none&text=zzz", "questions that the other filters leave"),
        ("kind=all&text=nothing+holds+this", "None of the 60 questions has “nothing holds this”"),
    ],
)
def test_a_list_without_questions_says_why_and_leads_back(fresh, query, words):
    page = fresh(f"#examples?benchmark=mme&stage=grpo&{query}")
    assert words in page.until("document.querySelector('.blank p')?.textContent")
    click(page, ".blank button")
    assert chosen(page, kind="all", text="")["found"].startswith("60 of 60")
    assert page.js("document.querySelector('.blank')") is None


def test_a_phone_shows_every_score_with_its_interval(fresh):
    page = fresh(width=390, height=844)
    seen = page.js(
        """[...document.querySelectorAll('.glance td')].filter((d) => d.offsetParent).map((d) => {
          const box = d.querySelector('.figure').nextElementSibling.getBoundingClientRect();
          return [d.querySelector('.of-stage bdi').textContent,
                  box.width > 20 && box.left >= 0 && box.right <= innerWidth];
        })"""
    )
    assert seen == [[stage, True] for stage in ("base", "sft", "dpo", "kto", "grpo")] * 2
    page.js("document.getElementById('examples').scrollIntoView()")
    loaded(page)
    assert page.js("document.querySelectorAll('.example').length") == 5


def test_on_a_phone_names_of_rows_stay_and_the_nav_follows(fresh):
    page = fresh("#terms", width=390, height=844)
    assert page.js(STILL)
    link = page.js(
        """(() => {
          const box = document.querySelector('nav a[href="#terms"]').getBoundingClientRect();
          return box.left >= 0 && box.right <= innerWidth;
        })()"""
    )
    assert link
    moved = page.js(
        """[...document.querySelectorAll('#cost .scroll, #provenance .scroll')].map((box) => {
          box.scrollLeft = 1e6;
          const left = box.getBoundingClientRect().left;
          const names = [...box.querySelectorAll('tr > :first-child')].map((cell) =>
            (cell.querySelector('span') && cell.colSpan > 1 ? cell.querySelector('span') : cell));
          return [box.scrollLeft > 0, names.every((name) =>
            Math.abs(name.getBoundingClientRect().left - left) < 2)];
        })"""
    )
    assert len(moved) == 5
    assert all(stays for _, stays in moved)
    assert sum(scrolled for scrolled, _ in moved) >= 4

"""The page in a real browser, from disk: hostile answers stay text, filters find, keys move."""

import json
import time

import pytest

from evals.report import build_report
from evals.report.crossrun.index import write_index
from evals.report.display.visible import visible
from tests.evals.report import chromium
from tests.evals.report.conftest import MadeRun

SCRIPT = "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'>"
MARKDOWN = "# head **bold** [link](javascript:window.harmed=3) `code` <b>bold</b>"
BIDI = "left \u202etfel\u2066 end \u200f"
CONTROL = "a\x00b\x1b[31mc\x07\r"
MEGABYTE = "needle-at-the-start " + "lorem <b>ipsum</b> " * 55_000 + " needle-at-the-end"
UNSEEN = "".join(map(chr, (*range(0xA1), 0x61C, 0x200B, *range(0x200E, 0x2030), 0x2060, 0xFEFF)))
ANSWERS = dict(enumerate((SCRIPT, MARKDOWN, BIDI, CONTROL, MEGABYTE, "\ud800 lone", "", UNSEEN)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose last stage gives hostile answers to eight questions of mme."""
    answers = {("grpo", "mme", f"report-{n:04d}-0"): text for n, text in ANSWERS.items()}
    run = MadeRun(tmp_path_factory.mktemp("runs") / "quickstart", answers=answers, steps=5).write()
    build_report(run)
    return run


@pytest.fixture
def at(page, run):
    """The page at its browser, every question of mme shown."""

    def open_(query="benchmark=mme&stage=grpo&kind=all", **size):
        page.errors.clear()
        page.requests.clear()
        page.show(**{"width": 1280, "height": 900, **size})
        page.goto("about:blank")
        page.goto(f"{(run / 'report' / 'index.html').as_uri()}#examples?{query}")
        page.until("document.querySelectorAll('.example').length > 0")
        return page

    return open_


def said(page, number):
    """What the last stage's box shows for one question, as text and as elements."""
    return page.js(
        f"""(() => {{
          const card = [...document.querySelectorAll('.example')].find((c) =>
            c.querySelector('.where').textContent.includes('report-{number:04d}-0'));
          const box = [...card.querySelectorAll('.answer')].at(-1).querySelector('.said');
          const elements = [...box.querySelectorAll('*')].map((e) => e.className);
          const names = [...box.querySelectorAll('.unseen')].map((e) => e.textContent);
          return {{ text: box.textContent, elements, names }};
        }})()"""
    )


def show_all(page):
    page.js("document.getElementById('more').hidden || document.getElementById('more').click()")
    page.until("document.querySelectorAll('.example').length === 24")


def test_model_text_is_never_interpreted(at):
    page = at()
    show_all(page)
    assert said(page, 0)["text"] == SCRIPT
    assert said(page, 1) == {"text": MARKDOWN, "elements": [], "names": []}
    assert said(page, 2)["names"] == ["⟨RLO⟩", "⟨LRI⟩", "⟨RLM⟩"]
    assert said(page, 2)["text"] == "left ⟨RLO⟩tfel⟨LRI⟩ end ⟨RLM⟩"
    assert said(page, 3)["text"] == "a⟨NUL⟩b⟨ESC⟩[31mc⟨U+0007⟩⟨CR⟩"
    assert said(page, 5)["text"] == "⟨U+D800⟩ lone"
    assert said(page, 6)["text"] == "(empty answer)"
    assert said(page, 7)["text"] == visible(UNSEEN)  # the page's own text and the script agree
    assert (
        page.js("document.querySelectorAll('.said b, .said img, .said a, .said script').length")
        == 0
    )
    assert page.js("window.harmed") is None
    assert page.errors == []


def test_an_answer_that_is_cut_off_is_called_so_whether_it_could_be_read_or_not(page, tmp_path):
    """The cards give one reason, as the sums of a difference do."""
    run = MadeRun(tmp_path / "run", stages=("base", "sft"), steps=5).write()
    folder = run / "evals" / "sft" / "mme"
    for name, change in (
        ("responses.jsonl", {"finish_reason": "length"}),
        ("scores.jsonl", {"score": 0.0, "status": "truncated", "parsed": "well"}),
    ):
        lines = [json.loads(line) | change for line in (folder / name).open()]
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    build_report(run)
    page.show(width=1280, height=900)
    page.goto("about:blank")
    address = (run / "report" / "index.html").as_uri()
    page.goto(f"{address}#examples?benchmark=mme&stage=sft&kind=all")
    page.until("document.querySelectorAll('.example').length > 0")
    words = "[...document.querySelectorAll('.answer .mark')].map((e) => e.textContent)"
    assert set(page.js(words)) == {"✗ cut off"}
    small = "[...document.querySelectorAll('.answer .read')].map((e) => e.textContent).join()"
    assert "cut off" not in page.js(small)  # said once


def test_an_answer_of_a_megabyte_is_folded_and_shown_whole_on_demand(at):
    page = at()
    show_all(page)
    assert len(said(page, 4)["text"]) < 400
    button = "[...document.querySelectorAll('button.link')]"
    assert page.js(f"{button}.map((b) => b.textContent)")[0].endswith("characters")
    page.js(f"{button}[0].click()")
    page.until("[...document.querySelectorAll('.said')].some((b) => b.textContent.length > 1e6)")
    assert said(page, 4) == {"text": MEGABYTE, "elements": [], "names": []}
    assert page.js("window.harmed") is None


def test_nothing_is_fetched_but_files_beside_the_page(at, run):
    page = at()
    show_all(page)
    assert page.requests
    home = (run / "report").as_uri()
    assert [url for url in page.requests if not url.startswith((home, "about:", "data:"))] == []


def test_the_pages_policy_runs_no_script_that_was_put_into_it(at):
    page = at()
    page.js(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.harmed = 4';"
        " document.body.append(s); const b = document.createElement('button');"
        " b.setAttribute('onclick', 'window.harmed = 5'); document.body.append(b); b.click(); })()"
    )
    assert page.js("window.harmed") is None
    assert any("Content Security Policy" in error for error in page.errors)


def test_search_reads_whole_answers_and_filters_keep_to_their_kind(at):
    page = at()
    found = "document.getElementById('found').textContent"

    def type_(text):
        page.js(
            f"(() => {{ const t = document.getElementById('by-text'); t.value = {text!r};"
            " t.dispatchEvent(new Event('input')); })()"
        )

    type_("needle-at-the-END")
    page.until(f"{found}.startsWith('1 of 24')")
    type_("(javascript:")
    page.until(f"{found}.startsWith('1 of 24')")
    type_("nothing holds this")
    page.until(f"{found}.startsWith('0 of 24')")
    type_("")
    page.until(f"{found}.startsWith('24 of 24')")
    for kind, test in (("won", "right"), ("became", "right"), ("wrong", "wrong")):
        page.js(
            f"(() => {{ const s = document.getElementById('by-kind'); s.value = '{kind}';"
            " s.dispatchEvent(new Event('change')); })()"
        )
        page.until(f"!{found}.startsWith('24')")
        page.until(
            "[...document.querySelectorAll('.answer.mine')].every((a) =>"
            f" a.classList.contains('{test}'))"
        )


def test_a_count_opens_its_examples_and_the_address_keeps_the_choice(page, run):
    page.goto("about:blank")
    page.goto((run / "report" / "index.html").as_uri())
    page.js("document.querySelector('a.jump[data-kind=won][data-stage=grpo]').click()")
    page.until("document.querySelectorAll('.example').length > 0")
    page.until("location.hash.includes('kind=won')")
    address = page.js("location.href")
    assert "stage=grpo" in address
    page.goto("about:blank")
    page.goto(address)
    page.until("document.querySelectorAll('.example').length > 0")
    assert page.js("document.getElementById('by-kind').value") == "won"


def test_keys_move_through_the_examples_and_into_the_search(at):
    page = at()
    here = "[...document.querySelectorAll('.example')].indexOf(document.activeElement)"
    page.js("document.activeElement.blur()")
    for key, wanted in (("j", 0), ("j", 1), ("ArrowDown", 2), ("k", 1), ("ArrowUp", 0), ("k", 0)):
        page.press(key)
        page.until(f"{here} === {wanted}")
    assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("/")
    page.until("document.activeElement.id === 'by-text'")
    page.press("j")
    assert page.js("document.getElementById('by-text').value") == "j"
    page.press("Escape")
    page.until("document.activeElement.id !== 'by-text'")
    for _ in range(20):
        page.press("k")
    page.until(f"{here} === 0")


def test_tab_goes_through_the_page_with_a_focus_that_is_seen(page, run):
    page.show(1280, 900)
    page.goto("about:blank")
    page.goto((run / "report" / "index.html").as_uri())
    seen = []
    for _ in range(6):
        page.press("Tab")
        seen.append(
            page.js(
                "[document.activeElement.tagName, document.activeElement.className ||"
                " document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    assert [name for _, name, _ in seen[:2]] == ["skip", "theme"]
    assert {outline for *_, outline in seen} == {"solid"}


@pytest.mark.parametrize("width", [360, 390, 640, 1280])
def test_the_page_never_scrolls_sideways(at, width):
    page = at(width=width, height=800)
    page.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.js("document.documentElement.scrollWidth") <= width
    wide = page.js(
        """[...document.querySelectorAll('main *, header *')].filter((e) => {
          if (e.closest('.scroll, nav, pre, svg, .sr, .grid .label')) return false;
          return e.getBoundingClientRect().right > innerWidth + 1;
        }).map((e) => e.tagName + '.' + e.className).slice(0, 5)"""
    )
    assert wide == []


def test_what_a_finger_touches_is_large_enough(at):
    page = at(width=390, height=844)
    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        assert page.js("matchMedia('(pointer: coarse)').matches")
        small = page.js(
            """[...document.querySelectorAll('button, select, input, summary, nav a')].filter((e) =>
              e.getClientRects().length && e.getBoundingClientRect().height < 43.5
            ).map((e) => e.tagName + ' ' + e.textContent.slice(0, 30))"""
        )
        assert small == []
        low = page.js(
            """[...document.querySelectorAll('a.jump, .checks a, td .term, th .term')].filter((e) =>
              e.getClientRects().length && e.getBoundingClientRect().height < 31.5
            ).map((e) => e.className + ' ' + e.textContent)"""
        )
        assert low == []
        assert page.js("document.documentElement.scrollWidth") <= 390
    finally:
        page.call("Emulation.setTouchEmulationEnabled", enabled=False)


def test_links_of_the_page_lead_somewhere(page, run):
    page.goto((run / "report" / "index.html").as_uri())
    lost = page.js(
        """[...document.querySelectorAll('a[href^="#"]')].filter((a) =>
          !document.getElementById(decodeURIComponent(a.hash.slice(1)))).map((a) => a.hash)"""
    )
    assert lost == []
    check = "document.querySelector('.checks a[href=\"#provenance\"]')"
    assert (
        page.js(f"{check}.closest('li').textContent").strip().endswith("all settings side by side")
    )


@pytest.mark.parametrize("dark", [False, True])
def test_small_text_has_contrast_enough(page, run, dark):
    page.show(1280, 900, dark=dark)
    page.goto((run / "report" / "index.html").as_uri())
    page.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    low = page.js(
        r"""(() => {
          const parts = (c) => (c.match(/[\d.]+/g) || []).map(Number);
          const light = (c) => parts(c).slice(0, 3).map((x) => x / 255)
            .map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
            .reduce((sum, x, at) => sum + x * [0.2126, 0.7152, 0.0722][at], 0);
          const ground = (e) => {
            for (; e; e = e.parentElement) {
              const c = getComputedStyle(e).backgroundColor;
              const p = parts(c);
              if (p.length && (p.length < 4 || p[3] > 0)) return c;
            }
            return 'rgb(255, 255, 255)';
          };
          const out = new Set();
          for (const e of document.querySelectorAll('body *')) {
            const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
            if (!own || e.closest('svg, .sr, script, style, option')) continue;
            if (!e.getClientRects().length) continue;
            const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) out.add(`${e.tagName}.${e.className} ${contrast.toFixed(2)}`);
          }
          return [...out].slice(0, 8);
        })()"""
    )
    page.show(1280, 900)
    assert low == []


def test_light_and_dark_follow_the_system_and_the_button(page, run):
    paper = "getComputedStyle(document.body).backgroundColor"
    url = (run / "report" / "index.html").as_uri()
    page.show(1280, 900, dark=True)
    page.goto(url)
    dark = page.js(paper)
    page.show(1280, 900)
    light = page.js(paper)
    assert dark != light
    for wanted in (light, dark, light):  # light, dark, as the system
        page.js("document.getElementById('theme').click()")
        assert page.js(paper) == wanted
    page.js("document.getElementById('theme').click()")
    page.js("document.getElementById('theme').click()")
    page.goto(url)
    assert page.js(paper) == dark
    page.js("document.getElementById('theme').click()")


def test_a_page_without_its_data_says_so(page, tmp_path, run):
    alone = tmp_path / "index.html"
    alone.write_bytes((run / "report" / "index.html").read_bytes())
    page.goto(f"{alone.as_uri()}#examples?benchmark=mme")
    page.until("document.getElementById('found').textContent.includes('is missing')")


def test_the_index_over_runs_opens_from_disk(page, run, tmp_path):
    index = write_index([run], tmp_path / "all")
    page.errors.clear()
    page.show(360, 800)
    page.goto(index.as_uri())
    assert page.js("document.documentElement.scrollWidth") <= 360
    assert page.errors == []
    page.js("document.querySelector('tbody a').click()")
    page.until("document.title.startsWith('quickstart')")


def test_an_open_page_of_a_run_that_goes_on_loads_itself_again(page, tmp_path):
    run = MadeRun(tmp_path / "live", stages=("base", "sft"), images=2, steps=3).write()
    (run / "events.jsonl").write_text('{"time": 1.79e9, "event": "run_started"}\n')
    page.goto(build_report(run).as_uri())
    assert page.js("document.querySelector('.live').textContent") == "still running"
    (run / "events.jsonl").write_text('{"time": 1.79e9, "event": "run_finished"}\n')
    build_report(run)
    begun = time.monotonic()
    page.until("!document.querySelector('.live')")
    assert time.monotonic() - begun < chromium.DEADLINE_S

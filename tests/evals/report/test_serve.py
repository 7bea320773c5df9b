"""Several runs, the loopback server, and the command."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from evals.report.build import build_report
from evals.report.crossrun.index import write_index
from evals.report.serve import ReportServer
from recipes.cli.main import app
from rl.errors import ConfigError
from tests.evals.report.conftest import MadeRun


@pytest.fixture
def two(tmp_path):
    """Two runs that differ in one setting on textvqa's last stage."""
    small = {"stages": ("base", "sft"), "images": 4, "steps": 3}
    one = MadeRun(tmp_path / "runs" / "one", **small).write()
    other = {"sft": {"max_pixels": 4096}}
    return [one, MadeRun(tmp_path / "runs" / "two", settings=other, **small).write()]


@pytest.fixture
def serve(tmp_path):
    """`serve(runs)` starts a server and gives `ask(path, method, host)`: status and body."""
    started = []

    def start(runs):
        server = ReportServer(runs, tmp_path / "index", port=0)
        thread = threading.Thread(target=server.serve, args=(lambda _: None,))
        thread.start()
        started.append((server, thread))
        place = urlsplit(server.url)

        def ask(path, method="GET", host=None):
            connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", host or place.netloc)
            connection.endheaders()
            reply = connection.getresponse()
            body = reply.read()
            connection.close()
            return reply.status, body

        ask.server = server
        return ask

    yield start
    for server, thread in started:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


def test_the_index_marks_benchmarks_whose_settings_differ(two, tmp_path):
    for run in two:
        build_report(run)
    page = write_index(two, tmp_path / "all")
    text = page.read_text()
    assert text.count("not comparable: unequal <bdi>max_pixels</bdi>") == 2
    assert 'href="../runs/one/report/index.html"' in text
    told = json.loads((tmp_path / "all" / "leaderboard.json").read_text())
    assert told["schema"] == 1
    assert [(row["run"], row["stage"]) for row in told["rows"]] == [
        ("quickstart (one)", "base"),
        ("quickstart (one)", "sft"),
        ("quickstart (two)", "base"),
        ("quickstart (two)", "sft"),
    ]
    assert {b["name"]: b["unequal"] for b in told["benchmarks"]}["mme"] == ["max_pixels"]
    board = (tmp_path / "all" / "leaderboard.md").read_text()
    assert "**mme: not comparable" in board
    assert board.endswith("\n\nSchema 1.\n")
    lines = (tmp_path / "all" / "leaderboard.csv").read_text().splitlines()
    assert lines[0] == "run,stage,mme,mme_low,mme_high,textvqa,textvqa_low,textvqa_high,schema"
    assert all(line.endswith(",1") for line in lines[1:])


def test_equal_runs_have_a_best(two, tmp_path):
    text = write_index([two[0]], tmp_path / "all").read_text()
    assert 'class="figure best"' in text
    assert "not comparable" not in text


def test_marks_stand_beside_a_score_of_the_common_leaderboard(tmp_path):
    overlap = {"checked": True, "overlap_images": 2}
    run = MadeRun(tmp_path / "one", stages=("base",), images=4, contamination=overlap).write()
    path = run / "evals" / "base" / "mme" / "result.json"
    value = json.loads(path.read_text())
    value["parts"].pop("report")
    path.write_text(json.dumps(value))
    text = write_index([run], tmp_path / "all").read_text()
    assert "selected on" in text
    told = (tmp_path / "all" / "leaderboard.md").read_text()
    assert "**selected on** **2 overlapping images** |" in told


def test_files_of_the_report_are_served_and_nothing_else(two, serve):
    ask = serve(two[:1])
    status, body = ask("/")
    assert status == 200
    assert b"</html>" in body
    assert ask("/data/mme/index.js")[0] == 200
    assert ask("/leaderboard.json")[0] == 200
    for path in (
        *("/../config.yaml", "/%2e%2e/config.yaml", "/..%2fconfig.yaml", "/%2e%2e%2fconfig.yaml"),
        *("/data/../../config.yaml", "//etc/passwd", "/data/", "/data/mme/", "/..\\config.yaml"),
        *("/%00", "/.", "/images/../../env.json", "/nothing"),
    ):
        status, body = ask(path)
        assert status in (301, 404), path
        assert b"versions" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_but_get_and_head_is_answered(two, serve, method):
    ask = serve(two[:1])
    assert ask("/", method)[0] == 501
    assert ask("/", "HEAD") == (200, b"")


def test_a_name_that_was_pointed_at_this_machine_is_refused(two, serve):
    ask = serve(two[:1])
    assert ask("/", host="evil.example:80")[0] == 403
    assert ask("/", host="localhost:1")[0] == 200


def test_links_out_of_the_folder_are_not_followed(two, serve):
    ask = serve(two[:1])
    (two[0] / "report" / "out").symlink_to(two[0] / "env.json")
    assert ask("/out")[0] == 404


def test_several_runs_have_an_index_and_a_place_each(two, serve):
    ask = serve(two)
    assert b'href="1/index.html"' in ask("/")[1]
    for number in (1, 2):
        assert b"</html>" in ask(f"/{number}/index.html")[1]
        assert ask(f"/{number}")[0] == 301
        assert ask(f"/{number}/data/mme/index.js")[0] == 200
    assert ask("/3/index.html")[0] == 404
    assert ask("/1/../2/../../config.yaml")[0] == 404


def test_a_change_of_the_run_builds_the_page_again(two, serve):
    ask = serve(two[:1])
    before = ask("/data/stamp.js")
    assert ask.server.refresh() is False
    facts = {"name": "sft", "kind": "train", "parent": "base", "status": "failed", "error": "why"}
    (two[0] / "stages" / "sft" / "stage.json").write_text(json.dumps(facts))
    assert ask.server.refresh() is True
    assert ask("/data/stamp.js") != before
    assert b"failed after" in ask("/")[1]


def test_the_index_over_runs_is_built_again_too(two, serve):
    ask = serve(two)
    before = ask("/data/stamp.js")
    assert before[0] == 200
    path = two[0] / "evals" / "sft" / "mme" / "result.json"
    path.write_text(path.read_text().replace('"value": ', '"value": 1'))
    assert ask.server.refresh() is True
    assert ask("/data/stamp.js") != before


def test_the_command_serves_until_it_is_interrupted(two):
    # A shell's background job ignores SIGINT, and so would its children.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [f"{heed}from recipes.cli.main import main; main()", "report", str(two[0])]
    child = subprocess.Popen(
        [sys.executable, "-u", "-c", *command, "--serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        url = re.match(r"(http://127\.0\.0\.1:\d+/) shows", child.stdout.readline())[1]
        with urllib.request.urlopen(url, timeout=20) as reply:
            assert b"</html>" in reply.read()
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=60)[0]
    finally:
        child.kill()
    assert (child.returncode, said.splitlines()[-1]) == (0, "stopped")


def test_the_server_listens_on_this_machine_only_and_a_taken_port_is_told(two, serve, tmp_path):
    ask = serve(two[:1])
    assert ask.server.url.startswith("http://127.0.0.1:")
    port = urlsplit(ask.server.url).port
    with pytest.raises(ConfigError, match="--port"):
        ReportServer(two[:1], tmp_path / "other", port=port)


def test_the_command_writes_pages_formats_and_the_index(two):
    told = CliRunner().invoke(app, ["report", *map(str, two), "--format", "hf"])
    assert told.exit_code == 0, told.output
    paths = told.stdout.splitlines()
    assert paths[0].endswith("one/report/index.html")
    assert paths[-1].endswith("runs/report/index.html")
    assert sum(path.endswith(".md") for path in paths) == 4

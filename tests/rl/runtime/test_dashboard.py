"""Finding the Ray dashboard of a run, and the whole way to it on a real one."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rl.errors import ConfigError, PlumblineError, RunError
from rl.runtime.cluster import Cluster, dashboard_token
from rl.runtime.dashboard import Dashboard, listener_owner
from rl.runtime.placement import RuntimeConfig


def run_with(folder: Path, *events: dict[str, object]) -> Path:
    """A run's folder with these events."""
    (folder / "config.yaml").write_text("run: {}\n")
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def up(url: str | None) -> dict[str, object]:
    return {"event": "engines_up", "dashboard_url": url}


def test_the_last_start_says_where_it_is(tmp_path: Path) -> None:
    run = run_with(
        tmp_path, up("http://127.0.0.1:1"), {"event": "run_stopped"}, up("http://127.0.0.1:8265")
    )
    with (run / "events.jsonl").open("a") as file:
        file.write('{"event": "run_fin')  # being written
    assert Dashboard.of_run(run).url == "http://127.0.0.1:8265"


@pytest.mark.parametrize(
    ("events", "kind", "says"),
    [
        ([], RunError, "not under way"),
        ([up("http://127.0.0.1:1"), {"event": "run_finished"}], RunError, "not under way"),
        ([up("http://127.0.0.1:1"), {"event": "run_failed"}], RunError, "not under way"),
        ([up(None)], RunError, "no Ray dashboard"),
        ([up("http://10.0.0.5:8265")], ConfigError, "on 10.0.0.5"),
    ],
)
def test_a_run_without_one_says_why(
    events: list[dict[str, object]], kind: type[PlumblineError], says: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=says):
        Dashboard.of_run(run_with(tmp_path, *events))


def test_a_port_where_nobody_answers_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(RunError, match="does not answer"):
        Dashboard(f"http://127.0.0.1:{port}").asks_for_token()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
def test_another_users_port_gets_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        assert listener_owner(port) == os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: 4321)
        with pytest.raises(RunError, match="is another user's"):
            Dashboard(f"http://127.0.0.1:{port}").asks_for_token()
        with pytest.raises(TimeoutError):
            server.accept()
    assert listener_owner(port) is None


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(RuntimeConfig(num_cpus=1, object_store_mib=80), namespace="test") as cluster:
        yield cluster


def get(url: str, cookie: str = "") -> int:
    """The status of a GET, with a cookie."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=30)
    connection.request("GET", parts.path or "/", headers={"Cookie": cookie} if cookie else {})
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply.status


@pytest.mark.engine
def test_the_command_signs_in_to_a_real_dashboard(cluster: Cluster, tmp_path: Path) -> None:
    """From the run's folder to an API call that Ray answers, and the token nowhere on the way."""
    url, token = cluster.dashboard_url, dashboard_token()
    assert url is not None
    assert token
    assert get(f"{url}/api/version") == 401
    run = run_with(tmp_path, up(url))
    command = [str(Path(sys.executable).parent / "plumbline"), "dashboard", str(run)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        page = urlsplit(first.split()[1])
        connection = http.client.HTTPConnection(page.hostname or "", page.port or 0, timeout=30)
        connection.request("GET", page.path)
        reply = connection.getresponse()
        cookie = (reply.getheader("Set-Cookie") or "").partition(";")[0]
        assert (reply.status, reply.getheader("Location")) == (303, f"{url}/")
        assert get(f"{url}/api/version", cookie) == 200
        rest, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, rest
    assert token not in first + rest
    assert token not in " ".join(command)


@pytest.mark.engine
def test_a_token_that_is_not_the_runs_is_refused(cluster: Cluster) -> None:
    dashboard = Dashboard(str(cluster.dashboard_url))
    assert dashboard.asks_for_token()
    dashboard.require(dashboard_token())
    for wrong in ("not-it", ""):
        with pytest.raises(ConfigError, match="does not accept this user's token"):
            dashboard.require(wrong)

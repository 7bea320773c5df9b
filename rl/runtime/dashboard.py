"""Finds the Ray dashboard of a run that is under way, and makes sure that it is the user's own."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rl.errors import ConfigError, RunError
from rl.runtime.loopback import HOST

_DEADLINE_S = 10.0
_ENDS = ("run_finished", "run_failed", "run_stopped")


class Dashboard:
    """The dashboard of a run.

        dashboard = Dashboard.of_run(Path("runs/quickstart-0"))
        if dashboard.asks_for_token():
            dashboard.require(token)        # it is this user's Ray, and the token opens it

    Raises: RunError if the run has none; ConfigError if it is on another machine.
    """

    def __init__(self, url: str, where: str = "") -> None:
        parts = urlsplit(url)
        if parts.hostname != HOST or parts.port is None:
            raise ConfigError(
                f"the Ray dashboard is on {parts.hostname}: no page here can sign in there",
                where=where,
                expected=f"a dashboard on {HOST}, as a run that starts its own Ray has",
                do=f"open {url}, and give it the token that `ray get-auth-token` prints there",
            )
        self.url, self._port, self._where = url, parts.port, where or url

    @classmethod
    def of_run(cls, run: Path) -> Dashboard:
        """The dashboard that the run's last start wrote into its events.jsonl."""
        url: str | None = None
        ended = True
        for event in _events(run / "events.jsonl"):
            if event.get("event") == "engines_up":
                url, ended = event.get("dashboard_url"), False
            elif event.get("event") in _ENDS:
                ended = True
        if ended:
            raise RunError(
                "the run is not under way: Ray and its dashboard end with it",
                where=str(run),
                do="call this while `plumbline run` runs, after its line `engines up`",
            )
        if url is None:
            raise RunError(
                "the run has no Ray dashboard",
                where=str(run),
                do="start it with runtime.dashboard=true, where ray[default] is installed",
            )
        return cls(url, str(run))

    def asks_for_token(self) -> bool:
        """Whether it wants the token. Raises: RunError if nothing answers there, or if what
        answers is another user's program, which must never get the token."""
        owner = listener_owner(self._port)
        if owner is not None and owner != os.getuid():
            raise RunError(
                f"port {self._port} is another user's (user id {owner}) by now",
                where=self._where,
                expected="the run's own dashboard",
                do="check that the run is still under way",
            )
        mode = json.loads(self._get("/api/authentication_mode", {})[1])
        return str(mode.get("authentication_mode")).lower() != "disabled"

    def require(self, token: str) -> None:
        """Checks the token against the dashboard. Raises: ConfigError if it is not the one."""
        status, _ = self._get("/api/version", {"Authorization": f"Bearer {token}"})
        if not token or status in (401, 403):
            raise ConfigError(
                "Ray's dashboard does not accept this user's token",
                where=self._where,
                expected="the token that the run was started with",
                do="set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH as they were set for the run",
            )

    def _get(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=_DEADLINE_S)
        try:
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise RunError(
                f"the Ray dashboard does not answer: {error}",
                where=f"{self._where}, {self.url}",
                do="check that the run is still under way",
            ) from error
        finally:
            connection.close()


@contextmanager
def private_token() -> Iterator[None]:
    """A token that Ray writes in this block is readable by its user alone. Ray writes it with the
    permissions of any file, which often lets every user of the machine read it."""
    file = Path.home() / ".ray" / "auth_token"
    was_there = file.exists()
    yield
    if not was_there and file.exists():
        file.chmod(0o600)


def listener_owner(port: int) -> int | None:
    """The id of the user whose program listens on a TCP port of 127.0.0.1; None if nobody does, or
    if the system does not say (it has no /proc)."""
    try:
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    # Columns of proc(5): number, local address:port in hexadecimal, remote, state (0A: listening),
    # queues, timer, retransmits, user id. The address is in the byte order of the machine.
    for fields in (line.split() for line in lines):
        address, _, number = fields[1].partition(":")
        is_here = address in ("0100007F", "7F000001", "00000000")
        if is_here and int(number, 16) == port and fields[3] == "0A":
            return int(fields[7])
    return None


def _events(file: Path) -> list[dict[str, Any]]:
    """A line that is being written at this moment is left out."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]

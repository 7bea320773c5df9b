"""Serves reports on this machine while their runs are running: files on 127.0.0.1, by GET only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from evals.report import build_report
from evals.report.crossrun.index import write_index
from rl.errors import ConfigError, PlumblineError

HOST = "127.0.0.1"
REFRESH_S = 5.0
_WATCHED = ("*.json", "*.jsonl", "config.yaml", "stages/*/*.json*", "evals/*/*/*.json*")


class ReportServer:
    """Serves the reports of some runs and builds them again when a run's files change.

    One run is served at `/`; several are served under `/<number>/`, with an index over all of them
    at `/`. Only files of `report/` folders (and the index's) can be reached.

        server = ReportServer([Path("runs/quickstart-0")], index=Path("runs/report"))
        print(server.url)  # http://127.0.0.1:41833/, a free port
        server.serve()  # until Ctrl-C, or until stop() is called from another thread
    """

    def __init__(self, runs: Sequence[Path], index: Path, *, port: int = 0) -> None:
        self.runs, self.index = [run.resolve() for run in runs], index.resolve()
        self._stopped = threading.Event()
        self._seen: dict[Path, tuple[int, int]] = {}
        self.refresh()
        roots = {str(number): run / "report" for number, run in enumerate(self.runs, start=1)}
        roots[""] = self.index if len(self.runs) > 1 else self.runs[0] / "report"
        try:
            self._server = ThreadingHTTPServer((HOST, port), partial(_Files, roots))
        except (OSError, OverflowError) as error:  # taken, or no port at all
            why = error.strerror if isinstance(error, OSError) else "a port is 0 to 65535"
            raise ConfigError(
                f"port {port}: {why}", do="give another with --port, or 0 for a free one"
            ) from error
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def serve(self, note: Callable[[str], None] = print) -> None:
        """Serves until `stop` or Ctrl-C. A run that cannot be read for a moment is tried again."""
        watch = threading.Thread(target=self._watch, args=(note,), daemon=True)
        watch.start()
        try:
            self._server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            note("stopped")
        finally:
            self._stopped.set()
            self._server.server_close()
            watch.join(REFRESH_S)

    def stop(self) -> None:
        """Ends `serve` from another thread."""
        self._stopped.set()
        self._server.shutdown()

    def refresh(self) -> bool:
        """Builds the reports of runs that changed since the last call; returns whether any did."""
        changed = [run for run in self.runs if self._has_changed(run)]
        for run in changed:
            build_report(run)
        if changed and len(self.runs) > 1:
            write_index(self.runs, self.index, link=lambda n: f"{n}/index.html")
        return bool(changed)

    def _has_changed(self, run: Path) -> bool:
        files = {path for pattern in _WATCHED for path in run.glob(pattern)}
        stats = [stat for path in files if (stat := _stat(path)) is not None]
        now = (len(stats), max((stat for stat in stats), default=0))
        if self._seen.get(run) == now:
            return False
        self._seen[run] = now
        return True

    def _watch(self, note: Callable[[str], None]) -> None:
        pause = REFRESH_S
        while not self._stopped.wait(pause):
            started = time.monotonic()
            try:
                if self.refresh():
                    note(f"{time.strftime('%H:%M:%S')} built again")
            except (PlumblineError, OSError, ValueError) as error:
                self._seen.clear()
                note(f"not built: {' '.join(str(error).split())[:200]}")
            # Building takes at most a tenth of the time, so that the run keeps its cores.
            pause = max(REFRESH_S, 10 * (time.monotonic() - started))


def _stat(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


class _Files(SimpleHTTPRequestHandler):
    """Serves files below the given roots, by GET and HEAD; never a listing of a folder, nor a file
    outside the roots.
    """

    server_version, sys_version = "plumbline", ""

    def __init__(self, roots: dict[str, Path], *args: object) -> None:
        self.roots = roots
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self._is_ours():
            super().do_GET()

    def do_HEAD(self) -> None:
        if self._is_ours():
            super().do_HEAD()

    def translate_path(self, path: str) -> str:
        """The file that an address names; a path that does not exist where it would leave
        its root.
        """
        parts = [part for part in unquote(urlsplit(path).path).split("/") if part]
        root = self.roots.get(parts[0]) if parts and len(self.roots) > 2 else None
        if root is not None:
            parts = parts[1:]
        root = (root or self.roots[""]).resolve()
        found = root.joinpath(*parts) if _are_names(parts) else root / ".none"
        return str(found) if found.resolve().is_relative_to(root) else str(root / ".none")

    def list_directory(self, path: object) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _is_ours(self) -> bool:
        """Whether the request names this machine by its own address. Another name in Host is
        refused: it belongs to a foreign page whose name was pointed at 127.0.0.1 (DNS rebinding).
        """
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host") or ""
        if host in (HOST, "localhost"):
            return True
        self.send_error(HTTPStatus.FORBIDDEN)
        return False


def _are_names(parts: Sequence[str]) -> bool:
    return not any(part.startswith(".") or "\\" in part or "\0" in part for part in parts)

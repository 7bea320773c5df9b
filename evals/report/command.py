"""`plumbline report`: writes or serves the reports of one run or several."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from evals.report import build_report
from evals.report.crossrun.index import write_index
from evals.report.formats import require_format, write_format


def report(
    runs: Sequence[Path],
    *,
    formats: Sequence[str] = (),
    out: Path | None = None,
    serve: bool = False,
    port: int = 8765,
) -> list[Path]:
    """Writes the reports and returns the paths of their pages; with several runs, the index over
    them is last. It is written to `out`, by default `report/` beside the first run. `serve` shows
    them until Ctrl-C.

    Raises: EvalError where a folder is no run, ConfigError for an unknown format or a taken port.
    """
    for name in formats:
        require_format(name)
    index = out or runs[0].resolve().parent / "report"
    if serve:
        from evals.report.serve import (
            ReportServer,  # the server is loaded only where it is asked for
        )

        with tempfile.TemporaryDirectory(prefix="plumbline-") as own:
            server = ReportServer(runs, out or Path(own), port=port)
            print(f"{server.url} shows the report; Ctrl-C ends it", flush=True)
            server.serve(lambda text: print(text, flush=True))
        return []
    written = [build_report(run) for run in runs]
    written += [path for run in runs for name in formats for path in write_format(run, name)]
    if len(runs) > 1 or out is not None:
        written.append(write_index(runs, index))
    return written

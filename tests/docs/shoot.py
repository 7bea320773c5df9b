"""The pictures of the report in the docs, taken from a finished run's page by headless Chromium.

    python -m tests.docs.shoot runs/quickstart-0

builds the run's report and writes docs/images/report.png (desktop), report-phone.png,
report-dark.png and report-examples.png.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from evals.report import build_report
from tests.docs.fences import ROOT
from tests.evals.report.chromium import Page, chromium

# name -> width, height, dark, what is scrolled to the top
PICTURES = {
    "report": (1280, 1180, False, ""),
    "report-phone": (390, 1180, False, ""),
    "report-dark": (1280, 900, True, "changes"),
    "report-examples": (1280, 900, False, "examples"),
}


def shoot(page: Page, url: str, name: str) -> bytes:
    """One picture as PNG."""
    width, height, dark, place = PICTURES[name]
    page.show(width, height, dark=dark)
    page.goto("about:blank")
    page.goto(url)
    if place:
        page.js(
            "document.documentElement.style.scrollBehavior = 'auto';"
            f"document.getElementById('{place}').scrollIntoView()"
        )
    if place == "examples":
        page.until(
            "document.querySelectorAll('.example').length > 0 &&"
            " [...document.images].slice(0, 4).every((image) => image.complete)"
        )
    out = io.BytesIO()
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(out, "PNG", optimize=True)
    return out.getvalue()


def main(run: Path) -> None:
    """Writes every picture."""
    url = build_report(run).resolve().as_uri()
    with chromium() as page:
        for name in PICTURES:
            (ROOT / "docs" / "images" / f"{name}.png").write_bytes(shoot(page, url, name))
        if page.errors:
            sys.exit(f"the page reported: {page.errors}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

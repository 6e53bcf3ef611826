"""Pictures of the page of `affect report --format html`, for the documentation.

    python benchmarks/screenshots.py PAGE [FOLDER]

Writes report.png (a clip), report_table.png, report_dark.png (charts) and report_phone.png into FOLDER (docs/images),
of at most 300 kB each. It drives the Chromium that is installed; none is downloaded.
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

MOST_BYTES = 300_000

VIEWS = {
    "report.png": ("#clips?a=3", {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}),
    "report_table.png": ("", {"viewport": {"width": 1280, "height": 560}, "color_scheme": "light"}),
    "report_dark.png": ("#charts", {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"}),
    "report_phone.png": (
        "#clips?a=3",
        {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 1.5},
    ),
}
"""By file, the view of the page, and how the browser looks at it."""


def main(page: Path, folder: Path) -> None:
    browsers = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not browsers:
        sys.exit("There is no Chromium here: install it (Debian: apt install chromium)")
    if not page.is_file():
        sys.exit(f"{page} is not there: make it, affect report FOLDER --format html")
    folder.mkdir(parents=True, exist_ok=True)
    # Chromium refuses its sandbox to root, as in containers.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browsers[0], args=arguments)
        for name, (place, view) in VIEWS.items():
            _picture(browser, page.resolve().as_uri() + place, folder / name, view)
        browser.close()


def _picture(browser: Browser, address: str, picture: Path, view: dict) -> None:
    opened = browser.new_page(**view)
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(address)
    opened.wait_for_selector("html[data-ready]")
    opened.wait_for_timeout(1500)  # for charts, and the first frame of a clip
    opened.screenshot(path=picture)
    opened.close()
    size = picture.stat().st_size
    if problems or size > MOST_BYTES:
        sys.exit(f"{picture}: " + "; ".join([*problems, f"{size:,} bytes, at most {MOST_BYTES:,} are wanted"]))
    print(f"{picture} written: {size / 1000:.0f} kB")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else "docs/images"))

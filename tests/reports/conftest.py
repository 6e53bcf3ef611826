"""A real browser for the tests of the page."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


class Opened:
    """A page in the browser, with all that it complained of or asked a network for."""

    def __init__(self, page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.failed: list[tuple[str, str]] = []
        page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.failed.append((request.url, request.failure)))
        page.on("dialog", self._refuse)

    def visit(self, place: str) -> None:
        """Goes to another view of the same page."""
        self.page.evaluate("place => { location.hash = place; }", place)
        self.wait("document.querySelector('main > .view')?.dataset.address === location.hash")

    def wait(self, condition: str) -> None:
        """Waits until an expression of JavaScript is true. The page's policy forbids the driver's own way to do so,
        which evaluates a text again and again."""
        self.page.evaluate(
            f"""async () => {{
              const until = performance.now() + 20000;
              while (!({condition})) {{
                if (performance.now() > until) throw new Error("it was not true within 20 seconds");
                await new Promise((next) => setTimeout(next, 20));
              }}
            }}"""
        )

    def _refuse(self, dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """The distribution's Chromium, once for all tests; none is downloaded."""
    if CHROMIUM is None:
        pytest.skip("the tests of the page need Chromium, and there is none here: apt install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the tests of the page need playwright, of the extra dev"
    )
    with playwright.sync_playwright() as driver:
        # As root, in containers, there is no sandbox.
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Opened]]:
    """`open_page(path, "#hash", width=1300, dark=False)`: an HTML file in a context of its own, when its first view is
    there. At the end of the test nothing may have been complained of, and nothing asked but the files themselves."""
    contexts = []

    def opened(address: Path | str, place: str = "", *, width: int = 1300, dark: bool = False) -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        contexts.append(context)
        result = Opened(context.new_page())
        result.page.set_default_timeout(20_000)
        result.page.goto((address.as_uri() if isinstance(address, Path) else address) + place)
        result.page.wait_for_selector("html[data-ready]")
        return result

    yield opened
    for context in contexts:
        context.close()

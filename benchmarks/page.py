"""Size and speed of the HTML page of many runs, built by `affect report --format html` and opened in Chromium.

    python benchmarks/page.py --folder FOLDER --runs 500 --clips 1000

The run folders are those of benchmarks/many_runs.py, each with predictions of its own: random labels and label scores,
which compress worse than those of models. Prints seconds to build (wall clock and CPU, with the imports), megabytes,
and in the browser the seconds until the first view is there, and the milliseconds from a click or a letter in a filter
to the laid out result, of the table of settings and the list of runs: the median and the largest of several, and the
time that the page's own thread has worked for one, which other processes on the machine do not make longer.
"""

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import many_runs
from playwright.sync_api import CDPSession, Page, sync_playwright

TRIES = 9
LABELS = ("neutral", "joy", "sadness", "anger", "surprise", "disgust")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the run folders are made")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--clips", type=int, default=1000)
    given = parser.parse_args()
    sweep = given.folder / "out" / "sweeps" / "many"
    if not sweep.is_dir():
        many_runs.make(given.folder, sweep, given.runs)
        for number, path in enumerate(sorted(sweep.glob("*/predictions.jsonl"))):
            path.write_text(predictions(given.clips, random.Random(number)), encoding="utf-8")
    page = given.folder / "page.html"
    for what in ("built", "built again (waveforms are kept)"):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        words = ["report", str(sweep), "--format", "html", "--output", str(page)]
        subprocess.run([sys.executable, "-m", "affect", *words], cwd=many_runs.ROOT, check=True)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{what}: {wall:.1f} s wall, {cpu:.1f} s CPU")
    print(f"size: {page.stat().st_size / 1e6:.1f} MB")
    look(page)


def predictions(num_clips: int, draw: random.Random) -> str:
    """The lines of a predictions.jsonl."""
    lines = []
    for clip in range(num_clips):
        scores = {label: draw.gauss(-2, 1) for label in LABELS}
        answer = max(scores, key=scores.__getitem__)
        row = {"id": f"demo/test/{clip:04}", "dataset": "demo", "split": "test", "task": "emotion"}
        row |= {"group": f"speaker{clip % 30}", "target": LABELS[clip % len(LABELS)], "answer": None, "exact": answer}
        row |= {"lenient": answer, "outcome": "valid", "readout": "score", "scores": scores, "error": None}
        lines.append(json.dumps(row) + "\n")
    return "".join(lines)


def look(page: Path) -> None:
    """Opens the page, and measures what a person waits for."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = []
        for _ in range(3):
            tab = browser.new_page(viewport={"width": 1300, "height": 900})
            tab.goto(page.as_uri())
            tab.wait_for_selector("html[data-ready]")
            # From the beginning of the navigation to the frame in which the first view was painted.
            opened.append(tab.evaluate("performance.getEntriesByName('ready')[0].startTime"))
            last = tab
        print(f"opened: {statistics.median(opened) / 1000:.2f} s, the longest {max(opened) / 1000:.2f} s")
        interact(last, "table of settings", "overview", "weighted_f1", "model.strength", "1.0")
        interact(last, "list of runs", "runs", "started", "folder", "7_")
        browser.close()


def interact(tab: Page, what: str, view: str, sorted_by: str, filtered_by: str, text: str) -> None:
    tab.evaluate(f"location.hash = '#{view}'")
    tab.wait_for_selector(f".view.{view} tbody tr")
    rows = tab.locator(f".view.{view} tbody").first.locator("tr").count()
    sort = f"document.querySelector('.view.{view} thead button[data-key=\"{sorted_by}\"]').click()"
    put = f"const box = document.querySelector('.view.{view} thead input[data-key=\"{filtered_by}\"]');"
    event = "box.dispatchEvent(new Event('input', {bubbles: true}))"
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    for name, one, other in (
        ("sort", sort, sort),
        ("filter", f"{put} box.value = '{text}'; {event}", f"{put} box.value = ''; {event}"),
    ):
        before = worked(session)
        times = [painted(tab, (one, other)[i % 2]) for i in range(TRIES)]
        thread = 1000 * (worked(session) - before) / TRIES
        print(
            f"{name}, {what}, {rows} rows: {statistics.median(times):.0f} ms, the longest {max(times):.0f} ms;"
            f" {thread:.0f} ms of the thread"
        )


def worked(session: CDPSession) -> float:
    """Seconds of processor time of the page's thread since the session began to count."""
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return metrics["ScriptDuration"] + metrics["LayoutDuration"] + metrics["RecalcStyleDuration"]


def painted(tab: Page, action: str) -> float:
    """Milliseconds of an action and of the layout after it."""
    return tab.evaluate(
        f"(() => {{ const began = performance.now(); {action}; document.body.offsetHeight;"
        " return performance.now() - began; })()"
    )


if __name__ == "__main__":
    main()

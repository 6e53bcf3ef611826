"""The page, in a real browser: tables, charts, run pages, attacks, the folder of a large one, and broken input."""

import base64
import doctest
import gzip
import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_runs import Make, change, make_run, remember_configurations, report
from report_page import ATTACKS, make_hostile, make_runs
from scipy import stats

from affect.evaluation.metrics import calibration
from affect.reports.gather import Request, gather
from affect.reports.page import building, charts, overview, runs
from affect.reports.rows import Number

VIEWS = ("#overview", "#charts", "#confusion", "#runs", "#run/1?with=4", "#clips")


@pytest.fixture(autouse=True)
def read_once(monkeypatch) -> None:
    remember_configurations(monkeypatch)


@pytest.fixture
def make(configure, tmp_path) -> Make:
    """`make(name, *words, …)` is made_runs.make_run in the folder `out`."""
    return partial(make_run, configure, tmp_path / "out")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture
def out(configure, home) -> Path:
    """The folder of report_page.make_runs. Made once, and only read."""
    return home / "out" if (home / "out").is_dir() else make_runs(configure, home / "out")


@pytest.fixture
def page(out, home, capsys) -> Path:
    """Its page, made once."""
    path = home / "page.html"
    if not path.is_file():
        said, _, end = report(
            capsys, out, "--format", "html", "--output", path, "--against", "prompting.transcript.en={text} A"
        )
        assert f"{path} written" in said and end == ""
    return path


def cells(opened, key: int) -> list[str]:
    """The texts of a column of the first table, from 1."""
    return opened.page.locator(".table").first.locator(f"tbody tr > :nth-child({key})").all_inner_texts()


# ---------------------------------------------------------------- what is shown


def test_every_view_opens_without_a_complaint_or_a_request(page, open_page):
    opened = open_page(page)
    for view in VIEWS:
        opened.visit(view)
        assert opened.page.locator("main .problem").count() == 0, opened.page.inner_text("main .problem")
        assert opened.complaints == [] and opened.requests == [page.as_uri()], view


def test_the_table_has_means_intervals_marks_and_what_is_behind_them(page, open_page):
    opened = open_page(page)
    table = opened.page.locator(".table").first
    assert "weighted_f1" in table.inner_text() and "majority.weighted_f1" in table.inner_text()
    # Of the second prompt: 29, 30 and 31 of 40 are right.
    opened.page.locator("summary", has_text="Columns").first.click()
    opened.page.get_by_label("accuracy", exact=True).first.check()
    heads = [text.strip(" ▲▼") for text in table.locator("thead tr").first.locator("td, th").all_inner_texts()]
    accuracy = cells(opened, heads.index("accuracy") + 1)
    half = stats.t.ppf(0.975, 2) * stats.tstd([29 / 40, 30 / 40, 31 / 40]) / 3**0.5
    assert accuracy[1].startswith("0.7500 ± 0.0250") and f"[{0.75 - half:.4f}, {0.75 + half:.4f}]" in accuracy[1]
    assert "reference" in table.inner_text() and re.search(r"\+0\.\d{4} \*", table.inner_text())
    table.get_by_role("button", name="Details of this row").last.click()
    assert [text[:6] for text in table.locator("strong").all_inner_texts()] == ["0.8328", "0.7500"]
    assert "Bold: the best mean, and what is not shown to be worse" in opened.page.inner_text("main")
    details = table.locator("tr.details").inner_text()
    assert "41 expected, 40 used, 40 scored" in details and "weighted_f1|rows:40/40|used:40" in details
    hover = table.locator("tbody tr td[title]").first.get_attribute("title")
    assert "weighted_f1|rows:40/40" in hover and "expected" in hover
    assert opened.complaints == []


def test_rows_are_sorted_and_filtered_by_mouse_and_keyboard_and_the_address_keeps_it(page, open_page):
    opened = open_page(page, "#runs")
    assert cells(opened, 1) == ["1", "2", "3", "4", "5", "6"]
    opened.page.get_by_role("button", name="run", exact=True).click()
    opened.page.get_by_role("button", name="run", exact=True).press("Enter")
    assert cells(opened, 1) == ["6", "5", "4", "3", "2", "1"]
    assert opened.page.locator("th[aria-sort=descending]").inner_text().startswith("run")
    opened.page.get_by_label("Filter seed").fill("> 2")
    assert cells(opened, 1) == ["6", "3"]
    opened.page.get_by_label("Filter folder").fill("run3")
    assert cells(opened, 1) == ["3"] and "1 of 6 rows" in opened.page.inner_text("main")
    # The overview keeps what was chosen in its address, which can be handed on.
    opened.page.evaluate("location.hash = '#overview'")
    opened.page.get_by_role("button", name="weighted_f1", exact=True).first.click()
    first = cells(opened, 2)
    opened.page.reload()
    opened.page.wait_for_selector("html[data-ready]")
    assert "sort.demo.emotion=weighted_f1" in opened.page.url and cells(opened, 2) == first
    assert "B" in first[0]
    assert opened.complaints == []


def test_charts_are_drawn_and_have_their_numbers(page, open_page):
    opened = open_page(page, "#charts?y=accuracy")
    for figure in opened.page.locator("figure").all():
        figure.scroll_into_view_if_needed()
        figure.locator(".drawn[data-drawn] svg").first.wait_for()
    assert opened.page.locator("figure").count() == 3
    metric, differences, curves = opened.page.locator("figure").all()
    assert "accuracy of demo.emotion" in metric.locator(".drawn").inner_text()
    metric.locator("summary").click()
    assert "0.75" in metric.locator("table").inner_text()
    assert "differences of weighted_f1" in differences.locator(".drawn").inner_text()
    assert "val/selection during training" in curves.locator(".drawn").inner_text()
    opened.page.get_by_role("combobox", name="Curve").select_option("train/loss")
    opened.page.locator("figure").last.locator("summary").click()
    assert "0.2" in opened.page.locator("figure").last.locator("table").inner_text()
    assert opened.complaints == [] and len(opened.requests) == 1


def test_confusion_matrices_stand_side_by_side(page, open_page):
    opened = open_page(page, "#confusion?runs=1,4")
    one, other = opened.page.locator(".matrix").all()
    assert "run 1" in one.inner_text() and "run 4" in other.inner_text()
    opened.page.get_by_label("shares of a gold label").uncheck()
    counts = opened.page.locator(".matrix").first.locator("tbody tr").first.locator("td").all_inner_texts()
    # Of 40 clips the first 20 have the first label, and the first 20 are right.
    assert counts[0] == "20" and counts[-1] == "20"
    boxes = [each.bounding_box() for each in opened.page.locator(".matrix").all()]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    assert opened.complaints == []


def test_the_counts_of_a_setting_are_summed_over_its_seeds(page, open_page):
    opened = open_page(page, "#confusion")
    titles = opened.page.locator(".matrix h3").all_inner_texts()
    assert [title.split(" summed")[0] for title in titles[:2]] == ["runs 1, 2, 3", "runs 4, 5, 6"]
    rates = opened.page.locator(".matrix").nth(1).locator("tbody tr").nth(1).locator("td").all_inner_texts()
    # The last 20 of 40 clips have the second label, of which runs 4 to 6 have 9, 10 and 11 right.
    assert "50%" in rates and rates[-1] == "60"
    opened.page.get_by_label("shares of a gold label").uncheck()
    counts = opened.page.locator(".matrix").nth(1).locator("tbody tr").nth(1).locator("td").all_inner_texts()
    assert counts[:2] == ["0", "30"] and counts[-1] == "60"
    opened.page.get_by_role("listbox", name="Runs").select_option(["4.5.6", "5"])
    opened.wait("location.hash.includes('4.5.6')")
    assert opened.page.locator(".matrix").count() == 2 and opened.complaints == []


HEARS = ("model=qwen2_5_omni_3b", "modalities=ta")


@pytest.fixture
def changed(configure, home, capsys) -> Path:
    """A page with three seeds of a model, on clips as they are and on changed ones."""
    folder, path = home / "changed", home / "changed.html"
    if path.is_file():
        return path
    noise, drop = "intervention=noise_audio", "intervention=drop_audio"
    interventions: dict[str, tuple[tuple[str, ...], int]] = {"clean": ((), 36), "mute": (("intervention=mute",), 24)}
    interventions |= {f"noise{snr}": ((noise, f"intervention.snr={snr}"), 30 + snr // 5) for snr in (-5, 0, 10)}
    interventions |= {f"drop{share}": ((drop, f"intervention.share={share}"), 36 - 8 * share) for share in (0, 1)}
    for name, (words, correct) in interventions.items():
        for seed in (1, 2, 3):
            own = (*HEARS, f"seed={seed}", *words)
            make_run(configure, folder, f"{name}_{seed}", *own, num=40, correct=correct + seed, evaluate=True)
    assert report(capsys, folder, "--format", "html", "--output", path)[2] == ""
    return path


def test_robustness_is_drawn_over_the_strength_of_interventions(changed, open_page):
    opened = open_page(changed, "#charts")
    section = opened.page.locator("section", has=opened.page.get_by_role("heading", name="Robustness"))
    figures = section.locator("figure")
    assert figures.count() == 3
    lines = []
    for place in range(3):
        figure = figures.nth(place)
        figure.scroll_into_view_if_needed()
        figure.locator("[data-drawn]").wait_for()
        figure.locator("summary").click()
        figure.locator("tbody tr").first.wait_for()  # which are made when they are asked for
        lines.append([text.split("\t") for text in figure.locator("tbody tr").all_inner_texts()])
    shares, noise, bars = lines
    assert [line[:2] for line in shares] == [
        ["drop_audio", "0"], ["drop_audio", "1"], ["unchanged clips", "0"], ["unchanged clips", "1"],
    ]  # fmt: skip
    assert [line[1] for line in noise if line[0] == "noise_audio"] == ["-5", "0", "10"]
    assert [line[1] for line in bars] == ["unchanged clips", "mute"]
    # Nothing is changed at a share of 0, so that its number and interval are those of the unchanged clips.
    assert shares[0][2:] == shares[2][2:] == shares[3][2:] and shares[0][3].startswith("[")
    assert float(shares[1][2]) < float(shares[0][2])
    assert opened.complaints == []


def test_without_a_clean_run_there_is_no_robustness(make):
    for seed in (1, 2):
        make(f"mute{seed}", *HEARS, "intervention=mute", f"seed={seed}", evaluate=True)
    made = gather(Request(folders=[make("noise", *HEARS, "intervention=noise_audio", evaluate=True).parent]))
    assert len(made.report.tables[0].rows) == 2
    assert "Robustness" not in [group["heading"] for group in charts.charts(made)]


def test_a_run_is_compared_with_another(page, out, open_page):
    opened = open_page(page, "#run/4")
    opened.page.get_by_label("Compare with").select_option("1")
    opened.page.wait_for_selector("tr.differs")
    assert opened.page.locator(".configuration tr.differs").all_inner_texts() == [
        "prompting.transcript.en\t{text} B\t{text} A\tdiffers\t"
    ]
    opened.page.get_by_label("differences only").check()
    opened.wait("document.querySelectorAll('.configuration tbody tr').length === 1")
    text = opened.page.inner_text("main")
    assert "1 key differs, 1 of which may change a number" in text
    assert str(out / "run4") in text and "Environment" in text and "code_sha256" in text
    assert "were evaluated 6 times, as the ledgers have it; 3 times before this run" in text
    opened.page.locator("text=next run").click()
    opened.wait("document.querySelector('h2').textContent.startsWith('Run 5')")
    assert "with=1" in opened.page.url  # the comparison goes along
    assert opened.complaints == []


# ---------------------------------------------------------------- for everybody


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_has_no_sideways_scrolling_and_every_control_a_name(page, open_page, dark):
    opened = open_page(page, width=380, dark=dark)
    for view in VIEWS[:5]:
        opened.visit(view)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 380, view
        assert opened.page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        nameless = opened.page.evaluate(
            """[...document.querySelectorAll("button, input, select, a, [role=region]")].filter((each) => {
              const labels = [...(each.labels ?? [])].map((label) => label.textContent.trim()).join("");
              return !(each.ariaLabel || each.textContent.trim() || labels);
            }).length"""
        )
        assert nameless == 0, view
    opened.page.get_by_role("button", name="Dark").click()
    assert opened.page.evaluate("document.documentElement.dataset.theme") == ("light" if dark else "dark")


def test_the_keyboard_reaches_the_content_first(page, open_page):
    opened = open_page(page)
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate("document.activeElement.id") == "main" and "Results" in opened.page.inner_text("main")


def test_paper_has_the_tables_and_no_controls(page, open_page):
    opened = open_page(page, dark=True)
    opened.page.emulate_media(media="print")
    assert not opened.page.locator("nav").is_visible() and not opened.page.locator(".filters").first.is_visible()
    assert opened.page.locator("tbody tr").first.is_visible()
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb, as WCAG 2.2 defines it."""
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_what_is_behind_it():
    css = (Path(building.__file__).parent / "page.css").read_text()
    themes = re.findall(r":root(?:\[[^]]*\])? \{(.*?)\}", css, re.S)[:2]
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w+);", theme))
        for text in ("fore", "faint", "link", "bad", "good"):
            for behind in ("back", "soft", "mark"):
                light, dark = sorted((luminance(colours[text]), luminance(colours[behind])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, behind)


# ---------------------------------------------------------------- attacks


def test_hostile_runs_are_text(out, tmp_path, open_page, capsys):
    hostile = tmp_path / "<img src=x onerror='window.pwned = 9'>\u202e"
    make_hostile(out / "run1", hostile)
    shutil.copytree(out / "run3", tmp_path / "kind")
    path = tmp_path / "page.html"
    report(capsys, hostile, tmp_path / "kind", "--format", "html", "--output", path)
    source = path.read_text(encoding="utf-8")
    assert not any(attack in source for attack in ATTACKS if len(attack) > 20)
    opened = open_page(path)
    for view in (
        "#overview",
        "#charts",
        "#confusion?runs=1,2",
        "#runs",
        "#run/1?with=2",
        "#run/2?with=1",
        "#clips",
        "#charts?x=model.name",
    ):
        opened.visit(view)
        for button in opened.page.get_by_role("button", name="Details of this row").all():
            button.click()
        for figure in opened.page.locator("figure").all():
            figure.scroll_into_view_if_needed()
            figure.locator(".drawn[data-drawn]").wait_for()
        assert opened.page.evaluate("window.pwned") is None, view
        inside = opened.page.evaluate(
            "[...document.querySelectorAll('main script, main iframe, main style, main a')]"
            '.map((each) => each.outerHTML).filter((html) => !/^<a href="#/.test(html))'
        )
        images = opened.page.locator("main img").count()
        assert inside == [] and images == 0, view
        assert opened.complaints == [] and opened.requests == [path.as_uri()], view
    opened.visit("#run/1")
    text = opened.page.inner_text("main")
    for attack in (ATTACKS[0], ATTACKS[1], ATTACKS[2], "⟨U+202E⟩gpj.exe", "⟨U+001B⟩[31m", "(1,000,0"):
        assert attack in text, attack
    assert "\u202e" not in text and "not utf-8" in text


@pytest.mark.parametrize(
    "place",
    [
        "#nothing",
        "#run/99",
        "#run/%",
        "#overview?filter.demo.emotion={",
        "#overview?columns.demo.emotion=7",
        "#<img src=x onerror=window.pwned=1>",
        "#run/__proto__",
        "#confusion?runs=9&task=__proto__",
        "#charts?x=<b>&y=constructor",
    ],
)
def test_an_address_that_somebody_made_up_shows_a_view(page, open_page, place):
    opened = open_page(page, place)
    assert len(opened.page.inner_text("main")) > 20
    assert opened.complaints == [] and opened.page.evaluate("window.pwned") is None


def test_the_policy_forbids_what_the_page_does_not_do(page, open_page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page.read_text())[1].replace("&#39;", "'")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["connect-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert re.fullmatch(r"('sha256-[A-Za-z0-9+/=]{44}' ?)+", rules["script-src"])
    opened = open_page(page)
    said = opened.page.evaluate(
        """async () => {
        const add = (tag, more) => document.body.append(Object.assign(document.createElement(tag), more));
        add("script", { textContent: "window.pwned = 1" });
        add("div", { innerHTML: "<img src=x onerror='window.pwned = 2'>" });
        add("img", { src: "http://127.0.0.1:9/x.png" });
        const fetched = await fetch("http://127.0.0.1:9/").then(() => "sent", () => "refused");
        // What the driver of the browser calls may evaluate; what it calls later may not.
        const evaluated = await new Promise((done) => setTimeout(() => {
          try { done((0, eval)("'run'")); } catch { done("refused"); }
        }));
        return [window.pwned ?? null, fetched, evaluated];
    }"""
    )
    assert said == [None, "refused", "refused"]
    assert opened.requests[1:] and {"csp"} == {why for _, why in opened.failed}
    assert [url for url, _ in opened.failed] == opened.requests[1:]


# ---------------------------------------------------------------- a large page is a folder


def test_a_large_page_is_a_folder_and_says_so(out, tmp_path, open_page, capsys, monkeypatch):
    monkeypatch.setattr(building, "LARGEST_FILE", 1000)
    said, _, end = report(capsys, out, "--format", "html", "--output", tmp_path / "page.html")
    index = tmp_path / "page" / "index.html"
    assert end == "" and f"{index} written" in said and f"{tmp_path / 'page'} is a folder" in said
    opened = open_page(index)
    for view in VIEWS:
        opened.visit(view)
        assert opened.page.locator("main .problem").count() == 0
        assert opened.complaints == []
        assert {Path(url.removeprefix("file://").split("#")[0]).parent.name for url in opened.requests} <= {
            "page",
            "data",
        }
    for file in (tmp_path / "page" / "data").iterdir():
        file.unlink()
    opened = open_page(index)
    assert "lies no longer beside this page" in opened.page.inner_text("main")


# ---------------------------------------------------------------- broken input


def broken(folder: Path, name: str, content: str | bytes | None) -> None:
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("name", "content", "view", "sentence"),
    [
        ("metrics.json", "{", "#overview", "metrics.json cannot be read"),
        ("config.yaml", "a: 1", "#overview", "is not the configuration of a run of affect"),
        ("predictions.jsonl", None, "#clips", "predictions.jsonl cannot be read"),
        ("log/run.log", None, "#run/1", "run.log cannot be read"),
        ("log/metrics.csv", "step,loss\n1,x\n", "#run/1", "metrics.csv cannot be read"),
        ("log/metrics.csv", b"\xff\xfe\x00", "#run/1", "metrics.csv cannot be read"),
        ("environment.json", "[]", "#overview", "environment.json cannot be read"),
        ("exclusions.csv", None, "#run/1", "exclusions.csv cannot be read"),
        ("status.json", None, "#runs", "not begun"),
    ],
)
def test_a_broken_run_is_named_and_the_others_are_shown(
    out, tmp_path, open_page, capsys, name, content, view, sentence
):
    for run in ("run1", "run3"):
        shutil.copytree(out / run, tmp_path / "out" / run)
    broken(tmp_path / "out" / "run1", name, content)
    report(capsys, tmp_path / "out", "--format", "html")
    opened = open_page(tmp_path / "out" / "affect_report.html", view)
    assert sentence in opened.page.text_content("main")
    opened.page.evaluate("location.hash = '#runs'")
    opened.page.wait_for_selector(".view.runs")
    assert "run3" in opened.page.inner_text("main") and opened.complaints == []


def test_runs_that_have_not_finished_have_a_page(make, tmp_path, open_page, capsys):
    run = make("going")
    change(run / "status.json", lambda status: status | {"state": "failed", "error": "out of memory", "where": "train"})
    (run / "metrics.json").unlink()
    _, _, end = report(capsys, run, "--format", "html")
    opened = open_page(run / "affect_report.html")
    assert end == "" and "No run has results of a task yet" in opened.page.inner_text("main")
    assert "1 has no numbers: failed (out of memory, train)" in opened.page.inner_text("main")
    for view in ("#charts", "#confusion", "#runs", "#run/1"):
        opened.visit(view)
        assert opened.page.locator("main .problem").count() == 0 and opened.complaints == []


def test_no_runs_and_no_place_to_write_are_refused_in_a_sentence(out, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "is not a run folder" in report(capsys, tmp_path / "empty", "--format", "html")[2]
    end = report(capsys, out, "--format", "html", "--output", tmp_path / "no" / "page.html")[2]
    assert str(tmp_path / "no" / "page.html") in end and "cannot be written" in end
    (tmp_path / "page.html").mkdir()
    assert (
        "page.html cannot be written" in report(capsys, out, "--format", "html", "--output", tmp_path / "page.html")[2]
    )


# ---------------------------------------------------------------- without a browser


def test_a_block_holds_what_json_has_no_word_for():
    packed = building.pack({"a": float("nan"), "b": [float("-inf"), 1.5], "c": "\ud800"})
    assert json.loads(gzip.decompress(base64.b64decode(packed))) == {"a": "nan", "b": ["-inf", 1.5], "c": "\ud800"}


def test_the_same_runs_give_the_same_page(out, tmp_path, capsys):
    for name in ("a.html", "b.html"):
        report(capsys, out, "--format", "html", "--output", tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_intervals_over_seeds_are_those_of_students_t():
    values = [0.5, 0.6, 0.65]
    number = Number(mean=sum(values) / 3, sd=float(stats.tstd(values)))
    expected = stats.t.interval(0.95, 2, loc=number.mean, scale=stats.sem(values))
    assert overview.over_seeds(number, 3) == pytest.approx(expected, abs=1e-12)
    assert overview.over_seeds(Number(mean=0.5, sd=None), 1) == (None, None)
    assert overview.over_seeds(Number(mean=0.5, sd=0.0), 3) == (None, None)


def test_charts_of_training_clips_and_calibration_are_made_where_runs_have_them(make, tmp_path):
    for fraction, correct in ((0.25, 20), (0.5, 24), (0.75, 27), (1.0, 29)):
        run = make(f"f{fraction}", f"datasets.demo.fraction={fraction}", num=40, groups=12, correct=correct)
        change(run / "data.json", lambda data, share=fraction: with_clips(data, round(160 * share)))
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    labels = (
        gather(Request(folders=[run]))
        .runs[0]
        .summary.config["datasets"]["demo"]["task_definitions"]["emotion"]["labels"]
    )
    draw = np.random.default_rng(0)
    for line in lines:
        line["scores"] = dict(zip(labels, draw.normal(size=len(labels)), strict=True))
    (run / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {group["heading"]: group for group in charts.charts(gather(Request(folders=[tmp_path / "out"])))}
    assert list(found) == ["Training clips", "Calibration"]
    [sizes] = found["Training clips"]["charts"]
    assert list(sizes["series"][0]["x"]) == [40, 80, 120, 160]
    [curves] = found["Calibration"]["charts"]
    *ours, diagonal = curves["series"]
    scores = np.array([list(line["scores"].values()) for line in lines])
    gold = np.array([labels.index(line["target"]) for line in lines])
    expected = calibration.reliability(calibration.probabilities(scores), gold)
    assert [series["x"] for series in ours] == [[bin.confidence for bin in expected]] and diagonal["x"] == [0.0, 1.0]


def test_the_contribution_of_modalities_is_drawn_where_every_subset_was_run(make, tmp_path):
    for letters, correct in (("t", 20), ("a", 14)):
        make(letters, f"modalities={letters}", num=40, groups=12, correct=correct)
    out = Request(folders=[tmp_path / "out"])
    assert "Contribution of modalities" not in [group["heading"] for group in charts.charts(gather(out))]
    make("ta", "modalities=ta", num=40, groups=12, correct=26)
    [group] = [each for each in charts.charts(gather(out)) if each["heading"] == "Contribution of modalities"]
    assert group["charts"][0]["series"][0]["x"] == ["text", "audio"] and group["about"]


def with_clips(data: dict, number: int) -> dict:
    for part in data["parts"]:
        part["used"] = number if part["split"] == "train" else part["used"]
    return data


def test_the_examples_of_the_docstrings_are_true():
    for module in (runs,):
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0

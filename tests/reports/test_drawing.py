"""Charts: what is drawn, with hostile labels, and that the same chart is the same file."""

import subprocess
import sys
from pathlib import Path

import pytest

from affect.config import ConfigError
from affect.reports.charts import Chart, Series, categories
from affect.reports.drawing import SUFFIXES, draw

LINES = [
    Series(name="_with", x=[0.05, 0.1, 1.0], y=[0.3, None, 0.6], low=[0.2, None, 0.5], high=[0.4, None, 0.7]),
    Series(name="$x^2$ \x1b[31m<b>" + "long " * 20, x=[0.05, 1.0], y=[0.2, float("nan")]),
]
BARS = [Series(name=name, x=["t", "av"], y=[0.2, -0.1], low=[0.1, -0.2], high=[0.3, -0.3]) for name in "abcdefgh"]
ROWS = [Series(name="mosi", x=["mosi", "sims"], y=[0.9, 0.5]), Series(name="sims", x=["sims", "v" * 99], y=[0.8, None])]
CHARTS = [
    Chart(title="1 $ and 2 $", x_label="share", y_label="weighted_f1", kind="line", series=LINES),
    Chart(title="", x_label="modalities", y_label="accuracy", kind="bar", series=BARS),
    Chart(title="", x_label="tested on", y_label="trained on", kind="heat map", series=ROWS),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.kind)
def test_a_chart_is_the_same_file_each_time(chart: Chart, suffix: str, tmp_path: Path) -> None:
    first, second = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
    draw(chart, first)
    draw(chart, second)
    assert first.read_bytes() == second.read_bytes() and first.stat().st_size > 1000


def test_labels_are_shown_letter_by_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    draw(CHARTS[0], tmp_path / "chart.svg")
    drawn = (tmp_path / "chart.svg").read_text(encoding="utf-8")
    assert "1 $ and 2 $" in drawn and "_with" in drawn and "$x^2$  [31m&lt;b&gt;long" in drawn
    assert "\x1b" not in drawn and "<b>" not in drawn and "long " * 10 not in drawn


def test_letters_that_no_font_has_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chart = Chart(title="\U0001f9f6 yarn", x_label="", y_label="", kind="bar", series=BARS)
    draw(chart, tmp_path / "yarn.png")
    assert "no installed font" in capsys.readouterr().out


def test_the_order_of_categories_is_that_of_their_first_mention() -> None:
    assert categories(CHARTS[2]) == ["mosi", "sims", "v" * 99]


def test_another_type_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.gif: charts are written as \.pdf, \.png, \.svg, not as '\.gif'"):
        draw(CHARTS[0], tmp_path / "x.gif")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no/x\.png cannot be written \(No such file or directory\)"):
        draw(CHARTS[0], tmp_path / "no" / "x.png")


def test_charts_need_no_library() -> None:
    code = "import sys, affect.reports.drawing; assert not {'matplotlib', 'torch'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

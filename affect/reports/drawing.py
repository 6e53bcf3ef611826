"""Charts as files for papers, drawn by matplotlib."""

import logging
import warnings
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from affect.config.errors import ConfigError
from affect.config.logs import LOG
from affect.data.escaping import one_line
from affect.reports.charts import Chart, Series, categories, is_categorical

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import Container
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".png", ".svg")

# Colours that are told apart with any kind of colour blindness (Okabe and Ito 2008), without the yellow, which is too
# pale for lines on white, and the black, which is the axes'.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP*X"

CHINESE = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "PingFang SC", "Microsoft YaHei", "SimHei")
"""Fonts with Chinese letters, of which one that is installed is used for what the first font lacks."""

LONGEST = 40
"""Letters of a label or name; a longer one is cut and ends in an ellipsis."""

SETTINGS = {
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "pdf.fonttype": 42,  # text that can be searched and edited
    "svg.hashsalt": "affect",  # the same chart is the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(chart: Chart, path: Path) -> None:
    """Writes the chart to a file of type PDF, PNG or SVG, by its suffix.

    The same chart gives the same file. Labels are shown letter by letter, without mathematical markup.

    Raises ConfigError if the suffix is another one, and where the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: charts are written as {', '.join(SUFFIXES)}, not as '{path.suffix}'.")
    import matplotlib
    from matplotlib.figure import Figure

    # They report fonts that are not installed, and every table of a font that is written into a file.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    with matplotlib.rc_context(SETTINGS | {"font.family": _fonts()}), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(_shown(chart.title, 2 * LONGEST))
        axes.set_xlabel(_shown(chart.x_label))
        axes.set_ylabel(_shown(chart.y_label))
        if chart.kind == "heat map":
            _heat_map(chart, figure, axes)
        else:
            drawn = (_lines if chart.kind == "line" else _bars)(chart, axes)
            if len(chart.series) > 1:
                _legend(chart, figure, drawn)
        if is_categorical(chart):
            labels = [_shown(category) for category in categories(chart)]
            slanted = len(labels) * max(map(len, labels)) > 60
            axes.set_xticks(
                range(len(labels)),
                labels,
                rotation=30 if slanted else 0,
                ha="right" if slanted else "center",
                rotation_mode="anchor",
                fontsize="small",
            )
        # A file that names the hour of its making differs each time.
        hour = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix, {})
        try:
            figure.savefig(path, dpi=200, metadata=hour)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written ({error.strerror or error}): name a file in a folder that can"
            ) from error
    for problem in dict.fromkeys(_problem(str(warning.message)) for warning in caught):
        LOG.warning(f"{path}: {problem}")


def _problem(warning: str) -> str:
    if "missing from font" in warning:
        return "no installed font has all letters of the chart; a font such as Noto Sans CJK has more."
    return warning


def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in CHINESE if name in installed)]


def _shown(text: str, longest: int = LONGEST) -> str:
    text = one_line(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _heights(values: Series) -> tuple[list[float], tuple[list[float], list[float]] | None]:
    """y with NaN for None, and the lengths of the error bars below and above it."""
    nan = float("nan")
    heights = [nan if y is None else y for y in values.y]
    if not values.low:
        return heights, None
    # The ends of an interval need not enclose a mean; a bar that would point inwards has no length.
    below = [nan if low is None else max(0.0, y - low) for y, low in zip(heights, values.low, strict=True)]
    above = [nan if high is None else max(0.0, high - y) for y, high in zip(heights, values.high, strict=True)]
    return heights, (below, above)


def _places(chart: Chart, series: Series) -> list[float]:
    if not is_categorical(chart):
        return [float(x) for x in series.x]
    order = {name: float(place) for place, name in enumerate(categories(chart))}
    return [order[str(x)] for x in series.x]


def _lines(chart: Chart, axes: "Axes") -> list["Container"]:
    drawn = []
    for series, colour, marker in zip(chart.series, cycle(COLOURS), cycle(MARKERS), strict=False):
        heights, errors = _heights(series)
        places = _places(chart, series)
        drawn.append(axes.errorbar(places, heights, yerr=errors, color=colour, marker=marker, capsize=3))
    return drawn


def _bars(chart: Chart, axes: "Axes") -> list["Container"]:
    drawn = []
    width = 0.8 / len(chart.series)
    for number, (series, colour) in enumerate(zip(chart.series, cycle(COLOURS), strict=False)):
        heights, errors = _heights(series)
        shift = (number - (len(chart.series) - 1) / 2) * width
        places = [place + shift for place in _places(chart, series)]
        drawn.append(axes.bar(places, heights, width, yerr=errors, color=colour, capsize=3, edgecolor="white"))
    axes.axhline(0, color="black", linewidth=0.8)
    return drawn


def _heat_map(chart: Chart, figure: "Figure", axes: "Axes") -> None:
    import numpy as np

    cells = np.full((len(chart.series), len(categories(chart))), np.nan)
    for row, series in enumerate(chart.series):
        for place, height in zip(_places(chart, series), _heights(series)[0], strict=True):
            cells[row, int(place)] = height
    figure.set_figheight(max(figure.get_figheight(), 1.5 + 0.3 * len(chart.series)))
    image = axes.imshow(cells, cmap="cividis", aspect="auto")
    figure.colorbar(image)
    axes.set_yticks(range(len(chart.series)), [_shown(series.name) for series in chart.series])
    for (row, column), value in np.ndenumerate(cells):
        if np.isfinite(value):
            pale = image.norm(value) > 0.5
            axes.text(column, row, f"{value:.3g}", ha="center", va="center", color="black" if pale else "white")


def _legend(chart: Chart, figure: "Figure", drawn: Sequence["Container"]) -> None:
    """Names below the axes, for which the figure becomes higher."""
    names = [_shown(series.name) for series in chart.series]
    columns = max(1, min(len(names), 80 // (max(map(len, names)) + 8)))
    figure.set_figheight(figure.get_figheight() + 0.25 * -(-len(names) // columns))
    # matplotlib drops a name that begins with an underscore, unless something invisible stands before it.
    names = [f"\u200b{name}" if name.startswith("_") else name for name in names]
    figure.legend(drawn, names, loc="outside lower center", ncols=columns, frameon=False)

"""What a grid of prompts shows: how far numbers move, whether models keep their ranks, and preferences for positions
and labels, as tables and charts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from affect.config import ConfigError, DataError, Kind, OptionsOrder, Task
from affect.config.tasks import HEADLINES
from affect.evaluation.metrics.compute import headline_metric
from affect.evaluation.prompt_sensitivity import Preference, position_test, preference, spread, stability
from affect.prompting.options import shown_order
from affect.reports.charts import Chart, Series
from affect.reports.comparison import task_of
from affect.reports.paired_runs import Scored, scored
from affect.reports.rows import Row, Table
from affect.reports.settings import PROMPT_FACTORS, Run, some

OPTIONS, ORDER, SEED = (f"prompting.{key}" for key in ("options", "options_order", "options_seed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A small table with its notes and its chart."""

    title: str
    headings: Sequence[str]
    lines: Sequence[Sequence[str]]
    """The cells of each line, as many as there are headings."""
    notes: Sequence[str] = field(default_factory=list)
    chart: Chart | None = None


def prompt_sensitivity(table: Table, runs: Sequence[Run]) -> list[Part]:
    """The spread of the table's first metric over prompts, the stability of ranks where there are several models, and
    for a classification the preferences of answers. `runs` are those that the table was made of.

    A prompt is a combination of values of PROMPT_FACTORS, and what else tells rows apart is called a model. Raises
    ConfigError where all rows have one prompt, and where the predictions of a run are missing or damaged.
    """
    task, varied = task_of(table, runs), [key for key in PROMPT_FACTORS if key in table.settings]
    if task.headline not in HEADLINES[task.kind]:
        raise ConfigError(
            f"{table.task} has no prompt sensitivity of {task.headline or 'a recall'}: give one of"
            f" {', '.join(HEADLINES[task.kind])} first in --metrics"
        )
    if not varied:
        raise ConfigError(
            f"{table.task} has no prompt sensitivity: its runs do not differ in"
            f" {', '.join(PROMPT_FACTORS)}; evaluate with several of them, sweep=prompt_factors"
        )
    by_model: dict[str, dict[str, Row]] = {}
    others = [key for key in table.settings if key not in PROMPT_FACTORS]
    for row in table.rows:
        model = " ".join(row.setting[key] or "-" for key in others) or row.whole["model.name"]
        by_model.setdefault(model, {})[" ".join(row.setting[key] or "-" for key in varied)] = row
    parts = [_spreads(table, task, by_model, varied)]
    if len(by_model) > 1:
        parts.append(_ranks(table, by_model))
    if task.kind is Kind.classification:
        try:
            parts += _preferences(table, task, by_model, runs)
        except DataError as error:
            raise ConfigError(f"{table.task} has no preferences of answers: {error}") from error
    return parts


def _spreads(table: Table, task: Task, by_model: Mapping[str, Mapping[str, Row]], varied: Sequence[str]) -> Part:
    metric = table.metrics[0]
    lines, notes, bars = [], [], {}
    for model, prompts in by_model.items():
        means = {prompt: row.numbers[metric].mean for prompt, row in prompts.items()}
        values = {prompt: mean for prompt, mean in means.items() if mean is not None}
        if lacking := [prompt for prompt in means if prompt not in values]:
            notes.append(f"{model}: {metric} is undefined with {some(lacking)}, which is left out")
        if not values:
            continue
        names = list(values)
        found = spread(list(values.values()), lower_is_better=not headline_metric(task).higher_is_better)
        bars[model] = (found.mean, min(values.values()), max(values.values()))
        lines.append(
            [
                model,
                str(found.prompts),
                f"{found.mean:.4f}",
                "-" if found.sd is None else f"{found.sd:.4f}",
                f"{found.range:.4f}",
                f"{values[names[found.best]]:.4f} ({names[found.best]})",
                f"{values[names[found.worst]]:.4f} ({names[found.worst]})",
            ]
        )
    notes.append(f"a prompt is named by {', '.join(varied)}; the standard deviation is that between prompts")
    mean, low, high = zip(*bars.values(), strict=True) if bars else ((), (), ())
    return Part(
        title=f"{table.task}, {metric} over prompts",
        headings=["model", "prompts", "mean", "sd", "range", "best", "worst"],
        lines=lines,
        notes=notes,
        chart=Chart(
            title=f"{table.task}: mean over prompts, from the lowest to the highest",
            x_label="model",
            y_label=metric,
            kind="bar",
            series=[Series(name=metric, x=list(bars), y=mean, low=low, high=high)],
        ),
    )


def _ranks(table: Table, by_model: Mapping[str, Mapping[str, Row]]) -> Part:
    metric, models = table.metrics[0], list(by_model.values())
    common = [
        prompt
        for prompt in models[0]
        if all(prompt in prompts and prompts[prompt].numbers[metric].mean is not None for prompts in models)
    ]
    title = f"{table.task}, ranks of {len(models)} models over prompts"
    headings = ["models", "prompts", "mean Kendall's tau", "Kendall's W", "p"]
    if len(common) < 2:
        notes = [f"ranks are not compared: {len(common)} prompts have a number of every model, and it takes two"]
        return Part(title=title, headings=headings, lines=[], notes=notes)
    scores = np.array([[prompts[prompt].numbers[metric].mean for prompt in common] for prompts in models])
    found = stability(scores)
    numbers = ["-" if number is None else f"{number:.4f}" for number in (found.tau, found.w)]
    return Part(
        title=title,
        headings=headings,
        lines=[[str(len(models)), str(len(common)), *numbers, _p(found.p)]],
        notes=[
            "1 is the same ranking with every prompt. p is of no agreement at all (Friedman), which takes three models;"
            " prompts share their clips, so it says nothing of other clips"
        ],
    )


def _preferences(
    table: Table, task: Task, by_model: Mapping[str, Mapping[str, Row]], runs: Sequence[Run]
) -> Iterator[Part]:
    """Preferences for labels over all prompts, and for positions over those with shuffled lists, for every model and
    what labels are answered by."""
    answers = {
        number: scored(runs[number - 1], table.task, task, headline_metric(task))
        for prompts in by_model.values()
        for row in prompts.values()
        for number in row.runs
    }
    of_labels: dict[str, list[Preference]] = {}
    of_places: dict[str, list[Preference]] = {}
    lines, notes = [], []
    for model, prompts in by_model.items():
        for options in dict.fromkeys(row.whole[OPTIONS] for row in prompts.values()):
            rows = [row for row in prompts.values() if row.whole[OPTIONS] == options]
            name = f"{model}, {options}"
            of_labels[name] = _of_labels([answers[number] for row in rows for number in row.runs], task)
            shuffled = [row for row in rows if row.whole[ORDER] == OptionsOrder.shuffled.value]
            for seed in dict.fromkeys(row.whole[SEED] for row in shuffled):
                one_draw = [answers[n] for row in shuffled if row.whole[SEED] == seed for n in row.runs]
                named = name if seed == "0" else f"{name}, options_seed {seed}"
                of_places[named], tested = _of_places(one_draw, task, int(seed))
                lines.append([named, *tested])
            if not shuffled:
                notes.append(
                    f"{name}: no preference for positions, since its lists are not shuffled, and a label always stands"
                    " at the same place; add prompting.options_order=shuffled"
                )
    explained = "difference: share of answers minus share of gold labels, with its 95 % interval over groups of clips"
    yield _part(f"{table.task}, preference for labels", "label", of_labels, [explained])
    if of_places:
        yield Part(
            title=f"{table.task}, answers by position, tested",
            headings=["model", "chi-square", "degrees of freedom", "p"],
            lines=lines,
            notes=["p: of answers that do not depend on the order of the labels, by the shuffling (chi-square)"],
        )
    yield _part(f"{table.task}, preference for positions in shuffled lists", "position", of_places, [explained, *notes])


def _columns(answers: Sequence[Scored], task: Task) -> tuple[list[str], np.ndarray, np.ndarray, list[str]]:
    """The clips that all runs have scored, with the places of gold labels [N] and answers [runs, N] among the task's
    labels (-1 where unreadable), and their groups."""
    ids = sorted(set.intersection(*(set(each.predictions) for each in answers)))
    if not ids:
        raise DataError(f"{answers[0].name} and {answers[1].name} have no clip in common: evaluate both on one split")
    read = np.stack([each.read(ids, task) for each in answers])
    read[read == len(task.labels)] = -1
    return ids, answers[0].gold(ids, task), read, [answers[0].predictions[key].group for key in ids]


def _of_labels(answers: Sequence[Scored], task: Task) -> list[Preference]:
    _, gold, read, groups = _columns(answers, task)
    return preference(task.labels, gold, read, groups)


def _of_places(answers: Sequence[Scored], task: Task, seed: int) -> tuple[list[Preference], list[str]]:
    ids, gold, read, groups = _columns(answers, task)
    count = len(task.labels)
    shown = [shown_order(task.labels, OptionsOrder.shuffled, seed, key) for key in ids]
    # places[N, K + 1]: where each label is listed; the last column is for answers that could not be read.
    places = np.array([[*map(order.index, task.labels), -1] for order in shown])
    gold, read = places[np.arange(len(ids)), gold], places[np.arange(len(ids)), read]
    found = position_test(read, count)
    tested = ["-"] * 3 if found is None else [f"{found.statistic:.2f}", str(found.freedom), _p(found.p)]
    return preference([str(place + 1) for place in range(count)], gold, read, groups), tested


def _p(p: float | None) -> str:
    return "-" if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _part(title: str, of: str, found: Mapping[str, Sequence[Preference]], notes: Sequence[str]) -> Part:
    lines, series = [], []
    reasons: dict[str, None] = {}
    for name, preferences in found.items():
        for each in preferences:
            if each.low is None or each.high is None:
                interval = "-"
                reasons[f"{name}: no interval of {of} {each.option}, since {each.reason}"] = None
            else:
                interval = f"[{each.low:+.4f}, {each.high:+.4f}]"
            lines.append(
                [name, each.option, f"{each.answered:.4f}", f"{each.gold:.4f}", f"{each.difference:+.4f}", interval]
            )
        series.append(
            Series(
                name=name,
                x=[each.option for each in preferences],
                y=[each.difference for each in preferences],
                low=[each.low for each in preferences],
                high=[each.high for each in preferences],
            )
        )
    chart = Chart(title=title, x_label=of, y_label="answered - gold", kind="bar", series=series) if series else None
    headings = ["model", of, "answered", "gold", "difference", "interval"]
    return Part(title=title, headings=headings, lines=lines, notes=[*notes, *reasons], chart=chart)

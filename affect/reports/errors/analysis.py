"""What runs of one setting get wrong, as plain data: `analyse` gives it, tables, charts and pages show it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

import numpy as np

from affect.config import ConfigError, Kind, Task, near
from affect.config.tasks import HEADLINES
from affect.evaluation.error_analysis import clips, slices, unreadable
from affect.evaluation.error_analysis.slices import Part
from affect.evaluation.metrics import calibration, headline_metric
from affect.evaluation.metrics.classification import confusion
from affect.evaluation.significance import paired
from affect.reports.aggregate import table
from affect.reports.comparison import pairs_of_seeds
from affect.reports.errors.clip_facts import OF_CLIPS, clip_facts
from affect.reports.errors.listed_clips import ListedClips
from affect.reports.errors.results import Calibration, Cause, Change, Changes, Clip, Confusion, ErrorAnalysis
from affect.reports.paired_runs import Scored, check_same_clips, scored
from affect.reports.rows import Row
from affect.reports.sections import heading
from affect.reports.settings import Run

SLICES = ("class", *OF_CLIPS, "agreement")
"""What clips can be divided by."""

OF_SLICES = {Kind.classification: "accuracy", Kind.intensity: "mae", Kind.multi_label: "subset_accuracy"}
"""The metric of slices unless another is asked for: a mean over clips. The headline of many tasks depends on which
classes a slice has, and says as much about them as about the answers."""

ROWS_OF_A_BIN = 20
"""Answers that a bin of a reliability curve has at least: the accuracy of fewer says little, and adds to the ECE."""

SIGNS = ("negative", "zero", "positive")


def analyse(
    runs: Sequence[Run],
    task_name: str,
    ours: Collection[int],
    *,
    against: Collection[int] = (),
    singles: Collection[int] = (),
    metric: str | None = None,
    by: Collection[str] = SLICES,
    roots: Mapping[str, str] | None = None,
) -> ErrorAnalysis:
    """The analysis of the task DATASET.TASK over the runs `ours`, numbers from 1 of `runs`, which are of one setting.

    against: runs of another setting, to see what differs. singles: runs of one modality each, for the slices by their
    agreement. metric: of slices, one of HEADLINES; None is OF_SLICES. by: which of SLICES. roots: where data are, as of
    runs.inherit.on_this_machine.

    Raises ConfigError where the runs are of several settings, cannot be held against each other, or have no such task
    or metric; DataError where predictions are damaged.
    """
    task = _task(runs, task_name, ours, metric)
    function = headline_metric(task)
    notes: list[str] = []
    row = _setting(runs, task_name, ours, task.headline, notes, "these runs")
    compared = [scored(runs[number - 1], task_name, task, function) for number in row.runs]
    ids = _common(compared, notes)
    gold = compared[0].gold(ids, task)
    reads = [run.read(ids, task) for run in compared]
    groups = [compared[0].predictions[key].group for key in ids]
    is_right = np.array([clips.right(gold, read, task) for read in reads])
    targets = {key: compared[0].predictions[key].target for key in ids}
    facts = clip_facts(
        runs[row.runs[0] - 1].folder, task_name, targets, [name for name in by if name in OF_CLIPS], roots or {}
    )
    parts, unavailable = list(facts.parts), dict(facts.unavailable)
    classes = _classes(gold, task)
    if "class" in by:
        parts = [*classes, *parts]
    if "intensity" in by and task.kind is Kind.intensity:
        unavailable.pop("intensity", None)
        parts = [part for part in parts if part.by != "intensity"] + _strengths(gold, task)
    if "agreement" in by:
        agreeing, why = _agreement(runs, task_name, task, singles, ids)
        parts += agreeing
        unavailable |= {"agreement": why} if why else {}
    probability = np.array([_probabilities(run, ids, task) for run in compared])
    shown = ListedClips(ids, gold, compared, task, facts.texts, probability)
    curve, no_curve = _calibration(probability, gold, task, compared)
    values = [function.function(gold, read, task) for read in reads]
    return ErrorAnalysis(
        task=task_name,
        model=runs[row.runs[0] - 1].summary.model,
        split=str(runs[row.runs[0] - 1].summary.metrics["split"]),  # type: ignore[index]
        runs=row.runs,
        seeds=row.seeds,
        metric=task.headline,
        higher_is_better=function.higher_is_better,
        value=fmean(values) if np.isfinite(values).all() else None,
        clips=len(ids),
        groups=len(set(groups)),
        right=float(is_right.mean()),
        confusion=_confusion(gold, reads, task),
        slices=slices.measured(
            parts,
            gold,
            reads,
            groups,
            lambda some, read: function.function(some, read, task),
            higher_is_better=function.higher_is_better,
        ),
        unavailable=unavailable,
        hardest=shown.of(clips.hardest(is_right, shown.badness()), range(len(reads))),
        confident=shown.of(clips.most_confident(is_right, shown.confidence()), range(len(reads))),
        unreadable=_unreadable(compared, ids, task, runs[row.runs[0] - 1], task_name),
        calibration=curve,
        no_calibration=no_curve,
        changes=_changes(runs, task_name, task, row, against, facts.texts, notes) if against else None,
        notes=[*notes, *facts.notes],
    )


def _task(runs: Sequence[Run], name: str, ours: Collection[int], metric: str | None) -> Task:
    """The definition of the task as the first run has it, with the metric of slices as its headline."""
    first = next((runs[number - 1] for number in ours if runs[number - 1].counts), None)
    if first is None or name not in first.summary.metrics["tasks"]:  # type: ignore[index]
        raise ConfigError(f"none of the runs has results of {name}: name finished runs of it")
    dataset, task = name.split(".", 1)
    defined = first.summary.config["datasets"][dataset]["task_definitions"][task]
    kept = {key: defined[key] for key in ("labels", "low", "high", "step", "words", "none") if key in defined}
    kind = Kind(defined["kind"])
    if metric is not None and metric not in HEADLINES[kind]:
        raise ConfigError(
            f"--metric {metric} is no metric of {name}{near(metric, HEADLINES[kind])} Choose from"
            f" {', '.join(HEADLINES[kind])}"
        )
    return Task(name=task, kind=kind, headline=metric or OF_SLICES[kind], **kept)


def _setting(runs: Sequence[Run], task: str, numbers: Collection[int], metric: str, notes: list[str], who: str) -> Row:
    """The only row of the table of these runs. Raises ConfigError where there are several, or none."""
    chosen = [runs[number - 1] for number in numbers]
    result = table(chosen, task, metrics=[metric])
    places = dict(enumerate(numbers, 1))
    if not result.rows:
        raise ConfigError(
            f"{who}: no finished one has labelled clips and {metric} of {task}; {'; '.join(result.notes)}"
        )
    if len(result.rows) > 1:
        differing = "; ".join(
            f"{heading(key)} {', '.join(dict.fromkeys(str(row.setting[key]) for row in result.rows))}"
            for key in result.settings
        )
        raise ConfigError(
            f"{who} are of {len(result.rows)} settings ({differing}), and an analysis is of one: choose with --where"
            " KEY=VALUE, or name the runs of one"
        )
    [row] = result.rows
    if len(row.runs) < len(chosen):
        notes.append(
            f"of {who}, {len(chosen) - len(row.runs)} are not counted: not finished, without results of {task}, or"
            " older than one of the same configuration and seed"
        )
    row.runs = [places[number] for number in row.runs]
    return row


def _common(compared: Sequence[Scored], notes: list[str]) -> list[str]:
    """The ids of the clips that all runs have scored, in the order of the first."""
    shared = set.intersection(*(set(run.predictions) for run in compared))
    if not shared:
        raise ConfigError(
            f"{' and '.join(run.name for run in compared)} have no clip in common: name runs of one split"
        )
    ids = [key for key in compared[0].predictions if key in shared]
    check_same_clips(compared, ids)
    most = max(len(run.predictions) for run in compared)
    if most > len(ids):
        notes.append(f"on the {len(ids):,} clips that all runs have scored, of up to {most:,}")
    return ids


def _signs(column: np.ndarray, task: Task) -> np.ndarray:
    """Place in SIGNS of each value of an intensity, as it is written with the task's step; 3 for unreadable ones."""
    assert task.low is not None and task.high is not None
    apart = column - (task.low + task.high) / 2
    step = (task.step or 0) / 2
    signs = 1 + (apart >= max(step, 1e-9)).astype(np.int64) - (apart <= -max(step, 1e-9))
    return np.where(np.isnan(column), len(SIGNS), signs)


def _classes(gold: np.ndarray, task: Task) -> list[Part]:
    if task.kind is Kind.multi_label:
        values = [tuple(np.array(task.labels)[row > 0]) for row in gold]
        return slices.by_label("class", task.labels, values)
    names, places = (SIGNS, _signs(gold, task)) if task.kind is Kind.intensity else (task.labels, gold)
    known = np.ones(len(gold), dtype=bool)
    masks = {name: places == place for place, name in enumerate(names)}
    return [Part(by="class", value=name, inside=mask, known=known) for name, mask in masks.items() if mask.any()]


def _strengths(gold: np.ndarray, task: Task) -> list[Part]:
    assert task.low is not None and task.high is not None
    return slices.by_thirds("intensity", np.abs(gold - (task.low + task.high) / 2).tolist(), "from the middle")


def _agreement(
    runs: Sequence[Run], name: str, task: Task, singles: Collection[int], ids: Sequence[str]
) -> tuple[list[Part], str]:
    """Clips on which the models of one modality agree, and those on which they do not; or why there are none."""
    if not singles:
        return [], "no single-modality runs are named: --single RUN RUN …"
    modalities = [runs[number - 1].summary.config["modalities"] for number in singles]
    if any(len(letters) != 1 for letters in modalities) or len(set(modalities)) < len(modalities) or len(singles) < 2:
        raise ConfigError(
            f"--single names runs with modalities {', '.join(modalities)}: name two or three, each of another one of t,"
            " a, v"
        )
    found = []
    for number in singles:
        run = runs[number - 1]
        if not run.counts or name not in run.summary.metrics["tasks"]:  # type: ignore[index]
            raise ConfigError(f"--single {run.folder} has no results of {name}: name finished runs of the same dataset")
        found.append(scored(run, name, task, headline_metric(task)))
    known = np.array([all(key in run.predictions for run in found) for key in ids], dtype=bool)
    if not known.any():
        return [], "the single-modality runs have scored none of these clips"
    shared = [key for key, there in zip(ids, known, strict=True) if there]
    columns = [run.read(shared, task) for run in found]
    if task.kind is Kind.intensity:
        columns = [_signs(column, task) for column in columns]
    same = np.all([one == columns[0] for one in columns[1:]], axis=0)
    agree = np.zeros(len(ids), dtype=bool)
    agree[known] = same.all(axis=1) if same.ndim > 1 else same
    names = " ".join(sorted(modalities, key="tav".index))
    return [
        Part(by="agreement", value=f"{names} agree", inside=agree, known=known),
        Part(by="agreement", value=f"{names} disagree", inside=known & ~agree, known=known),
    ], ""


def _confusion(gold: np.ndarray, reads: Sequence[np.ndarray], task: Task) -> Confusion:
    if task.kind is Kind.multi_label:
        rows, counts = [], []
        for place, label in enumerate(task.labels):
            for name, there in ((label, 1), (f"not {label}", 0)):
                cells = [read[gold[:, place] == there, place] for read in reads]
                rows.append(name)
                counts.append([sum(int((cell == value).sum()) for cell in cells) for value in (1, 0, -1)])
        return Confusion(rows=rows, columns=["named", "not named", "unreadable"], counts=counts)
    labels = list(SIGNS) if task.kind is Kind.intensity else list(task.labels)
    if task.kind is Kind.intensity:
        gold, reads = _signs(gold, task), [_signs(read, task) for read in reads]
    counts = np.sum([confusion(gold, read, labels) for read in reads], axis=0)
    return Confusion(rows=labels, columns=[*labels, "unreadable"], counts=counts.tolist())


def _probabilities(run: Scored, ids: Sequence[str], task: Task) -> np.ndarray:
    """float64[N, K] of a classification, nan where not all labels were scored."""
    result = np.full((len(ids), len(task.labels)), np.nan)
    if task.kind is not Kind.classification:
        return result
    for row, key in enumerate(ids):
        scores = run.predictions[key].scores
        if scores is not None and set(task.labels) <= scores.keys():
            result[row] = [scores[label] for label in task.labels]
    known = ~np.isnan(result).any(axis=1)
    if known.any():
        result[known] = calibration.probabilities(result[known])
    return result


def _calibration(
    probability: np.ndarray, gold: np.ndarray, task: Task, compared: Sequence[Scored]
) -> tuple[Calibration | None, str]:
    if task.kind is not Kind.classification:
        return None, "only the labels of a classification have probabilities that could be calibrated"
    rows, targets = probability.reshape(-1, len(task.labels)), np.tile(gold, len(probability))
    known = ~np.isnan(rows).any(axis=1)
    if not known.any():
        readouts = sorted({p.readout for run in compared for p in run.predictions.values()})
        return None, f"no answer has the likelihood of every label (readout {', '.join(readouts)})"
    rows, targets = rows[known], targets[known]
    curve = calibration.reliability(rows, targets, min(calibration.BINS, max(1, len(rows) // ROWS_OF_A_BIN)))
    return Calibration(
        answers=len(rows),
        curve=curve,
        ece=calibration.ece_of(curve),
        ece_width=calibration.ece(rows, targets),
        brier=calibration.brier(rows, targets),
        confidence=float(rows.max(axis=1).mean()),
        accuracy=float((rows.argmax(axis=1) == targets).mean()),
    ), ""


def _unreadable(compared: Sequence[Scored], ids: Sequence[str], task: Task, run: Run, name: str) -> list[Cause]:
    language = run.summary.config["datasets"][name.split(".")[0]].get("language", "en")
    answers: Counter[str] = Counter()
    found: dict[str, set[str]] = {}
    examples: dict[str, str] = {}
    for each in compared:
        for key in ids:
            prediction = each.predictions[key]
            reason = unreadable.cause(prediction, task, language, each.reader)
            if reason is not None:
                answers[reason] += 1
                found.setdefault(reason, set()).add(key)
                examples.setdefault(reason, prediction.answer or "")
    return [
        Cause(reason=reason, answers=count, clips=len(found[reason]), example=examples[reason])
        for reason, count in answers.most_common()
    ]


def _changes(
    runs: Sequence[Run],
    name: str,
    task: Task,
    row: Row,
    against: Collection[int],
    texts: Mapping[str, str],
    notes: list[str],
) -> Changes:
    other = _setting(runs, name, against, task.headline, notes, "the runs of --against")
    both = table([runs[number - 1] for number in (*row.runs, *other.runs)], name, metrics=[task.headline])
    if len(both.rows) < 2:
        raise ConfigError("--against names the setting that is analysed: name another one, which differs from it")
    pairs, alone = pairs_of_seeds(row, other)
    if not pairs:
        raise ConfigError(
            f"the two settings have no seed in common ({', '.join(map(str, row.seeds))} and"
            f" {', '.join(map(str, other.seeds))}), so that nothing is compared: run both with the same"
        )
    if alone:
        notes.append(f"left out of the comparison is {alone}, of seeds that only one side has")
    metric = headline_metric(task)
    known = {number: scored(runs[number - 1], name, task, metric) for number in dict.fromkeys(sum(pairs, ()))}
    ids = _common(list(known.values()), notes)
    gold = next(iter(known.values())).gold(ids, task)
    is_right = {number: clips.right(gold, run.read(ids, task), task) for number, run in known.items()}
    ours, theirs = ([is_right[pair[side]] for pair in pairs] for side in (0, 1))
    found = clips.changes(ours, theirs)
    groups = [next(iter(known.values())).predictions[key].group for key in ids]
    test = paired(np.ones(len(ids), dtype=bool), ours, theirs, groups, lambda one, two: float(np.mean(one == two)))
    listed: dict[str, list[Clip]] = {}
    for kind, counts, side in (("fixed", found.fixed, 1), ("broken", found.broken, 0)):
        sides = [known[pair[side]] for pair in pairs]
        probability = np.array([_probabilities(run, ids, task) for run in sides])
        shown = ListedClips(ids, gold, sides, task, texts, probability)
        listed[kind] = shown.of(np.flatnonzero(counts == found.pairs), range(len(sides)))
    return Changes(
        against=other.runs,
        pairs=pairs,
        clips=len(ids),
        right=float(np.mean(ours)),
        right_there=float(np.mean(theirs)),
        num_fixed=float(found.fixed.sum() / found.pairs),
        num_broken=float(found.broken.sum() / found.pairs),
        low=test.low,
        high=test.high,
        p=test.p,
        reason=test.reason,
        mcnemar=found.p,
        by_class=[
            Change(
                label=part.value,
                clips=int(part.inside.sum()),
                fixed=float(found.fixed[part.inside].sum() / found.pairs),
                broken=float(found.broken[part.inside].sum() / found.pairs),
            )
            for part in _classes(gold, task)
        ],
        **listed,
    )

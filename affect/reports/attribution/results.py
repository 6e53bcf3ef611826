"""The numbers of a family of runs: Shapley values, probes, and clips on which modalities disagree."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from affect.config import MODALITIES, ConfigError, Kind, Task, Value
from affect.config.tasks import HEADLINES
from affect.data import Prediction, class_balance
from affect.evaluation.attribution import Attribution, attribution, per_clip
from affect.evaluation.conflict import disagree
from affect.evaluation.metrics import headline_metric, intensity
from affect.evaluation.metrics.policies import encode, most_frequent
from affect.evaluation.metrics.registry import span
from affect.evaluation.significance import Paired, contrast, holm
from affect.reports.aggregate import numbers, summarised
from affect.reports.attribution.families import Family, trained_in
from affect.reports.attribution.reach import changed, in_words, removed, shared_ids
from affect.reports.attribution.rows import Attributed, Conflicting, Contribution, OfClass, OfClip, Reach
from affect.reports.paired_runs import scored, task_of_run
from affect.reports.settings import Run

CLIP_METRICS = {Kind.classification: "accuracy", Kind.multi_label: "subset_accuracy", Kind.intensity: "mae"}
"""Metrics that are means over clips."""


def attributed(family: Family, task_name: str, metric_name: str | None) -> Attributed:
    """The numbers of a complete family. `metric_name` is a metric of the task; None is its headline. Raises ConfigError
    where there is no such metric, and DataError where the predictions of a run are damaged or of other clips."""
    seeds = family.seeds
    assert seeds and not family.missing
    runs = {subset: [family.runs[subset][seed] for seed in seeds] for subset in family.wanted}
    [(_, first), *_] = runs[family.modalities]
    assert first.summary.metrics is not None
    task = task_of_run(first, task_name, metric_name or first.summary.metrics["tasks"][task_name]["headline"])
    if task.headline not in numbers(first, task_name) or task.headline not in HEADLINES[task.kind]:
        raise ConfigError(
            f"--metric {task.headline}: {task_name} has no such metric: choose of"
            f" {', '.join(name for name in HEADLINES[task.kind] if name in numbers(first, task_name))}"
        )
    metric = headline_metric(task)
    read = {subset: [scored(run, task_name, task, metric) for _, run in of_seeds] for subset, of_seeds in runs.items()}
    everything = [one for of_seeds in read.values() for one in of_seeds]
    ids, notes = shared_ids(everything)
    gold = everything[0].gold(ids, task)
    groups = np.array([everything[0].predictions[key].group for key in ids])
    answers = {subset: [one.read(ids, task) for one in of_seeds] for subset, of_seeds in read.items()}
    constant, none = _constant(first, task_name, task)
    nothing = encode([constant], task).repeat(len(ids), axis=0)
    with_nothing = answers | {"": [nothing] * len(seeds)}

    def of(gold: np.ndarray, values: np.ndarray) -> float:
        return metric.function(gold, values, task)

    if np.isfinite(of(gold, nothing)):
        found = attribution(family.modalities, gold, with_nothing, groups, of)
    else:
        # A correlation, which is undefined for answers that are all the same: as good as none.
        none += f"; {task.headline} is undefined for it, and counts as 0"
        found = attribution(family.modalities, gold, answers, groups, of)
    conflict = np.mean(
        [disagree([answers[letter][s] for letter in family.modalities], task) for s in range(len(seeds))], axis=0
    )
    reach = [*removed(family, read, ids, task), *changed(family, read, ids, task_name, task)]
    result = Attributed(
        task=task_name,
        model=first.summary.model,
        flavour=family.flavour.value,
        modalities=family.modalities,
        metric=task.headline,
        higher_is_better=metric.higher_is_better,
        runs={subset: [number for number, _ in of_seeds] for subset, of_seeds in runs.items()},
        seeds=seeds,
        values={
            subset: summarised([value if np.isfinite(value) else None for value in values])
            for subset, values in found.values.items()
        },
        none=none,
        contributions=_named(found),
        differences=_judged(
            [(f"{MODALITIES[one]} - {MODALITIES[other]}", value) for (one, other), value in found.differences.items()]
        ),
        classes=_by_class(family.modalities, gold, with_nothing, groups, task),
        reach=reach,
        conflicts=_conflicting(answers, gold, conflict >= 0.5, groups, of),
        clip_metric=CLIP_METRICS[task.kind],
        clips=_clips(
            [everything[0].predictions[key] for key in ids],
            family.modalities,
            gold,
            with_nothing,
            conflict,
            reach,
            task,
        ),
        notes=notes,
        class_notes=[],
    )
    result.notes += _cautions(result, family)
    result.class_notes += _without_interval(
        (f"{one.of} of {each.label}", one.value) for each in result.classes for one in each.contributions
    )
    return result


def _constant(run: Run, task_name: str, task: Task) -> tuple[Value, str]:
    """The answer that knows nothing of the clip, and what it is, in words: the most frequent label of the training
    where the run has one and has counted its labels, and otherwise what is best for the gold labels."""
    if run.training is not None and task.kind is Kind.classification:
        folder = trained_in(run)
        if (folder / class_balance.PRIORS).is_file():
            counts = class_balance.read_counts(folder, "train again").get(task_name, {})
            if any(counts.values()):
                answer = most_frequent([label for label, count in counts.items() for _ in range(count)], task)
                return answer, f"always {answer}, the most frequent label of the training"
    assert run.summary.metrics is not None
    answer = run.summary.metrics["tasks"][task_name]["majority_answer"]
    if task.kind is Kind.intensity:
        return answer, f"always {answer:g}, the median of the gold values of the scored clips"
    said = answer if task.kind is Kind.classification else ", ".join(answer) or "no label"
    return answer if task.kind is Kind.classification else tuple(answer), (
        f"always {said}, the most frequent answer to the scored clips by their gold labels"
    )


def _judged(named: Sequence[tuple[str, Paired]]) -> list[Contribution]:
    adjusted = holm([value.p for _, value in named])
    return [Contribution(of=name, value=value, holm=p) for (name, value), p in zip(named, adjusted, strict=True)]


def _named(found: Attribution) -> list[Contribution]:
    values = _judged([(MODALITIES[letter], value) for letter, value in found.modalities.items()])
    return [*values, Contribution(of="all - none", value=found.total, holm=found.total.p)]


def _by_class(
    modalities: str,
    gold: np.ndarray,
    answers: dict[str, list[np.ndarray]],
    groups: np.ndarray,
    task: Task,
) -> list[OfClass]:
    """Of a classification, the values of every class that has clips: accuracy on the clips of a class is its recall.
    Weighted by the classes' shares they add up to the values of the accuracy."""
    if task.kind is not Kind.classification:
        return []
    found = []
    for code, label in enumerate(task.labels):
        own = gold == code
        if own.any():
            of_class = {subset: [read[own] for read in of_seeds] for subset, of_seeds in answers.items()}
            values = attribution(modalities, gold[own], of_class, groups[own], lambda gold, read: (gold == read).mean())
            found.append((label, int(own.sum()), _named(values)))
    # Those of all classes stand in one block.
    adjusted = iter(holm([one.value.p for *_, (*values, _) in found for one in values]))
    return [
        OfClass(label=label, clips=clips, contributions=[*(replace(one, holm=next(adjusted)) for one in values), total])
        for label, clips, (*values, total) in found
    ]


def _clips(
    predictions: Sequence[Prediction],
    modalities: str,
    gold: np.ndarray,
    answers: Mapping[str, Sequence[np.ndarray]],
    conflict: np.ndarray,
    reach: Sequence[Reach],
    task: Task,
) -> list[OfClip]:
    values = per_clip(modalities, gold, answers, lambda gold, read: _of_clips(gold, read, task))
    return [
        OfClip(
            id=prediction.id,
            group=prediction.group,
            gold=prediction.target,  # type: ignore[arg-type]
            conflict=float(conflict[place]),
            contributions=dict(zip(modalities, values[:, place].tolist(), strict=True)),
            shifts={each.removed: each.probe.by_clip[place] for each in reach},
        )
        for place, prediction in enumerate(predictions)
    ]


def _of_clips(gold: np.ndarray, read: np.ndarray, task: Task) -> np.ndarray:
    """float64[N]: what each clip adds to the mean that CLIP_METRICS names."""
    if task.kind is Kind.intensity:
        return np.abs(np.where(np.isnan(read), intensity.worst(gold, *span(task)), read) - gold)
    return (gold == read).reshape(len(gold), -1).all(axis=1).astype(np.float64)


def _conflicting(
    answers: Mapping[str, Sequence[np.ndarray]],
    gold: np.ndarray,
    conflict: np.ndarray,
    groups: np.ndarray,
    metric: Callable[[np.ndarray, np.ndarray], float],
) -> list[Conflicting]:
    """For every subset, the largest first; none where no clip is in conflict, or every one."""
    if conflict.all() or not conflict.any():
        return []

    def on(read: np.ndarray, rows: np.ndarray) -> float | None:
        value = metric(gold[rows], read[rows])
        return float(value) if np.isfinite(value) else None

    return [
        Conflicting(
            modalities=subset,
            conflict=int(conflict.sum()),
            rest=int((~conflict).sum()),
            on_conflict=summarised([on(read, conflict) for read in answers[subset]]),
            on_rest=summarised([on(read, ~conflict) for read in answers[subset]]),
            difference=contrast(gold, answers[subset], conflict, groups, metric),
        )
        for subset in sorted(answers, key=len, reverse=True)
    ]


def _cautions(result: Attributed, family: Family) -> list[str]:
    """What has to be known beside the numbers."""
    notes = list(family.notes)
    if left := sorted({seed for runs in family.runs.values() for seed in runs} - set(result.seeds)):
        notes.append(f"left out are the seeds {', '.join(map(str, left))}, which not every subset has")
    notes += _without_interval(
        [
            *((one.of, one.value) for one in (*result.contributions, *result.differences)),
            *((f"shift with {each.removed} changed", each.probe.gain) for each in result.reach if each.probe.gain),
            *((f"clips in conflict with {each.modalities}", each.difference) for each in result.conflicts),
        ]
    )
    if not result.conflicts:
        notes.append("no clips in conflict beside others: the single modalities agree on all clips, or on none")
    if len(result.seeds) == 1:
        notes.append("a single seed, so that intervals are over groups of clips alone, and say nothing of other seeds")
    notes += [in_words(each.removed, each.probe) for each in result.reach if not each.probe.moved]
    prompting = family.anchor[1].summary.config["prompting"]
    if prompting.get("descriptions") and prompting.get("descriptions_without_media"):
        notes.append(
            "descriptions of a removed modality stay in the prompt (prompting.descriptions_without_media), so that the"
            " values are of sound and picture alone, and not of what is told of them"
        )
    return notes


def _without_interval(named: Iterable[tuple[str, Paired]]) -> list[str]:
    """A note for every reason why values have no interval."""
    by_reason: dict[str, list[str]] = {}
    for name, value in named:
        if value.reason:
            by_reason.setdefault(value.reason, []).append(name)
    return [f"{', '.join(names)}: no interval, since {reason}" for reason, names in by_reason.items()]

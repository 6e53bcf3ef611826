"""How far answers move when a modality is removed or changed, from pairs of runs."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from affect.config import MODALITIES, DataError, Task
from affect.data import Prediction
from affect.evaluation.metrics import headline_metric
from affect.evaluation.probe import Probe, probe
from affect.reports.attribution.families import Family, Flavour, alike, intervention, letters, trained_in
from affect.reports.attribution.rows import Reach
from affect.reports.collect import load
from affect.reports.paired_runs import Scored, check_same_clips, scored, task_of_run
from affect.reports.settings import Run


def shared_ids(everything: Sequence[Scored]) -> tuple[list[str], list[str]]:
    """The ids of the clips that all runs have scored, and a note where some have more."""
    ids = sorted(set.intersection(*(set(one.predictions) for one in everything)))
    if not ids:
        names = ", ".join(dict.fromkeys(one.name for one in everything))
        raise DataError(f"{names} have no clip in common: evaluate every subset on the same split and subset of clips")
    check_same_clips(everything, ids)
    most = max(len(one.predictions) for one in everything)
    if most == len(ids):
        return ids, []
    return ids, [f"computed on the {len(ids):,} clips that all runs have scored, of up to {most:,}"]


def _of(one: Scored, ids: Sequence[str]) -> list[Prediction]:
    return [one.predictions[key] for key in ids]


def removed(family: Family, read: dict[str, list[Scored]], ids: Sequence[str], task: Task) -> list[Reach]:
    """Where one model answers with and without a modality; two models differ in more than that."""
    if family.flavour is Flavour.trained:
        return []
    whole = [_of(one, ids) for one in read[family.modalities]]
    return [
        Reach(
            removed=MODALITIES[letter],
            probe=probe(whole, [_of(one, ids) for one in read[family.modalities.replace(letter, "")]], task),
        )
        for letter in family.modalities
    ]


def changed(
    family: Family, read: dict[str, list[Scored]], ids: Sequence[str], task_name: str, task: Task
) -> list[Reach]:
    reach = []
    for name, by_seed in family.changed.items():
        both = [
            (one, scored(by_seed[seed][1], task_name, task, headline_metric(task)))
            for seed, one in zip(family.seeds, read[family.modalities], strict=True)
            if seed in by_seed
        ]
        shared = [key for key in ids if all(key in other.predictions for _, other in both)]
        if shared:  # a run on other clips says nothing of these
            sides = [[_of(side, shared) for side in sides] for sides in zip(*both, strict=True)]
            found = probe(sides[0], sides[1], task)
            by_clip = dict(zip(shared, found.by_clip, strict=True))
            reach.append(Reach(removed=name, probe=replace(found, by_clip=[by_clip.get(key) for key in ids])))
    return reach


def reached(run: Run) -> list[str]:
    """Of an evaluation of a trained model without one of its modalities, or with an intervention, a sentence for each
    task about how far the answers move against those in the folder of the training."""
    name = intervention(run.summary.config)
    if run.training is None or run.training is run.summary.config:
        return []
    left_out = set(letters(run.training)) - set(letters(run.summary.config))
    folder = trained_in(run)
    if bool(left_out) is bool(name) or not (folder / "predictions.jsonl").is_file():
        return []
    name = name or " and ".join(word for letter, word in MODALITIES.items() if letter in left_out)
    loaded, sentences = load([folder])
    assert run.summary.metrics is not None
    # No run is loaded where the folder is damaged, which is told.
    for whole, task_name in product(loaded, run.summary.metrics["tasks"]):
        if not whole.counts or not alike(run, whole, task_name):
            continue
        task = task_of_run(run, task_name, run.summary.metrics["tasks"][task_name]["headline"])
        try:
            one, other = (scored(each, task_name, task, headline_metric(task)) for each in (whole, run))
            ids, _ = shared_ids([one, other])
        except DataError as error:
            sentences.append(str(error))
            continue
        sentences.append(f"{task_name}: {in_words(name, probe([_of(one, ids)], [_of(other, ids)], task))}")
    return sentences


def in_words(changed: str, found: Probe) -> str:
    """What a probe says; `changed` is what was removed, or the intervention."""
    names = changed.split(" and ")
    reaches = "reach" if names[1:] else "reaches"
    if not set(names) <= {*MODALITIES.values()}:
        subject = f"with {changed}"
    else:
        subject = f"{changed} {reaches if found.moved else f'never {reaches}'} the answers:"
    if not found.moved:
        return f"{subject} of {found.clips:,} clips none moves"
    median = "" if found.median is None else f", median shift {found.median:.3g} {found.unit}"
    return (
        f"{subject} {found.moved:.1%} of {found.clips:,} clips move{median}, and {found.changed:.1%} get another answer"
    )

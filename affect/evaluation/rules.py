"""Rules that span the fields of evaluation and target."""

from collections.abc import Iterator

from affect.config import Calibration, Config, Kind, Readout, Target, chosen_tasks

MOST_LABELS = 10
"""Of a multi-label task of which every combination can be written: 1,024 of them."""


def readout_conflicts(cfg: Config, program: str) -> Iterator[str]:
    """What is read has to be what was learnt."""
    evaluation, tasks = cfg.evaluation, chosen_tasks(cfg)
    readouts = {
        f"evaluation.{'intensity_readout' if task.kind is Kind.intensity else 'readout'}": (
            evaluation.intensity_readout if task.kind is Kind.intensity else evaluation.readout
        ).value
        for task in tasks
    }
    learns_head = cfg.finetuning.target is Target.head and (program == "train" or cfg.run is not None)
    for key, readout in readouts.items():
        if readout == Readout.head.value and not learns_head:
            whence = "a model that is not fine-tuned has none" if cfg.run is None else "this run has none"
            yield (
                f"{key}=head reads a layer that finetuning.target=head trains, and {whence}: choose evaluation=score,"
                " or train with finetuning.target=head"
                if program == "evaluate"
                else f"{key}=head, but finetuning.target=answer trains no head: set finetuning.target=head, or choose"
                " evaluation=score"
            )
        elif readout != Readout.head.value and learns_head:
            yield (
                f"finetuning.target=head teaches no words, but {key}={readout} reads them: choose evaluation=head, or"
                " finetuning.target=answer"
            )
    for task in tasks:
        constrained = task.kind is Kind.multi_label and evaluation.readout is Readout.constrained
        if constrained and len(task.labels) > MOST_LABELS:
            yield (
                f"evaluation.readout=constrained knows every combination of labels, and task '{task.name}' has"
                f" {len(task.labels)} labels, more than {MOST_LABELS}: set evaluation.readout=generate"
            )
    if cfg.finetuning.target is Target.head and cfg.prompting.cot and learns_head:
        yield (
            "prompting.cot=true asks for reasons before the answer, but finetuning.target=head answers where the prompt"
            " ends: set prompting.cot=false, or finetuning.target=answer"
        )
    if evaluation.calibration is Calibration.contextual:
        if evaluation.readout is not Readout.score or not any(t.kind is Kind.classification for t in tasks):
            why = (
                f"evaluation.readout={evaluation.readout.value} has none"
                if evaluation.readout is not Readout.score
                else "no task that is chosen is a classification"
            )
            yield (
                f"evaluation.calibration=contextual corrects the scores of labels, but {why}: set"
                " evaluation.calibration=none, or evaluation.readout=score and a classification"
            )
        elif evaluation.logit_adjustment:
            yield (
                f"evaluation.calibration=contextual and evaluation.logit_adjustment={evaluation.logit_adjustment:g}"
                " both take out what a model likes to say whatever it is shown: set one of them to its default (none,"
                " 0)"
            )

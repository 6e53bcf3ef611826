"""Evaluates a model zero-shot, or the best checkpoint of a training run: evaluate.py run=outputs/…"""

from affect.cli.entry import entry
from affect.config import Config


@entry("evaluate", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    # Annotations are read before torch is imported: what is wrong with them is said in a second.
    from affect.data import class_balance, loading

    # Few-shot examples come from the training split.
    parts = loading.read(cfg, [*(["train"] if cfg.prompting.fewshot.k else []), cfg.evaluation.split])
    classes = class_balance.of_evaluation(cfg)

    import lightning as L

    from affect.cli import steps
    from affect.cli.prepared import Prepared
    from affect.config.logs import is_first
    from affect.data.duplicates import compare_contents
    from affect.knowledge import attach, changed_texts, transcripts
    from affect.models import settle
    from affect.runs import run_folder
    from affect.runs.lifecycle import running
    from affect.training import datamodule, distributed, memory, trainer, usable_clips
    from affect.training.wandb_logger import open as tracked

    trainer.check_devices(cfg)
    folder = run_folder.create(cfg, "evaluate", job_folder)
    with running(folder) as stop, tracked(cfg, folder, "evaluate", job_folder) as tracker:
        source = usable_clips.exclude_unusable([part for part in parts if part.split == cfg.evaluation.split], cfg)
        compare_contents(parts, cfg)
        recognised = transcripts.attach(parts, cfg)
        described = attach.attach(parts, cfg)
        recognised = changed_texts.change_texts(parts, cfg, recognised)
        recognised.write(folder)
        class_balance.keep(folder, classes)
        ready = Prepared(cfg=cfg, folder=folder, parts=parts, source=source, described=described, classes=classes)
        # Making descriptions draws random numbers, and another run finds them made.
        L.seed_everything(cfg.seed, verbose=False)
        with (
            distributed.spread(cfg, folder),
            memory.explained(cfg),
            steps.method(cfg).to_evaluate(ready) as (learner, examples),
        ):
            clips = datamodule.ClipData(examples, learner, cfg)
            module = steps.module(learner, cfg, classes, recognised.of_datasets())
            trainer.build(cfg, folder, stop, tracker).test(module, clips, verbose=False)
        if is_first():
            steps.finish(folder, cfg, parts, module, tracker)
            settle(learner.module)

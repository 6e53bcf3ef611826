"""Trains a multimodal language model, or a baseline, on one or several datasets, then evaluates the best checkpoint."""

from affect.cli.entry import entry
from affect.config import Config


@entry("train", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    # Annotations are read before torch is imported: what is wrong with them is said in a second.
    from affect.data import loading

    parts = loading.read(cfg, list(dict.fromkeys(["train", "val", cfg.evaluation.split])))

    import lightning as L

    from affect.cli import steps
    from affect.cli.prepared import Prepared
    from affect.config.logs import is_first
    from affect.data import class_balance
    from affect.data.duplicates import compare_contents
    from affect.knowledge import attach, transcripts
    from affect.models import checkpoint
    from affect.runs import run_data, run_folder
    from affect.runs.lifecycle import running
    from affect.training import checkpointing, datamodule, distributed, fitting, memory, trainer, usable_clips
    from affect.training.wandb_logger import open as tracked

    trainer.check_devices(cfg)
    folder = run_folder.create(cfg, "train", job_folder)
    with running(folder) as stop, tracked(cfg, folder, "train", job_folder) as tracker:
        source = usable_clips.exclude_unusable(parts, cfg)
        contents = compare_contents(parts, cfg)
        recognised = transcripts.attach(parts, cfg)
        recognised.write(folder)
        described = attach.attach(parts, cfg)
        begin = checkpointing.START
        if run_folder.was_resumed(folder):
            run_data.check_same_data(folder, parts, contents)
            begin = checkpointing.position(folder)
        run_data.write_clips(folder, cfg, parts, contents)
        run_data.write_data(folder, parts, {})
        classes = class_balance.of_training(folder, parts, cfg)
        ready = Prepared(cfg=cfg, folder=folder, parts=parts, source=source, described=described, classes=classes)
        # Making descriptions draws random numbers, and another run finds them made.
        L.seed_everything(cfg.seed, verbose=False)
        with (
            distributed.spread(cfg, folder),
            memory.explained(cfg),
            steps.method(cfg).to_train(ready, begin) as (learner, examples),
        ):
            clips = datamodule.ClipData(examples, learner, cfg, begin.epoch, begin.batches, classes.sampling)
            module = steps.module(learner, cfg, classes, recognised.of_datasets())
            lightning = trainer.build(cfg, folder, stop, tracker, begin.step)
            module.train()
            last = None if begin == checkpointing.START else folder / checkpointing.LAST
            fitting.fit(lightning, module, clips, folder, last)
            validation = checkpoint.load_best(module.load, folder)
            lightning.test(module, clips, verbose=False)
        if is_first():
            steps.finish(folder, cfg, parts, module, tracker, validation)

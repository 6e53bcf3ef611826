"""Fine-tunes a multimodal language model on one or several datasets, then evaluates the best checkpoint."""

from affect.cli.program import entry
from affect.config import Config


@entry("train", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    # Annotations are read before torch is imported: what is wrong with them is said in a second.
    from affect.data import loading

    parts = loading.read(cfg, list(dict.fromkeys(["train", "val", cfg.evaluation.split])))

    import lightning as L

    from affect.cli import steps
    from affect.config import Target, chosen_tasks
    from affect.config.logs import is_first
    from affect.data import class_balance
    from affect.data.duplicates import compare_contents
    from affect.knowledge import attach, audit
    from affect.models import adapters, checkpoint, encoder_cache, heads, precision, weights_cache
    from affect.reports.console import print_alignment, print_towers
    from affect.runs import run_folder
    from affect.runs.lifecycle import running
    from affect.training import alignment, checkpointing, datamodule, distributed, memory, trainer, usable_clips
    from affect.training.wandb_logger import open as tracked

    folder = run_folder.create(cfg, "train", job_folder)
    with running(folder) as stop, tracked(cfg, folder, "train", job_folder) as tracker:
        source = usable_clips.exclude_unusable(parts, cfg)
        contents = compare_contents(parts, cfg)
        described = attach.attach(parts, cfg)
        if run_folder.was_resumed(folder):
            run_folder.check_same_data(folder, parts, contents)
        run_folder.write_clips(folder, cfg, parts, contents)
        run_folder.write_data(folder, parts, {})
        classes = class_balance.of_training(folder, parts, cfg)
        # After descriptions may have been made, which another run finds made.
        L.seed_everything(cfg.seed, verbose=False)
        with distributed.spread(cfg, folder), memory.explained(cfg), weights_cache.borrowed(cfg) as (model, encoder):
            if cfg.finetuning.target is Target.head:
                heads.attach(model, chosen_tasks(cfg))
            begin = checkpointing.position(folder) if run_folder.was_resumed(folder) else checkpointing.START
            how = {"device": precision.device(cfg.trainer), "restored": begin != checkpointing.START}
            print_towers(adapters.apply(model, cfg.finetuning, **how))
            steps.say_tokens(encoder, cfg)
            by_split = steps.examples_by_split(parts, {part.split for part in parts}, cfg, encoder)
            audit.write(folder, described, parts, by_split, encoder.count_text, cfg)
            memory.prepare(model, encoder, by_split["train"], cfg, source)
            outputs = encoder_cache.prepare(model, encoder, by_split, cfg, source)
            if begin == checkpointing.START and model.new and cfg.finetuning.alignment_epochs:
                print_alignment(
                    alignment.align(model, encoder, by_split["train"], by_split["val"], cfg, source, outputs)
                )
            clips = datamodule.ClipData(
                by_split, encoder, cfg, begin.epoch, begin.batches, classes.sampling, source, outputs
            )
            supervised = steps.module(model, encoder, cfg, classes)
            lightning = trainer.build(cfg, folder, stop, tracker, begin.step)
            supervised.train()
            last = None if begin == checkpointing.START else folder / checkpointing.LAST
            lightning.fit(supervised, clips, ckpt_path=last, weights_only=True)

            validation = checkpoint.load_best(model, folder)
            lightning.test(supervised, clips, verbose=False)
        if is_first():
            steps.finish(folder, cfg, parts, supervised, tracker, validation)

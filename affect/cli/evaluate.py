"""Evaluates a model zero-shot, or the best checkpoint of a training run: evaluate.py run=outputs/…"""

from affect.cli.program import entry
from affect.config import Config


@entry("evaluate", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    # Annotations are read before torch is imported: what is wrong with them is said in a second.
    from affect.data import class_balance, loading

    # Few-shot examples come from the training split.
    parts = loading.read(cfg, [*(["train"] if cfg.prompting.fewshot.k else []), cfg.evaluation.split])
    classes = class_balance.of_evaluation(cfg)

    from pathlib import Path

    import lightning as L

    from affect.cli import steps
    from affect.config import Target, chosen_tasks
    from affect.config.logs import is_first
    from affect.data.duplicates import compare_contents
    from affect.knowledge import attach, audit
    from affect.models import checkpoint, encoder_cache, heads, settle, weights_cache
    from affect.runs import inherit, run_folder
    from affect.runs.lifecycle import running
    from affect.training import datamodule, distributed, memory, trainer, usable_clips, wandb_logger

    folder = run_folder.create(cfg, "evaluate", job_folder)
    with running(folder) as stop, wandb_logger.open(cfg, folder, "evaluate", job_folder) as tracker:
        evaluated = [part for part in parts if part.split == cfg.evaluation.split]
        source = usable_clips.exclude_unusable(evaluated, cfg)
        compare_contents(parts, cfg)
        described = attach.attach(parts, cfg)
        class_balance.keep(folder, classes)
        # A model trained with more modalities than it is evaluated with keeps the towers of all it was trained with.
        trained = "" if cfg.run is None else run_folder.read(Path(cfg.run)).config["modalities"]
        letters = "".join(m for m in "tav" if m in trained + cfg.modalities)
        # After descriptions may have been made, which another run finds made.
        L.seed_everything(cfg.seed, verbose=False)
        with (
            distributed.spread(cfg, folder),
            memory.explained(cfg),
            weights_cache.borrowed(cfg, letters) as (model, encoder),
        ):
            if cfg.run is not None:
                checkpoint.restore(model, cfg.finetuning, Path(cfg.run), inherit.trained_tasks(Path(cfg.run)))
                if cfg.finetuning.target is Target.head:
                    heads.check(model, chosen_tasks(cfg), cfg.run)
            steps.say_tokens(encoder, cfg)
            examples = steps.examples_by_split(parts, [cfg.evaluation.split], cfg, encoder)
            audit.write(folder, described, evaluated, examples, encoder.count_text, cfg)
            outputs = encoder_cache.prepare(model, encoder, examples, cfg, source)
            clips = datamodule.ClipData(examples, encoder, cfg, source=source, outputs=outputs)
            supervised = steps.module(model, encoder, cfg, classes)
            trainer.build(cfg, folder, stop, tracker).test(supervised, clips, verbose=False)
        if is_first():
            steps.finish(folder, cfg, parts, supervised, tracker)
            settle(model)

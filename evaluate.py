"""Evaluates a model zero-shot, or the best checkpoint of a training run: evaluate.py run=outputs/…"""

from affect import interrupts  # noqa: F401  (first: the others take a second, in which Ctrl-C is a sentence too)
from affect.config import Config
from affect.entry import entry


@entry("evaluate", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    # Annotations are read before torch is imported: what is wrong with them is said in a second.
    from affect import imbalance, splits

    # Few-shot examples come from the training split.
    parts = splits.read(cfg, [*(["train"] if cfg.prompting.fewshot.k else []), cfg.evaluation.split])
    classes = imbalance.of_evaluation(cfg)

    from functools import partial
    from pathlib import Path

    import lightning as L

    from affect import adapters, data, encoded, heads, inherit, memory, processes, run, tracking, trainer
    from affect.atomic import write_json
    from affect.config import Target, chosen_tasks, media_of
    from affect.duplicates import compare_contents
    from affect.knowledge import account, attach
    from affect.lifetime import is_first, running, say
    from affect.metrics.summary import summarise
    from affect.models import describe, keep, settle
    from affect.module import Supervised
    from affect.report.table import print_results

    folder = run.create(cfg, "evaluate", job_folder)
    with running(folder) as stop, tracking.open(cfg, folder, "evaluate", job_folder) as tracker:
        evaluated = [part for part in parts if part.split == cfg.evaluation.split]
        source = data.exclude_unusable(evaluated, cfg)
        compare_contents(parts, cfg)
        described = attach.attach(parts, cfg)
        imbalance.keep(folder, classes)
        # A model trained with more modalities than it is evaluated with keeps the towers of all it was trained with.
        trained = "" if cfg.run is None else run.read(Path(cfg.run)).config["modalities"]
        letters = "".join(m for m in "tav" if m in trained + cfg.modalities)
        # After descriptions may have been made, which another run finds made.
        L.seed_everything(cfg.seed, verbose=False)
        with processes.spread(cfg, folder), memory.explained(cfg), keep.borrowed(cfg, letters) as (model, encoder):
            if cfg.run is not None:
                if cfg.finetuning.target is Target.head:
                    heads.attach(model, inherit.trained_tasks(Path(cfg.run)))
                    heads.check(model, chosen_tasks(cfg), cfg.run)
                adapters.apply(model, cfg.finetuning, restored=True)
                trainer.load_best(model, Path(cfg.run))
            for sentence in describe.in_words(encoder, cfg.model, cfg.modalities) if is_first() else []:
                say(sentence)

            examples = {
                cfg.evaluation.split: data.examples(parts, cfg.evaluation.split, cfg, encoder, labelled_only=False)
            }
            account.write(folder, described, evaluated, examples, encoder.count_text, cfg)
            outputs = encoded.prepare(model, encoder, examples, cfg, source)
            clips = data.ClipData(examples, encoder, cfg, source=source, outputs=outputs)
            summary = partial(summarise, datasets=cfg.datasets, evaluation=cfg.evaluation, media=media_of(cfg))
            supervised = Supervised(model, encoder, cfg.finetuning, cfg.evaluation, summary, classes)
            trainer.build(cfg, folder, stop, tracker).test(supervised, clips, verbose=False)
            predictions, lost = supervised.tested, supervised.lost
        if is_first():
            found = summary(predictions, expected=run.expected(parts, cfg.evaluation.split))
            run.write_results(folder, cfg, parts, predictions, found, lost)
            if supervised.content_free is not None and supervised.content_free.known:
                write_json(folder / "content_free.json", supervised.content_free.table())
            tracker.results(found, predictions, {record.id: record for part in parts for record in part.records})
            print_results([run.read(folder)])
            run.check_answered(folder, predictions)
            settle(model)


if __name__ == "__main__":
    main()

"""Fine-tunes a multimodal language model on one or several datasets, then evaluates the best checkpoint."""

from affect import interrupts  # noqa: F401  (first: the others take a second, in which Ctrl-C is a sentence too)
from affect.config import Config
from affect.entry import entry


@entry("train", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    # Annotations are read before torch is imported: what is wrong with them is said in a second.
    from affect import splits

    parts = splits.read(cfg, list(dict.fromkeys(["train", "val", cfg.evaluation.split])))

    from functools import partial

    import lightning as L

    from affect import adapters, alignment, data, encoded, heads, imbalance, memory, processes, resume, run, trainer
    from affect.atomic import write_json
    from affect.config import Target, chosen_tasks, media_of
    from affect.duplicates import compare_contents
    from affect.knowledge import account, attach
    from affect.lifetime import is_first, running, say
    from affect.metrics.summary import summarise
    from affect.models import describe, keep, precision
    from affect.module import Supervised
    from affect.report.table import print_alignment, print_results, print_towers
    from affect.tracking import open as tracked

    folder = run.create(cfg, "train", job_folder)
    with running(folder) as stop, tracked(cfg, folder, "train", job_folder) as tracker:
        source = data.exclude_unusable(parts, cfg)
        contents = compare_contents(parts, cfg)
        described = attach.attach(parts, cfg)
        if run.was_resumed(folder):
            run.check_same_data(folder, parts, contents)
        run.write_clips(folder, cfg, parts, contents)
        run.write_data(folder, parts, {})
        classes = imbalance.of_training(folder, parts, cfg)
        # After descriptions may have been made, which another run finds made.
        L.seed_everything(cfg.seed, verbose=False)
        with processes.spread(cfg, folder), memory.explained(cfg), keep.borrowed(cfg) as (model, encoder):
            if cfg.finetuning.target is Target.head:
                heads.attach(model, chosen_tasks(cfg))
            begin = resume.position(folder) if run.was_resumed(folder) else resume.START
            how = {"device": precision.device(cfg.trainer), "restored": begin != resume.START}
            print_towers(adapters.apply(model, cfg.finetuning, **how))
            for sentence in describe.in_words(encoder, cfg.model, cfg.modalities) if is_first() else []:
                say(sentence)
            by_split = {
                s: data.examples(parts, s, cfg, encoder, labelled_only=s == "train") for s in {p.split for p in parts}
            }
            account.write(folder, described, parts, by_split, encoder.count_text, cfg)
            memory.prepare(model, encoder, by_split["train"], cfg, source)
            outputs = encoded.prepare(model, encoder, by_split, cfg, source)
            if begin == resume.START and model.new and cfg.finetuning.alignment_epochs:
                print_alignment(
                    alignment.align(model, encoder, by_split["train"], by_split["val"], cfg, source, outputs)
                )
            clips = data.ClipData(by_split, encoder, cfg, begin.epoch, begin.batches, classes.sampling, source, outputs)
            summary = partial(summarise, datasets=cfg.datasets, evaluation=cfg.evaluation, media=media_of(cfg))
            supervised = Supervised(model, encoder, cfg.finetuning, cfg.evaluation, summary, classes)
            lightning = trainer.build(cfg, folder, stop, tracker, begin.step)
            supervised.train()
            last = None if begin == resume.START else folder / resume.LAST
            lightning.fit(supervised, clips, ckpt_path=last, weights_only=True)

            validation = trainer.load_best(model, folder)
            lightning.test(supervised, clips, verbose=False)
            predictions, lost = supervised.tested, supervised.lost
        if is_first():
            found = summary(predictions, expected=run.expected(parts, cfg.evaluation.split))
            run.write_results(folder, cfg, parts, predictions, found, lost, validation)
            if supervised.content_free is not None and supervised.content_free.known:
                write_json(folder / "content_free.json", supervised.content_free.table())
            tracker.results(found, predictions, {record.id: record for part in parts for record in part.records})
            print_results([run.read(folder)])
            run.check_answered(folder, predictions)


if __name__ == "__main__":
    main()

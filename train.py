"""Fine-tunes a multimodal language model on one or several datasets, then evaluates the best checkpoint."""

from affect.config import Config
from affect.entry import entry


@entry("train", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    # Annotations are read before torch is imported: what is wrong with them is said in a second.
    from affect import splits

    parts = splits.read(cfg, list(dict.fromkeys(["train", "val", cfg.evaluation.split])))

    from functools import partial
    from pathlib import Path

    import lightning as L

    from affect import adapters, alignment, data, models, run, trainer
    from affect.metrics.summary import summarise
    from affect.module import Supervised
    from affect.report.table import print_alignment, print_results, print_towers

    folder = run.create(cfg, "train", job_folder)
    with run.running(folder):
        L.seed_everything(cfg.seed, verbose=False)
        data.exclude_unusable(parts, cfg)
        model, encoder = models.load(cfg.model, modalities=cfg.modalities, cache_root=Path(cfg.cache_root).expanduser())
        print_towers(adapters.apply(model, cfg.finetuning))

        by_split = {
            s: data.examples(parts, s, cfg, encoder, labelled_only=s == "train") for s in {p.split for p in parts}
        }
        if model.new and cfg.finetuning.alignment_epochs:
            print_alignment(alignment.align(model, encoder, by_split["train"], by_split["val"], cfg))
        clips = data.ClipData(by_split, encoder, cfg)
        summary = partial(summarise, datasets=cfg.datasets, evaluation=cfg.evaluation)
        supervised = Supervised(model, encoder, cfg.finetuning, cfg.evaluation, summary)
        lightning = trainer.build(cfg, folder)
        supervised.train()
        lightning.fit(supervised, clips)

        trainer.load_best(model, folder)
        lightning.test(supervised, clips, verbose=False)
        predictions = supervised.predictions.gathered()
        run.write_results(folder, cfg, parts, predictions, summary(predictions), supervised.lost)
        print_results([run.read(folder)])


if __name__ == "__main__":
    main()

"""Writes a fine-tuned model for others: python -m affect.export run=outputs/… [export_as=adapter]"""

from affect import interrupts  # noqa: F401  (first: the others take a second, in which Ctrl-C is a sentence too)
from affect.config import Config
from affect.entry import entry


@entry("export", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    import shutil
    from pathlib import Path

    from affect import clip_rows, run
    from affect.config import ConfigError, ExportAs, Target

    assert cfg.run is not None, "a rule refuses it"
    folder = Path(cfg.run)
    if run.program_of(folder) != "train":
        trained = run.read(folder).config["run"]
        raise ConfigError(
            f"run={folder} is an evaluation, which has no weights of its own: name the training,"
            f" run={trained or 'outputs/…'}"
        )
    target = folder / f"export_{cfg.export_as.value}" if cfg.export_folder is None else Path(cfg.export_folder)
    if target.exists():
        raise ConfigError(f"export_folder={target} is there already: name another, or remove it")

    from affect import adapters, heads, inherit, models, trainer
    from affect.export import card, weights
    from affect.report.table import print_towers

    # The towers it was trained with, whatever modalities are given here.
    modalities = run.read(folder).config["modalities"]
    cache_root = Path(cfg.cache_root).expanduser()
    model, encoder = models.load(cfg.model, modalities=modalities, cache_root=cache_root)
    if cfg.finetuning.target is Target.head:
        heads.attach(model, inherit.trained_tasks(folder))
    counts = adapters.apply(model, cfg.finetuning, restored=True)
    print_towers(counts)
    trainer.load_best(model, folder)
    model.eval()
    if cfg.export_as is ExportAs.merged:
        weights.merge(model, cfg, modalities)
    with weights.new_folder(target, weights.needed(model, cfg)) as made:
        card.write_prompts(made, cfg, encoder, modalities)
        if cfg.export_as is ExportAs.adapter:
            weights.write_adapter(made, model, encoder, cfg, modalities)
        else:
            weights.write_merged(made, model, encoder, cfg, modalities)
        if cfg.finetuning.target is Target.head:
            weights.write_heads(made, model, inherit.trained_tasks(folder))
        if (folder / clip_rows.FILE).is_file():  # so that the model is not tested on them under a new name
            shutil.copyfile(folder / clip_rows.FILE, made / clip_rows.FILE)
        said = weights.serving_in_words(model, cfg)
        card.write(made, cfg, folder, model, counts, modalities)
    if said:
        print(said)
    print(f"{target} written: its README.md says how it is loaded, and what it was trained and tested on")


if __name__ == "__main__":
    main()

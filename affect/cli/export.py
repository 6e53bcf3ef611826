"""Writes a fine-tuned model for others: affect export run=outputs/… [export_as=adapter]"""

from affect.cli.entry import entry
from affect.config import Config


@entry("export", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    import shutil
    from pathlib import Path

    from affect.config import ConfigError, ExportAs, Target
    from affect.data import clip_rows
    from affect.runs import run_environment, run_summary

    assert cfg.run is not None, "a rule refuses it"
    folder = Path(cfg.run)
    if run_environment.program_of(folder) != "train":
        trained = run_summary.read(folder).config["run"]
        raise ConfigError(
            f"run={folder} is an evaluation, which has no weights of its own: name the training,"
            f" run={trained or 'outputs/…'}"
        )
    target = folder / f"export_{cfg.export_as.value}" if cfg.export_folder is None else Path(cfg.export_folder)
    if target.exists():
        raise ConfigError(f"export_folder={target} is there already: name another, or remove it")

    from affect import models
    from affect.models import checkpoint
    from affect.reports.console import print_towers
    from affect.runs import inherit
    from affect.training.export import card, weights

    # Those of the training, not of this command line.
    modalities = run_summary.read(folder).config["modalities"]
    cache_root = Path(cfg.cache_root).expanduser()
    model, encoder = models.load(cfg.model, modalities=modalities, cache_root=cache_root)
    counts = checkpoint.restore(model, cfg.finetuning, folder, inherit.trained_tasks(folder))
    print_towers(counts)
    model.eval()
    if cfg.export_as is ExportAs.merged:
        weights.merge(model, cfg, modalities)
    with weights.new_folder(target, weights.needed(model, cfg)) as new_folder:
        card.write_prompts(new_folder, cfg, encoder, modalities)
        if cfg.export_as is ExportAs.adapter:
            weights.write_adapter(new_folder, model, encoder, cfg, modalities)
        else:
            weights.write_merged(new_folder, model, encoder, cfg, modalities)
        if cfg.finetuning.target is Target.head:
            weights.write_heads(new_folder, model, inherit.trained_tasks(folder))
        if (folder / clip_rows.FILE).is_file():  # so that the model is not tested on them under a new name
            shutil.copyfile(folder / clip_rows.FILE, new_folder / clip_rows.FILE)
        serving = weights.serving_in_words(model, cfg)
        card.write(new_folder, cfg, folder, model, counts, modalities)
    if serving:
        print(serving)
    print(f"{target} written: its README.md says how it is loaded, and what it was trained and tested on")

"""What a run of a configuration would do, for dry_run=true."""

from affect.baselines.reads import in_words
from affect.config import BaselineConfig, Config, NetworkConfig, ServerConfig
from affect.config.finetuning import TOWERS
from affect.config.schema import intervention_of


def plan(cfg: Config, program: str) -> str:
    """What a run of this configuration would do, for dry_run."""
    return f"{program}: {PLANS.get(program, _plan_run)(cfg)}\nThe configuration is sound; nothing was run."


def _plan_doctor(cfg: Config) -> str:
    roots = ", ".join(f"{name} in {dataset.root}" for name, dataset in cfg.datasets.items())
    return f"{roots}, modalities={cfg.modalities}"


def _plan_knowledge(cfg: Config) -> str:
    sources = " and ".join(source.value for source in (cfg.knowledge.source, *cfg.knowledge.also))
    share = "" if cfg.knowledge.shard is None else f", share {cfg.knowledge.shard}"
    return f"{sources} on {', '.join(cfg.datasets)}, {' and '.join(cfg.knowledge.splits)}{share}"


def _plan_quality(cfg: Config) -> str:
    splits = cfg.knowledge.splits if cfg.run is None else [cfg.evaluation.split]
    judge = f", rated by {cfg.model.served}" if cfg.judge and isinstance(cfg.model, ServerConfig) else ""
    return f"descriptions of {', '.join(cfg.datasets)}, {' and '.join(splits)}{judge}"


def _plan_transcribe(cfg: Config) -> str:
    splits = " and ".join(cfg.transcription.splits) or "all splits"
    return f"{cfg.transcription.model} on {', '.join(cfg.datasets)}, {splits}"


def _plan_export(cfg: Config) -> str:
    return f"{cfg.export_as.value} of {cfg.run}"


def _plan_run(cfg: Config) -> str:
    changed = "" if (intervention := intervention_of(cfg)) is None else f", intervention={intervention}"
    tasks = ", ".join(f"{name} ({', '.join(dataset.tasks)})" for name, dataset in cfg.datasets.items())
    if isinstance(cfg.model, BaselineConfig):
        return (
            f"{cfg.model.name} on {tasks}, modalities={cfg.modalities}, seed={cfg.seed}; it reads {in_words(cfg)}\n"
            f"evaluation on {cfg.evaluation.split}{changed}"
        )
    return (
        f"{cfg.model.name} on {tasks}, modalities={cfg.modalities}, prompting={cfg.prompting.name},"
        f" knowledge={cfg.knowledge.source.value}, seed={cfg.seed}\n"
        f"evaluation on {cfg.evaluation.split}, readout={cfg.evaluation.readout.value}{changed}"
    )


def _plan_training(cfg: Config) -> str:
    run, evaluation = _plan_run(cfg).split("\n")
    epochs = f"{cfg.trainer.max_epochs} epochs of batches of {cfg.trainer.batch_size} × {cfg.trainer.accumulate}"
    if isinstance(cfg.model, NetworkConfig):
        trained = f"training of the whole network, learning rate {cfg.model.learning_rate:g}; {epochs}"
    elif isinstance(cfg.model, BaselineConfig):
        trained = "fitted once on all training clips"
    else:
        modes = ", ".join(f"{tower} {getattr(cfg.finetuning, tower).value}" for tower in TOWERS)
        trained = f"finetuning={cfg.finetuning.name}: {modes}; {epochs}"
    return f"{run}\n{trained}\n{evaluation}"


PLANS = {
    "train": _plan_training,
    "doctor": _plan_doctor,
    "knowledge": _plan_knowledge,
    "quality": _plan_quality,
    "transcribe": _plan_transcribe,
    "export": _plan_export,
}
"""What each command would do; the others evaluate."""

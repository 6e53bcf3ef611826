"""Rules that span the fields of fine-tuning and trainer."""

from collections.abc import Iterator
from importlib.util import find_spec

from affect.config import (
    MODALITIES,
    BaselineConfig,
    ComposedConfig,
    Config,
    EncoderCache,
    HeadFit,
    LoraMethod,
    Precision,
    ServerConfig,
    Strategy,
    Switch,
    Target,
    Tower,
    is_true,
    new_modalities,
)
from affect.config.finetuning import TOWERS
from affect.config.model import spell


def learning_conflicts(cfg: Config, program: str) -> Iterator[str]:
    """What is trained, and whether a model that is used has been trained."""
    if program == "train" or (program in ("evaluate", "export") and cfg.run is not None):
        yield from method_conflicts(cfg)
    if program == "train" and not isinstance(cfg.model, ServerConfig):
        yield from training_conflicts(cfg)
    if program == "export" and cfg.run is None:
        yield "there is nothing to export: name the folder of a training, run=outputs/…"
    if program == "evaluate" and cfg.run is None:
        new = new_modalities(cfg.model)
        for letter in sorted(set(cfg.modalities) & set(new)):
            yield (
                f"modalities={cfg.modalities} has {MODALITIES[letter]}, but the {MODALITIES[letter]} encoder of"
                f" model={cfg.model.name} is new and means nothing until it is trained: evaluate zero-shot with"
                f" modalities={''.join(m for m in cfg.modalities if m not in new) or 't'}, or name a trained run=…"
            )


def sharding_conflicts(cfg: Config, program: str) -> Iterator[str]:
    """What training cannot do where the processes divide its state among them. To evaluate, each has the whole."""
    if program != "train" or cfg.trainer.strategy is Strategy.ddp:
        return
    trainer, model, finetuning = cfg.trainer, cfg.model, cfg.finetuning
    is_fsdp = trainer.strategy is Strategy.fsdp
    instead = f"trainer.strategy={trainer.strategy.value} divides the " + (
        "model among processes" if is_fsdp else "state of the optimiser among processes"
    )
    if not is_fsdp and find_spec("deepspeed") is None:
        yield (
            "trainer.strategy=deepspeed needs DeepSpeed, which is not installed: pip install 'affect[deepspeed]', or"
            " set trainer.strategy=fsdp, which needs nothing"
        )
    if trainer.devices == 1:
        yield (
            f"{instead}, and trainer.devices=1 is a single one: set trainer.devices to the number of GPUs, or"
            " trainer.strategy=ddp"
        )
    if isinstance(model, BaselineConfig):
        kind = "none and small enough for every device"
        yield f"{instead} of a language model, and model={model.name} is {kind}: set trainer.strategy=ddp"
        return
    if finetuning.head_fit is HeadFit.linear:
        yield (
            f"{instead} that train by gradients, and finetuning.head_fit=linear fits heads without any: set"
            " trainer.strategy=ddp, or finetuning.head_fit=gradients"
        )
    if finetuning.four_bit and is_fsdp:
        yield (
            f"{instead}, and finetuning.four_bit=true packs its weights so that they cannot be divided: set"
            " finetuning.four_bit=false, or trainer.strategy=ddp"
        )
    if trainer.compile and is_fsdp:
        yield (
            f"{instead} and gathers layers as they are called, which trainer.compile=true would compile away: leave"
            " compile out, or set trainer.strategy=ddp"
        )
    if model.precision is Precision.float16:
        yield (
            f"{instead}, and model.precision=float16 scales gradients, each process by its own part: set"
            " model.precision=bfloat16 (or float32), or trainer.strategy=ddp"
        )
    if trainer.try_longest_batch is Switch.on and is_fsdp:
        yield (
            f"{instead}, and trainer.try_longest_batch=on tries a batch before that, with the whole model on each"
            " device: set it to auto"
        )


def own_rates(cfg: Config) -> dict[str, tuple[str, float]]:
    """By key, the towers that have a learning rate of their own, and that."""
    rates = {}
    for tower in TOWERS:
        rate = getattr(cfg.finetuning, f"{tower}_learning_rate")
        if rate is not None:
            rates[f"finetuning.{tower}_learning_rate"] = (tower, rate)
    return rates


def method_conflicts(cfg: Config) -> Iterator[str]:
    """How weights are trained, tower by tower."""
    finetuning = cfg.finetuning
    new = set()
    if isinstance(cfg.model, ComposedConfig):
        encoders = {"audio": cfg.model.audio, "vision": cfg.model.vision}
        new = {"projector", *(tower for tower, encoder in encoders.items() if encoder == "conv")}
    for key, (tower, rate) in own_rates(cfg).items():
        mode = getattr(finetuning, tower)
        if mode is Tower.frozen or (mode is Tower.auto and tower not in new):
            yield (
                f"{key}={rate:g} is the learning rate of a tower that finetuning.{tower}={mode.value} does not train:"
                f" set finetuning.{tower}=lora (or full), or leave the learning rate out"
            )
    adapted = [t for t in TOWERS if getattr(finetuning, t) is Tower.lora]
    if finetuning.head_fit is HeadFit.linear:
        yield from _probe_conflicts(cfg)
    if finetuning.method is not LoraMethod.lora and not adapted:
        yield (
            f"finetuning.method={finetuning.method.value} is a kind of LoRA, and no tower gets any: set"
            " finetuning.language=lora, or finetuning.method=lora"
        )
    if finetuning.last_layers is not None and finetuning.language is not Tower.lora:
        yield (
            f"finetuning.last_layers={finetuning.last_layers} says which layers of the language model get LoRA, but"
            f" finetuning.language={finetuning.language.value} gives it none: set finetuning.language=lora, or leave"
            " last_layers out"
        )
    if finetuning.freeze_aligned and not finetuning.alignment_epochs:
        yield (
            "finetuning.freeze_aligned=true leaves new towers as alignment has made them, but"
            " finetuning.alignment_epochs=0 leaves them random: set one of them to its default (false, 8)"
        )
    if isinstance(cfg.model, ComposedConfig) and cfg.model.standardise_states and not finetuning.alignment_epochs:
        yield (
            "model.standardise_states=true measures the states when alignment begins, and finetuning.alignment_epochs=0"
            " leaves it out: set alignment_epochs, or leave standardise_states out"
        )
    if finetuning.four_bit and finetuning.language is Tower.full:
        yield (
            "finetuning.four_bit=true keeps frozen weights in 4 bits, but finetuning.language=full trains them all: set"
            " finetuning.language=lora, or finetuning.four_bit=false"
        )
    if finetuning.four_bit and find_spec("bitsandbytes") is None:
        yield (
            "finetuning.four_bit=true needs the package bitsandbytes, which is not installed: pip install -e"
            " '.[qlora]', or set finetuning.four_bit=false"
        )


def _probe_conflicts(cfg: Config) -> Iterator[str]:
    finetuning = cfg.finetuning
    if finetuning.target is not Target.head:
        yield (
            f"finetuning.head_fit=linear fits heads, but finetuning.target={finetuning.target.value} has none: set"
            " finetuning.target=head, or leave head_fit out"
        )
    trained = [t for t in TOWERS if getattr(finetuning, t) in (Tower.lora, Tower.full)]
    if trained:
        modes = " and ".join(f"finetuning.{tower}={getattr(finetuning, tower).value}" for tower in trained)
        yield (
            f"finetuning.head_fit=linear reads the states of a frozen model, but {modes} would train it: choose"
            " finetuning=probe, or set finetuning.head_fit=gradients"
        )
    new = sorted(set(new_modalities(cfg.model)) & set(cfg.modalities))
    if new:
        yield (
            f"finetuning.head_fit=linear trains nothing but heads, and the {spell(''.join(new))} encoder or"
            f" projector of model={cfg.model.name} is new: set modalities=t, choose a pretrained multimodal model, or"
            " set finetuning.head_fit=gradients"
        )


def training_conflicts(cfg: Config) -> Iterator[str]:
    modes = cfg.finetuning
    new = new_modalities(cfg.model)
    used = [tower for letter, tower in (("a", "audio"), ("v", "vision")) if letter in cfg.modalities]
    if isinstance(cfg.model, ComposedConfig):
        for tower, encoder in (("audio", cfg.model.audio), ("vision", cfg.model.vision)):
            mode = getattr(modes, tower)
            if tower in used and encoder == "conv" and mode in (Tower.frozen, Tower.lora):
                yield (
                    f"finetuning.{tower}={mode.value}, but model.{tower}=conv is new and has to be trained whole:"
                    f" finetuning.{tower}=full (or auto)"
                )
        if set(new) & set(cfg.modalities) and modes.projector in (Tower.frozen, Tower.lora):
            yield (
                f"finetuning.projector={modes.projector.value}, but the projector of model={cfg.model.name} is new and"
                " has to be trained whole: finetuning.projector=full (or auto)"
            )
    if cfg.trainer.encoder_cache is EncoderCache.on:
        yield from encoder_cache_conflicts(cfg, used)
    # In a composed model, only the language model has it.
    layered = ["language", *(() if isinstance(cfg.model, ComposedConfig) else used)]
    if is_true(cfg.model.gradient_checkpointing) and not {getattr(modes, tower) for tower in layered} & {
        Tower.lora,
        Tower.full,
    }:
        yield (
            "model.gradient_checkpointing=true saves memory only in towers that are trained, and finetuning.language="
            f"{modes.language.value} trains no layers of one: leave it out, or set finetuning.language=lora"
        )
    trained = [modes.language, *(getattr(modes, tower) for tower in used), *([modes.projector] if used else [])]
    if modes.target is Target.head:
        return  # which is trained whatever the towers are
    if all(mode is Tower.frozen or (mode is Tower.auto and not set(new) & set(cfg.modalities)) for mode in trained):
        yield (
            f"finetuning={modes.name} trains nothing with modalities={cfg.modalities}: set"
            " finetuning.language=lora (or full)"
        )


def encoder_cache_conflicts(cfg: Config, used: list[str]) -> Iterator[str]:
    """`used` are the towers that the modalities need."""
    if not used:
        yield (f"trainer.encoder_cache=on, but modalities={cfg.modalities} has neither audio nor video: leave it out")
    composed = isinstance(cfg.model, ComposedConfig)
    # The projector of a composed model works on what is kept; elsewhere it belongs to what is kept.
    for tower in [*used, *([] if composed or not used else ["projector"])]:
        mode = getattr(cfg.finetuning, tower)
        if mode in (Tower.lora, Tower.full):
            yield (
                f"trainer.encoder_cache=on, but finetuning.{tower}={mode.value} changes what the encoders make of a"
                f" clip with every step: set finetuning.{tower}=frozen, or trainer.encoder_cache=auto"
            )
        elif composed and getattr(cfg.model, tower) == "conv":
            yield (
                f"trainer.encoder_cache=on, but model.{tower}=conv is new and has to be trained: name a pretrained"
                " encoder, or set trainer.encoder_cache=auto"
            )

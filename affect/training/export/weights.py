"""Weight files of an export."""

import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedConfig

from affect import models
from affect.config import ComposedConfig, Config, ConfigError, ExportAs, LoraMethod, Task, Tower
from affect.models import adapters, heads
from affect.training.export import DESCRIPTION, LANGUAGE, TOWERS

HEADS = "heads.safetensors"
ADAPTER = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What peft puts before the names of the base's modules."""


@contextmanager
def new_folder(target: Path, size: int) -> Iterator[Path]:
    """A folder to be filled with `size` bytes of weights, which is at `target` when the block has ended well and
    nowhere else. Raises ConfigError where it cannot be made, and where the disk is, or becomes, full."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < size:
            raise ConfigError(
                f"export_folder={target} needs {_spelt(size)}, and there are {_spelt(free)} free: make room, or name a"
                " folder on another disk, export_folder=…"
            )
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        yield made
        made.chmod(0o777 & ~_umask())  # mkdtemp's is for its owner alone
        os.rename(made, target)
    except (OSError, SafetensorError) as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _unwritable(target: Path, error: Exception) -> ConfigError:
    why = getattr(error, "strerror", None) or str(error)
    return ConfigError(
        f"export_folder={target} cannot be written ({why}): make room, or name another folder, export_folder=…; nothing"
        " was left there"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _spelt(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def needed(model: Any, cfg: Config) -> int:
    """Bytes that the export takes, nearly. Of what `merge` made, where the export is merged."""
    trained = cfg.export_as is ExportAs.adapter
    tensors = adapters.trained_state(model).values() if trained else model.parameters()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def is_native(model: Any) -> bool:
    """Whether transformers has the model whole, as `backbone`."""
    return hasattr(model, "backbone")


def merge(model: Any, cfg: Config, modalities: str) -> None:
    """Writes adapters into the weights of `model`, and gives a native one the towers that training did without, which
    were not even loaded: others want it whole."""
    adapters.merge(model)
    if is_native(model) and set(modalities) < set(cfg.model.modalities):
        whole, _ = models.load(cfg.model, modalities=cfg.model.modalities, cache_root=Path(cfg.cache_root).expanduser())
        unknown = whole.backbone.load_state_dict(model.backbone.state_dict(), strict=False).unexpected_keys
        assert not unknown, f"the trained model has weights that the whole one has not: {unknown[:3]}"
        model.backbone = whole.backbone


def write_merged(folder: Path, model: Any, encoder: Any, cfg: Config, modalities: str) -> None:
    """The whole model, of which `merge` has made one without adapters."""
    if not is_native(model):
        model.language.save_pretrained(folder / LANGUAGE)
        encoder.tokenizer.save_pretrained(folder / LANGUAGE)
        _write_towers(folder, model, cfg, modalities)
        return
    model.backbone.save_pretrained(folder)
    encoder.processor.save_pretrained(folder)
    _as_released(folder, model.backbone, cfg)


def _as_released(folder: Path, backbone: Any, cfg: Config) -> None:
    """Puts a model that its checkpoint has as a part of a larger one (the thinker of Qwen's omni models) under the
    name of that part: vLLM and the larger model's own class read no other layout."""
    described, _ = PreTrainedConfig.get_config_dict(cfg.model.checkpoint, revision=cfg.model.revision)
    parts = [
        key
        for key, value in described.items()
        if isinstance(value, dict)
        and key.endswith("_config")
        and value.get("model_type") == backbone.config.model_type != described["model_type"]
    ]
    if not parts:
        return
    [part] = parts
    prefix = part.removesuffix("config").removesuffix("_") + "."
    # transformers saves weights under the names it has read, the prefix among them, and the configuration without.
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            bare = [name for name in file.keys() if not name.startswith(prefix)]  # noqa: SIM118
        assert not bare, f"{path.name} has {bare[:3]} and no {prefix} before them: transformers has changed its layout"
    own = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # What speaks is not exported, and whoever reads the configuration has to know that.
    silent = {"enable_audio_output": False} if "enable_audio_output" in described else {}
    (folder / "config.json").write_text(json.dumps(described | silent | {part: own}, indent=2), encoding="utf-8")


def write_adapter(folder: Path, model: Any, encoder: Any, cfg: Config, modalities: str) -> None:
    """The adapter as a folder of peft, for the base that transformers loads. Raises ConfigError where what was trained
    is no adapter."""
    finetuning = cfg.finetuning
    whole = [
        tower
        for tower in model.towers
        if adapters.mode_of(tower, model, finetuning) is Tower.full
        and tower != adapters.HEAD
        and (is_native(model) or tower == "language")
    ]
    if whole:
        raise ConfigError(
            f"export_as=adapter, but finetuning trained {' and '.join(whole)} whole, which no adapter holds: export it"
            " with export_as=merged"
        )
    if finetuning.four_bit and not is_native(model):
        raise ConfigError(
            "export_as=adapter, but this adapter was trained on a composed model in 4 bits, and belongs to those"
            " rounded weights: export it with export_as=merged"
        )
    tensors = adapters.adapter_state(model, "backbone" if is_native(model) else "language")
    if not tensors:
        raise ConfigError(
            "export_as=adapter, but finetuning gave no LoRA to the"
            f" {'model' if is_native(model) else 'language model'}: export it with export_as=merged"
        )
    names = sorted({name.rsplit(".lora_", 1)[0] for name in tensors})
    config = adapters.lora_config(finetuning, names)
    if finetuning.method is LoraMethod.pissa:
        # Twice the rank at the same scaling, alpha / rank.
        config.r, config.lora_alpha = 2 * config.r, 2 * config.lora_alpha
    config.base_model_name_or_path = cfg.model.checkpoint if is_native(model) else cfg.model.language
    config.inference_mode = True
    config.save_pretrained(folder)
    save_file({PREFIX + name: tensor for name, tensor in tensors.items()}, folder / ADAPTER, metadata={"format": "pt"})
    if is_native(model):
        encoder.processor.save_pretrained(folder)
    else:
        adapters.merge(model)  # LoRA of the other towers
        _write_towers(folder, model, cfg, modalities)


def serving_in_words(model: Any, cfg: Config) -> str | None:
    """A sentence about what vLLM would not serve of the adapter of a native `model`; None where it serves all."""
    if cfg.export_as is not ExportAs.adapter or not is_native(model):
        return None
    names: dict[str, Counter[str]] = {}
    for name, module in model.named_modules():
        tower = adapters.tower_of(name, model.towers) if hasattr(module, "lora_A") else "language"
        if tower != "language":
            # Layers differ in their number alone.
            kind = re.sub(r"\.\d+(?=\.|$)", ".*", name.removeprefix("backbone."))
            names.setdefault(tower, Counter())[kind] += 1
    remedy = "To serve this model, export it merged: export_as=merged"
    if names:
        listed = "; ".join(
            f"of the {tower} tower {', '.join(f'{kind} ({count})' for kind, count in sorted(kinds.items()))}"
            for tower, kinds in names.items()
        )
        return (
            "vLLM serves adapters of the language model alone and leaves out all others, with no more than a warning:"
            f" {listed}. What it answered would not be what this model answers. {remedy}"
        )
    if cfg.finetuning.method is LoraMethod.dora:
        return f"vLLM refuses adapters that were trained with DoRA. {remedy}"
    return None


def _write_towers(folder: Path, model: Any, cfg: Config, modalities: str) -> None:
    assert isinstance(cfg.model, ComposedConfig)
    changed = {t for t in model.towers if adapters.mode_of(t, model, cfg.finetuning) is not Tower.frozen}
    left_out = ("language", adapters.HEAD)
    tensors = {
        name: tensor.detach().contiguous().cpu()
        for name, tensor in model.state_dict().items()
        if (tower := adapters.tower_of(name, model.towers)) in changed and tower not in left_out
    }
    save_file(tensors, folder / TOWERS, metadata={"format": "pt"})
    config = {key: value.value if isinstance(value, Enum) else value for key, value in asdict(cfg.model).items()}
    # Of this machine and its memory; the model is the same without.
    for key in ("precision", "attention", "gradient_checkpointing"):
        del config[key]
    described = {"model": config, "modalities": modalities}
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_heads(folder: Path, model: Any, tasks: Iterable[Task]) -> None:
    """The heads' weights, and beside them what the rows of each mean."""
    save_file({k: v.detach().contiguous().cpu() for k, v in model.heads.state_dict().items()}, folder / HEADS)
    meaning = {
        heads.key(task): {
            "task": task.name,
            "kind": task.kind.value,
            "labels": sorted(task.labels),
            "low": task.low,
            "high": task.high,
        }
        for task in tasks
    }
    path = (folder / HEADS).with_suffix(".json")
    path.write_text(json.dumps(meaning, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

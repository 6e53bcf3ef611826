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
from affect.models import adapters, heads, lora_layers, trained_tensors
from affect.training.export import DESCRIPTION, LANGUAGE, TOWERS

HEADS = "heads.safetensors"
ADAPTER = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What peft puts before the names of the base's modules."""


@contextmanager
def new_folder(target: Path, size: int) -> Iterator[Path]:
    """A temporary folder for `size` bytes of weights that is renamed to `target` when the block succeeds, and removed
    when it fails. Raises ConfigError where it cannot be written, and where the disk is, or becomes, full."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < size:
            raise ConfigError(
                f"export_folder={target} needs {_spelt(size)}, and there are {_spelt(free)} free: make room, or name a"
                " folder on another disk, export_folder=…"
            )
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())  # mkdtemp makes it readable for its owner alone
        os.rename(folder, target)
    except (OSError, SafetensorError) as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unwritable(target: Path, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or str(error)
    return ConfigError(
        f"export_folder={target} cannot be written ({reason}): make room, or name another folder, export_folder=…;"
        " nothing was left there"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _spelt(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def needed(model: Any, cfg: Config) -> int:
    """Bytes that the export takes, nearly. A merged export has to be merged before."""
    is_adapter = cfg.export_as is ExportAs.adapter
    tensors = trained_tensors.trained_state(model).values() if is_adapter else model.parameters()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def is_native(model: Any) -> bool:
    """Whether the model is one of transformers', in `backbone`, and not a composed one."""
    return hasattr(model, "backbone")


def merge(model: Any, cfg: Config, modalities: str) -> None:
    """Merges adapters into the weights of `model`. A native one also gets the towers that training did not load, since
    other programs expect a whole model."""
    lora_layers.merge(model)
    if is_native(model) and set(modalities) < set(cfg.model.modalities):
        cache_root = Path(cfg.cache_root).expanduser()
        complete, _ = models.load(cfg.model, modalities=cfg.model.modalities, cache_root=cache_root)
        unknown = complete.backbone.load_state_dict(model.backbone.state_dict(), strict=False).unexpected_keys
        assert not unknown, f"the trained model has weights that the complete one has not: {unknown[:3]}"
        model.backbone = complete.backbone


def write_merged(folder: Path, model: Any, encoder: Any, cfg: Config, modalities: str) -> None:
    """Writes the model after `merge`."""
    if not is_native(model):
        model.language.save_pretrained(folder / LANGUAGE)
        encoder.tokenizer.save_pretrained(folder / LANGUAGE)
        _write_towers(folder, model, cfg, modalities)
        return
    model.backbone.save_pretrained(folder)
    encoder.processor.save_pretrained(folder)
    _as_released(folder, model.backbone, cfg)


def _as_released(folder: Path, backbone: Any, cfg: Config) -> None:
    """Restores the checkpoint's layout where the model is a part of a larger one, such as the thinker of Qwen's omni
    models: vLLM and the larger model's class read no other layout."""
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
    # transformers keeps the prefix in the names of weights and drops it from the configuration.
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            bare = [name for name in file.keys() if not name.startswith(prefix)]  # noqa: SIM118
        assert not bare, f"{path.name} has {bare[:3]} and no {prefix} before them: transformers has changed its layout"
    part_config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # The talker is not exported.
    silent = {"enable_audio_output": False} if "enable_audio_output" in described else {}
    config = described | silent | {part: part_config}
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def write_adapter(folder: Path, model: Any, encoder: Any, cfg: Config, modalities: str) -> None:
    """Writes the adapter in peft's format, for the base that transformers loads. Raises ConfigError where the trained
    weights are no adapter."""
    finetuning = cfg.finetuning
    trained_whole = [
        tower
        for tower in model.towers
        if adapters.mode_of(tower, model, finetuning) is Tower.full
        and tower != adapters.HEAD
        and (is_native(model) or tower == "language")
    ]
    if trained_whole:
        raise ConfigError(
            f"export_as=adapter, but finetuning trained {' and '.join(trained_whole)} whole, which no adapter holds:"
            " export it with export_as=merged"
        )
    if finetuning.four_bit and not is_native(model):
        raise ConfigError(
            "export_as=adapter, but this adapter was trained on a composed model in 4 bits, and belongs to those"
            " rounded weights: export it with export_as=merged"
        )
    tensors = lora_layers.adapter_state(model, "backbone" if is_native(model) else "language")
    if not tensors:
        raise ConfigError(
            "export_as=adapter, but finetuning gave no LoRA to the"
            f" {'model' if is_native(model) else 'language model'}: export it with export_as=merged"
        )
    names = sorted({name.rsplit(".lora_", 1)[0] for name in tensors})
    config = lora_layers.lora_config(finetuning, names)
    if finetuning.method is LoraMethod.pissa:
        # Twice the rank, with the same scaling alpha / rank.
        config.r, config.lora_alpha = 2 * config.r, 2 * config.lora_alpha
    config.base_model_name_or_path = cfg.model.checkpoint if is_native(model) else cfg.model.language
    config.inference_mode = True
    config.save_pretrained(folder)
    save_file({PREFIX + name: tensor for name, tensor in tensors.items()}, folder / ADAPTER, metadata={"format": "pt"})
    if is_native(model):
        encoder.processor.save_pretrained(folder)
    else:
        lora_layers.merge(model)  # LoRA of the other towers
        _write_towers(folder, model, cfg, modalities)


def serving_in_words(model: Any, cfg: Config) -> str | None:
    """A sentence about the parts of a native model's adapter that vLLM would not serve; None where it serves all."""
    if cfg.export_as is not ExportAs.adapter or not is_native(model):
        return None
    names: dict[str, Counter[str]] = {}
    for name, module in model.named_modules():
        tower = adapters.tower_of(name, model.towers) if hasattr(module, "lora_A") else "language"
        if tower != "language":
            # One kind for all layers.
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
            f" {listed}. Its answers would differ from this model's. {remedy}"
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
    # Settings of this machine, which do not change the model.
    for key in ("precision", "attention", "gradient_checkpointing"):
        del config[key]
    described = {"model": config, "modalities": modalities}
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_heads(folder: Path, model: Any, tasks: Iterable[Task]) -> None:
    """Writes the heads' weights, and the meaning of their rows."""
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

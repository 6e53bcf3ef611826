"""Fine-tuning of the towers of a model: LoRA and its variants by peft, or all weights."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from peft import inject_adapter_in_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel

from affect.config import ConfigError, FinetuningConfig, LoraMethod, Tower, near
from affect.models import reach, weights_cache
from affect.models.base_sample import base_sample
from affect.models.composed.projectors import StateDropout
from affect.models.lora_layers import ADAPTER_MARK, TRAINED, is_start, lora_config, start_from_singular_values
from affect.models.towers import HEAD, tower_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerCount:
    """Parameters of one tower, for the table printed at the start of a run."""

    tower: str
    mode: str
    parameters: int
    trained: int
    lora_modules: int
    learning_rate: float | None
    """None where the tower is frozen."""


def mode_of(tower: str, model: nn.Module, config: FinetuningConfig) -> Tower:
    """How a tower is trained: `auto` is full for a new tower and frozen for a pretrained one."""
    if tower == HEAD:
        return Tower.full
    mode = getattr(config, tower)
    if mode is not Tower.auto:
        return mode
    return Tower.full if tower in model.new else Tower.frozen


def apply(
    model: nn.Module, config: FinetuningConfig, *, device: torch.device | None = None, restored: bool = False
) -> list[TowerCount]:
    """Adds LoRA to `model` and sets `requires_grad`, in place; returns the counts by tower.

    Parameters that no answer depends on are not trained, and linear modules that are not called get no LoRA. `device`
    computes the singular vectors of PiSSA; None is the device of the weights. `restored` skips them, since the state
    given to `load_trained_state` afterwards holds them.

    Raises ConfigError where a tower that should get LoRA has no module named in `targets`, and where a name in
    `targets` belongs to no module, or only to modules that LoRA would not change.
    """
    modes = {tower: mode_of(tower, model, config) for tower in model.towers}
    trained = {tower for tower, mode in modes.items() if mode is not Tower.frozen}
    read, unused = reach.read_directly(model), _unused(model, trained)
    not_called = read | {name.removesuffix(".weight") for name in unused}
    targets = {
        tower: list(_targets(model, tower, config.targets, not_called | _early_layers(model, tower, config)))
        for tower, mode in modes.items()
        if mode is Tower.lora
    }
    _check_targets(model, targets, config, not_called)
    model.base_sample, model.aligned = base_sample(model), frozenset()
    if config.four_bit:
        from affect.models import quantization

        # Code that reads a weight directly would get packed bytes, so those modules stay as they are.
        names = list(_targets(model, "language", [], read))
        weights_cache.give_up({model.get_submodule(name) for name in names})
        quantization.quantise(model, names)
    if targets:
        _adapt(model, [name for names in targets.values() for name in names], config)
        if config.method is LoraMethod.pissa:
            for name in (name for names in targets.values() for name in names):
                start_from_singular_values(model.get_submodule(name), config, device, restored)
    for name, parameter in model.named_parameters():
        mode = modes[tower_of(name, model.towers)]
        adapted = mode is Tower.lora and ADAPTER_MARK in name and not is_start(name)
        parameter.requires_grad_((mode is Tower.full and name not in unused) or adapted)
        if parameter.requires_grad or mode is Tower.full:
            # bfloat16 has eight bits, too few for an update of a thousandth. Frozen weights keep their type, except
            # unused ones of a tower trained whole, which get activations of that tower's type.
            parameter.data = parameter.data.float()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None:
            # torch wants the statistics in the type of the weights.
            for name, buffer in module.named_buffers():
                if buffer.is_floating_point():
                    setattr(module, name, buffer.to(module.weight.dtype))
    return _counts(model, modes, {tower: len(names) for tower, names in targets.items()}, config)


def _unused(model: nn.Module, towers: set[str]) -> set[str]:
    """Names of the parameters, at least those of `towers`, that the loss does not depend on."""
    unused = model.unused(towers)
    if HEAD in model.towers:
        # A head reads the input of the output embedding. Weights tied to the input embedding are used all the same.
        outputs = {id(module) for module in _output_embeddings(model)}
        elsewhere = {id(p) for m in model.modules() if id(m) not in outputs for p in m.parameters(recurse=False)}
        unused = unused | {name for name, parameter in model.named_parameters() if id(parameter) not in elsewhere}
    return unused


def _output_embeddings(model: nn.Module) -> list[nn.Module]:
    embeddings = (m.get_output_embeddings() for m in model.modules() if isinstance(m, PreTrainedModel))
    return [module for module in embeddings if module is not None]


def _check_targets(
    model: nn.Module, targets: dict[str, list[str]], config: FinetuningConfig, not_called: set[str]
) -> None:
    matched = {name.rsplit(".", 1)[-1] for names in targets.values() for name in names}
    without_effect = {n.rsplit(".", 1)[-1] for n in not_called if tower_of(n, model.towers) in targets} - matched
    if targets and (named := [name for name in config.targets if name in without_effect]):
        raise ConfigError(
            f"finetuning.targets names {' and '.join(named)}, and LoRA would do nothing there: the model takes the"
            f" weight of these modules of {' or '.join(targets)} without calling them, or does not use them at all:"
            " leave the name out, or train the tower whole"
        )
    for tower, names in targets.items():
        if not names:
            linear = sorted({n.rsplit(".", 1)[-1] for n in _targets(model, tower, [], not_called)})
            hint = near(config.targets[0], linear) if config.targets else "."
            raise ConfigError(
                f"finetuning.{tower}=lora, but no linear module of it is named"
                f" {' or '.join(config.targets) or 'anything'}"
                f"{hint} Its linear modules: {', '.join(linear) or 'none'}"
            )
    unknown = [name for name in config.targets if name not in matched]
    if targets and unknown:
        linear = sorted({n.rsplit(".", 1)[-1] for t in targets for n in _targets(model, t, [], not_called)})
        raise ConfigError(
            f"finetuning.targets names {' and '.join(unknown)}, and no linear module of {' or '.join(targets)} is named"
            f" so{near(unknown[0], linear)} Their linear modules: {', '.join(linear)}"
        )


def _adapt(model: nn.Module, names: list[str], config: FinetuningConfig) -> None:
    inject_adapter_in_model(lora_config(config, names), model, adapter_name=TRAINED)
    adapted = {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert adapted == set(names), f"LoRA went into other modules than those named: {sorted(adapted ^ set(names))[:5]}"


def _early_layers(model: nn.Module, tower: str, config: FinetuningConfig) -> set[str]:
    """Names of the linear modules of the language model that lie before its last `config.last_layers` layers, or in no
    layer."""
    if tower != "language" or config.last_layers is None:
        return set()
    layer_of = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and tower_of(name, model.towers) == tower:
            number = re.search(r"\.layers\.(\d+)\.", name)
            layer_of[name] = -1 if number is None else int(number[1])
    first = max(layer_of.values()) + 1 - config.last_layers
    return {name for name, layer in layer_of.items() if layer < max(first, 0)}


def freeze_new(model: nn.Module) -> None:
    """Stops training the towers whose weights are new. Checkpoints still hold them, since nothing else does."""
    new = {n: p for n, p in model.named_parameters() if p.requires_grad and tower_of(n, model.towers) in model.new}
    model.aligned = frozenset(new)
    for parameter in new.values():
        parameter.requires_grad_(False)


def _targets(model: nn.Module, tower: str, last_names: list[str], without: set[str]) -> Iterator[str]:
    """Names of the linear modules of a tower, except those in `without` and the output embedding, which is as large as
    the vocabulary. An empty `last_names` allows every name."""
    outputs = _output_embeddings(model)
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Linear)
            and not any(module is output for output in outputs)
            and name not in without
            and tower_of(name, model.towers) == tower
            and (not last_names or name.rsplit(".", 1)[-1] in last_names)
        ):
            yield name


def _counts(
    model: nn.Module, modes: dict[str, Tower], lora_modules: dict[str, int], config: FinetuningConfig
) -> list[TowerCount]:
    counts = {tower: [0, 0] for tower in model.towers}
    for name, parameter in model.named_parameters():
        if not is_start(name):  # neither trained nor a weight of the model
            count = counts[tower_of(name, model.towers)]
            # A byte holds two 4-bit weights; quant_state has the shape.
            quant_state = getattr(parameter, "quant_state", None)
            count[0] += parameter.numel() if quant_state is None else quant_state.shape.numel()
            count[1] += parameter.numel() if parameter.requires_grad else 0
    return [
        TowerCount(
            tower=tower,
            mode=(config.method.value if modes[tower] is Tower.lora else modes[tower].value)
            + (", 4 bits" if config.four_bit and tower == "language" else ""),
            parameters=parameters,
            trained=trained,
            lora_modules=lora_modules.get(tower, 0),
            learning_rate=learning_rate(tower, model, config) if trained else None,
        )
        for tower, (parameters, trained) in counts.items()
    ]


def without_gradient(model: nn.Module, loss: torch.Tensor) -> str | None:
    """A sentence about trained parameters that `loss`, of the first batch, does not depend on; None where there are
    none."""
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    unreached = sorted(reach.not_reached(trained, loss))
    if not unreached:
        return None
    return (
        f"{len(unreached)} of {len(trained)} trained parameter tensors get no gradient from the first batch, for"
        f" example {unreached[0]}: where no batch uses them they stay as they are"
    )


def set_training_mode(model: nn.Module) -> None:
    """Sets training mode for trained towers and evaluation mode for frozen ones, whose dropout would only be noise.

    Dropout of an encoder's states stays on, also before a frozen projector (see StateDropout).

    Batch normalisation beside adapters keeps its pretrained statistics as it keeps its weights: a checkpoint has the
    buffers of towers trained whole only.
    """
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    trained = {tower_of(name, model.towers) for name in names}
    whole = {tower_of(name, model.towers) for name in names if ADAPTER_MARK not in name}
    for prefix in (prefix for prefixes in model.towers.values() for prefix in prefixes):
        # Module by module, since a trained projector may lie inside a frozen tower.
        for name, part in model.get_submodule(prefix).named_modules(prefix=prefix):
            in_training = tower_of(name, model.towers) in (whole if isinstance(part, _BatchNorm) else trained)
            part.training = in_training or isinstance(part, StateDropout)


def learning_rate(tower: str, model: nn.Module, config: FinetuningConfig) -> float:
    """The tower's own rate where it is set, otherwise that of new or of pretrained parameters."""
    if tower != HEAD and (rate := getattr(config, f"{tower}_learning_rate")) is not None:
        return rate
    return config.new_learning_rate if tower == HEAD or tower in model.new else config.learning_rate

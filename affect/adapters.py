"""Which parameters are trained, and how: LoRA where a tower is adapted, everything where it is trained whole."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers import PreTrainedModel

from affect.config import ConfigError, FinetuningConfig, Tower, near

ADAPTER_MARK = "lora_"
"""Part of the names of all parameters that peft adds for LoRA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerCount:
    """What is trained of one tower, for the listing at the start of a run."""

    tower: str
    mode: str
    parameters: int
    trained: int
    lora_modules: int


def tower_of(name: str, towers: dict[str, list[str]]) -> str:
    """The tower a module or parameter belongs to: that with the longest prefix that matches."""
    matches = [
        (len(prefix), tower)
        for tower, prefixes in towers.items()
        for prefix in prefixes
        if name == prefix or name.startswith(prefix + ".")
    ]
    assert matches, f"{name} belongs to no tower: the family's `towers` has to cover every parameter"
    return max(matches)[1]


def mode_of(tower: str, model: nn.Module, config: FinetuningConfig) -> Tower:
    """How a tower is trained, with auto resolved."""
    mode = getattr(config, tower)
    if mode is not Tower.auto:
        return mode
    return Tower.full if tower in model.new else Tower.frozen


def apply(model: nn.Module, config: FinetuningConfig) -> list[TowerCount]:
    """Puts LoRA into `model` and sets what requires a gradient, in place; returns the count by tower.

    Raises ConfigError when a tower that should get LoRA has no module of the names in `targets`.
    """
    modes = {tower: mode_of(tower, model, config) for tower in model.towers}
    targets = {
        tower: list(_targets(model, tower, config.targets)) for tower, mode in modes.items() if mode is Tower.lora
    }
    for tower, names in targets.items():
        if not names:
            linear = sorted({n.rsplit(".", 1)[-1] for n in _targets(model, tower, [])})
            hint = near(config.targets[0], linear) if config.targets else "."
            raise ConfigError(
                f"finetuning.{tower}=lora, but no linear module of it is named"
                f" {' or '.join(config.targets) or 'anything'}"
                f"{hint} Its linear modules: {', '.join(linear) or 'none'}"
            )
    if targets:
        names = [name for tower_names in targets.values() for name in tower_names]
        lora = LoraConfig(
            r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=names, bias="none"
        )
        inject_adapter_in_model(lora, model)
        found = {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
        assert found == set(names), f"LoRA went into other modules than those named: {sorted(found ^ set(names))[:5]}"
    for name, parameter in model.named_parameters():
        mode = modes[tower_of(name, model.towers)]
        parameter.requires_grad_(mode is Tower.full or (mode is Tower.lora and ADAPTER_MARK in name))
        if parameter.requires_grad:
            # An update of a thousandth is lost in bfloat16's eight bits; what is frozen stays in the type it was loaded
            # in.
            parameter.data = parameter.data.float()
    return _counts(model, modes, {tower: len(names) for tower, names in targets.items()})


def _targets(model: nn.Module, tower: str, last_names: list[str]) -> Iterator[str]:
    """Names of the linear modules of a tower, but the output embedding, whose rows are as many as the vocabulary."""
    outputs = [m.get_output_embeddings() for m in model.modules() if isinstance(m, PreTrainedModel)]
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Linear)
            and not any(module is output for output in outputs)
            and tower_of(name, model.towers) == tower
            and (not last_names or name.rsplit(".", 1)[-1] in last_names)
        ):
            yield name


def _counts(model: nn.Module, modes: dict[str, Tower], lora_modules: dict[str, int]) -> list[TowerCount]:
    counts = {tower: [0, 0] for tower in model.towers}
    for name, parameter in model.named_parameters():
        count = counts[tower_of(name, model.towers)]
        count[0] += parameter.numel()
        count[1] += parameter.numel() if parameter.requires_grad else 0
    return [
        TowerCount(
            tower=tower,
            mode=modes[tower].value,
            parameters=parameters,
            trained=trained,
            lora_modules=lora_modules.get(tower, 0),
        )
        for tower, (parameters, trained) in counts.items()
    ]


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors a checkpoint has to hold: parameters with a gradient, and buffers beside them in the same module's
    tower (running statistics of an encoder that is trained change too)."""
    parameters = {name for name, p in model.named_parameters() if p.requires_grad}
    trained_towers = {tower_of(name, model.towers) for name in parameters if ADAPTER_MARK not in name}
    state = model.state_dict()
    buffers = set(state) - {name for name, _ in model.named_parameters(remove_duplicate=False)}
    kept = parameters | {name for name in buffers if tower_of(name, model.towers) in trained_towers}
    return {name: state[name] for name in state if name in kept}


def load_trained_state(model: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Puts a checkpoint's tensors into a model to which the same fine-tuning was applied.

    Raises ConfigError, naming `source`, when names or shapes are not exactly those the model trains.
    """
    own = trained_state(model)
    absent, foreign = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    shapes = [name for name in set(own) & set(state) if own[name].shape != state[name].shape]
    if absent or foreign or shapes:
        example = (absent or foreign or shapes)[0]
        raise ConfigError(
            f"{source} does not fit this model and fine-tuning: {len(absent)} tensors lack, {len(foreign)} are unknown,"
            f" {len(shapes)} have another shape, for example {example}: use the model and"
            " the settings it was trained with"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def parameter_groups(model: nn.Module, config: FinetuningConfig) -> list[dict]:
    """Parameter groups for the optimiser: learning rate by whether the tower is new, no decay for vectors (norms,
    biases, gains), which decay would only pull from their working point."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        new = tower_of(name, model.towers) in model.new
        key = (
            config.new_learning_rate if new else config.learning_rate,
            config.weight_decay if parameter.ndim > 1 else 0.0,
        )
        groups.setdefault(key, []).append(parameter)
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]

"""Parameter groups and the optimizer."""

import torch
from torch import nn

from affect.config import FinetuningConfig
from affect.models.adapters import learning_rate, tower_of


def parameter_groups(model: nn.Module, config: FinetuningConfig) -> list[dict]:
    """Parameter groups for the optimiser: learning rate by tower, no decay for vectors (norms, biases, gains), which
    decay would only pull from their working point."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        key = (
            learning_rate(tower_of(name, model.towers), model, config),
            config.weight_decay if parameter.ndim > 1 else 0.0,
        )
        groups.setdefault(key, []).append(parameter)
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]


def optimizer(model: nn.Module, config: FinetuningConfig, precision: str) -> torch.optim.AdamW:
    """AdamW over the parameter groups; `precision` is the Trainer's."""
    # Fused, a step on a CPU takes a third of the time. In mixed precision Lightning cannot clip gradients for it.
    return torch.optim.AdamW(parameter_groups(model, config), fused=precision == "32-true" or None)

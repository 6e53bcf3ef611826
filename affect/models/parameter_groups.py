"""Parameter groups for the optimiser."""

from torch import nn

from affect.config import FinetuningConfig
from affect.models.adapters import learning_rate
from affect.models.towers import tower_of


def parameter_groups(model: nn.Module, config: FinetuningConfig) -> list[dict]:
    """The trained parameters by learning rate, which is that of their tower, and weight decay. Vectors (norms, biases,
    gains) have no decay, which would only pull them from their working point."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = learning_rate(tower_of(name, model.towers), model, config)
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]

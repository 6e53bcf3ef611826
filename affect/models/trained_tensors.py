"""The tensors of a checkpoint: what fine-tuning has trained of a model."""

import torch
from torch import nn

from affect.config import ConfigError
from affect.models.lora_layers import ADAPTER_MARK, is_start
from affect.models.towers import tower_of


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint: trained parameters, also those that alignment alone has trained; the buffers of a
    tower trained whole, whose running statistics change too; and the start of PiSSA, since the sign of singular vectors
    depends on the machine."""
    kept = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or is_start(name) or name in model.aligned
    }
    whole = {tower_of(name, model.towers) for name in kept if ADAPTER_MARK not in name}
    if whole:  # otherwise skip this, which takes longer than the rest of a checkpoint
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        buffers = {name: tensor for name, tensor in model.state_dict().items() if name not in parameters}
        kept |= {name: tensor for name, tensor in buffers.items() if tower_of(name, model.towers) in whole}
    return kept


def load_trained_state(model: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Loads a checkpoint's tensors into a model to which the same fine-tuning was applied.

    Raises ConfigError, naming `source`, where names or shapes differ.
    """
    expected = trained_state(model)
    absent, foreign = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    shapes = [name for name in set(expected) & set(state) if expected[name].shape != state[name].shape]
    if absent or foreign or shapes:
        example = (absent or foreign or shapes)[0]
        raise ConfigError(
            f"{source} does not fit this model and fine-tuning: {len(absent)} tensors lack, {len(foreign)} are unknown,"
            f" {len(shapes)} have another shape, for example {example}: use the model and the settings it was trained"
            " with"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            expected[name].copy_(tensor)

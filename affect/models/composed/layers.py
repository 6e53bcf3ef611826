"""Which hidden states of a pretrained audio encoder a composed model takes: `model.audio_layer`.

Hidden states are numbered as in transformers: 0 is what the first block is given, after convolutions and positions, k
is what block k gives, and the last is the encoder's output, with its final normalisation where it has one.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from affect.config import ConfigError

LAST, WEIGHTED = "last", "weighted"


class Reached(Exception):
    """Ends an encoder's forward pass at a hidden state."""

    def __init__(self, states: torch.Tensor) -> None:
        super().__init__()
        self.states = states


class _End(nn.Module):
    """Stands for the first block that is not computed."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> None:
        raise Reached(hidden_states)


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of an encoder, in a list that `owner` has under the name `layers`."""

    owner: nn.Module
    count: int


def blocks(encoder: PreTrainedModel, name: str, key: str = "model.audio") -> Blocks:
    """Raises ConfigError for an encoder, of `key`=`name` in the configuration, whose blocks are elsewhere than in those
    of the Whisper and the wav2vec 2.0 kind."""
    count = getattr(encoder.config, "num_hidden_layers", None)
    if (owner := _owner(encoder, count)) is not None:
        return Blocks(owner, count)
    raise ConfigError(
        f"{key}={name} is a {type(encoder).__name__}, whose hidden states cannot be told apart: set"
        f" {key}_layer=last, or name an encoder of the Whisper or wav2vec 2.0 kind"
    )


def _owner(encoder: nn.Module, count: int) -> nn.Module | None:
    """The module that has the blocks of an encoder of `count` blocks, or what a cut has left of them."""
    for module in encoder.modules():
        layers = getattr(module, "layers", None)
        if isinstance(layers, nn.ModuleList) and (len(layers) == count or isinstance(layers[-1], _End)):
            return module
    return None


def cut(encoder: PreTrainedModel, layer: int, name: str, key: str = "model.audio") -> PreTrainedModel:
    """The encoder, changed in place to end with hidden state `layer`: later blocks are neither kept nor computed.

    Raises ConfigError where `key`=`name` has fewer layers, and as `blocks` does.
    """
    found = blocks(encoder, name, key)
    if layer > found.count:
        raise ConfigError(
            f"{key}_layer={layer}, but {key}={name} has {found.count} layers: give 0 to {found.count}, last or weighted"
        )
    if layer < found.count:
        found.owner.layers = nn.ModuleList([*found.owner.layers[:layer], _End()])
    return encoder


def output(encoder: PreTrainedModel, features: torch.Tensor) -> torch.Tensor:
    """States[B, T, width] that an encoder ends with, cut or not."""
    try:
        return encoder(features).last_hidden_state
    except Reached as reached:
        return reached.states


def side_by_side(encoder: PreTrainedModel, features: torch.Tensor, chosen: list[int]) -> torch.Tensor:
    """The hidden states[B, T, len(chosen) · width] with the numbers `chosen`, the last of which the encoder ends with,
    one after the other along the channels."""
    owner = _owner(encoder, encoder.config.num_hidden_layers)
    assert owner is not None, "an encoder that `cut` was given before"
    states: list[torch.Tensor] = []
    hooks = [
        owner.layers[number].register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
        for number in chosen[:-1]
    ]
    try:
        last = output(encoder, features)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat([*states, last], -1)


def every(encoder: PreTrainedModel, features: torch.Tensor) -> torch.Tensor:
    """All hidden states[count + 1, B, T, width] of an encoder that is not cut. Raises ConfigError for one that does not
    give them."""
    outputs = encoder(features, output_hidden_states=True)
    # Some classes give the last hidden state without the encoder's final normalisation.
    states = (*(outputs.hidden_states or ())[:-1], outputs.last_hidden_state)
    shapes = {tuple(state.shape) for state in states}
    if len(shapes) != 1 or len(states) != encoder.config.num_hidden_layers + 1:
        raise ConfigError(
            f"model.audio_layer=weighted adds up hidden states, but a {type(encoder).__name__} gives {len(states)} of"
            f" {len(shapes)} shapes: set model.audio_layer=last, or to the number of a layer"
        )
    return torch.stack(states)

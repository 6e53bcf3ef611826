"""A frozen pretrained encoder whose states are features."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel

from affect.config import ConfigError
from affect.data.file_hashes import content_hashes
from affect.models import checkpoint_files
from affect.models.pretrained import UNUSED, complete_weights, refusals

LAST = "last"

INPUTS = {
    "features.text": ("input_ids",),
    "features.audio": ("input_features", "input_values"),
    "features.video": ("pixel_values",),
}
"""What an encoder is given, in transformers' words, by the key of the configuration that names it."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers from listing weights that features do not need, such as those of a pooler, and from asking to
    train them. `complete_weights` refuses checkpoints that lack others."""
    logging = transformers.utils.logging
    logging.disable_progress_bar()  # it breaks up our own output
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


class Frozen:
    """An encoder that is known by its files, and loaded when it is first used: not at all where every feature is in the
    cache. It computes in float32 everywhere."""

    def __init__(self, key: str, name: str, layer: str, wanted: str, cache_root: Path, device: torch.device) -> None:
        """`key` is the key of the configuration whose value is `name`, a folder or a name on the hub; the key of its
        layer has `_layer` at its end. `wanted` says what `name` should be.

        Raises ConfigError where the checkpoint cannot be found, is not understood, or has no such layer.
        """
        self.key, self.name, self.wanted, self.device = key, name, wanted, device
        files = checkpoint_files.files(key, name, None, cache_root)
        self.folder = str(next(iter(files.values())).parent)
        with refusals(key, name, wanted):
            whole = AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
        part = "vision_config" if key == "features.video" else "text_config"
        self.config = getattr(whole, part, whole)
        self.width = getattr(self.config, "hidden_size", None)
        num_layers = getattr(self.config, "num_hidden_layers", None)
        if self.width is None or num_layers is None:
            raise ConfigError(
                f"{key}={name} is a model of the type {whole.model_type}, whose layers affect cannot read: give"
                f" {wanted}"
            )
        if layer != LAST and not (layer.isdecimal() and int(layer) <= num_layers):
            raise ConfigError(
                f"{key}_layer={layer} is no layer of {key}={name}: give a number from 0 (before the first block) to"
                f" {num_layers} (after the last), or {LAST}"
            )
        self.layer = None if layer == LAST else int(layer)
        hashes = content_hashes([str(path) for path in files.values()], cache_root, num_workers=2)
        self.identity = {
            "encoder": whole.model_type,
            "files": {file: hashes[str(path)] for file, path in files.items()},
            "layer": layer,
            "dtype": "float32",
            "device": device.type,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def load(self) -> nn.Module:
        """The encoder on its device; for models with a decoder the encoder alone, for those of several modalities that
        of pictures or the language model. Raises ConfigError."""
        # A new model draws random weights before it is given its own.
        with quiet(), torch.random.fork_rng(devices=[]), refusals(self.key, self.name, self.wanted):
            model = complete_weights(
                AutoModel,
                self.key,
                self.folder,
                unneeded=(*UNUSED, "pooler"),  # states of steps do not depend on it, and many checkpoints lack it
                dtype=torch.float32,
                trust_remote_code=False,
            )
        names = ("vision_model",) if self.key == "features.video" else ("language_model", "text_model")
        parts = [getattr(model, name) for name in names if hasattr(model, name)]
        encoder = model.get_encoder() if model.config.is_encoder_decoder else [*parts, model][0]
        if encoder.main_input_name not in INPUTS[self.key]:
            raise ConfigError(
                f"{self.key}={self.name} is a model of the type {model.config.model_type}, which is given"
                f" {encoder.main_input_name}, and not {' or '.join(INPUTS[self.key])}: give {self.wanted}"
            )
        return encoder.eval().requires_grad_(False).to(self.device)

    def states(self, encoder: nn.Module, **inputs: torch.Tensor) -> torch.Tensor:
        """The states of the chosen layer, [B, T, width]: of the last one as the encoder ends (most normalise them), of
        layer k as transformers' `hidden_states[k]`."""
        with torch.no_grad():
            output = encoder(**inputs, output_hidden_states=self.layer is not None)
        return output.last_hidden_state if self.layer is None else output.hidden_states[self.layer]

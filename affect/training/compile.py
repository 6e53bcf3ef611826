"""torch.compile for the layers of the language model during training."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch import nn

from affect.config import ConfigError

BACKEND = "inductor"


class CompiledLayers(L.Callback):
    """Compiles the language model layer by layer: all layers share one compilation, which takes seconds instead of the
    minutes of a whole model. Validation runs uncompiled, because a growing cache of keys and values would recompile
    every layer again and again."""

    def __init__(self) -> None:
        self.layers: dict[nn.Module, Callable[..., Any]] = {}

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        _check_compiler(module.device)
        # torch's hook for compiling in place keeps the names of parameters.
        self.layers = {layer: torch.compile(layer._call_impl, backend=BACKEND) for layer in layers(module.model)}
        assert self.layers, "the language model has no list of layers"

    def on_train_start(self, *_: Any) -> None:
        self._use(True)

    def on_validation_start(self, *_: Any) -> None:
        self._use(False)

    def on_validation_end(self, *_: Any) -> None:
        self._use(True)

    def teardown(self, *_: Any, **__: Any) -> None:
        self._use(False)
        self.layers = {}

    def _use(self, compiled: bool) -> None:
        for layer, call in self.layers.items():
            layer._compiled_call_impl = call if compiled else None


def layers(model: Any) -> Iterator[nn.Module]:
    """The layers of the language model in a models.Model."""
    for prefix in model.towers["language"]:
        for name, module in model.get_submodule(prefix).named_modules():
            if isinstance(module, nn.ModuleList) and name.split(".")[-1] == "layers":
                yield from module


def _check_compiler(device: torch.device) -> None:
    """Raises ConfigError where torch.compile would fail at the first step."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise ConfigError("trainer.compile=true needs the package triton on a GPU: install it, or set it to false")
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise ConfigError("trainer.compile=true needs a C++ compiler, g++ or clang++: install it, or set it to false")

"""torch.compile of the language model's layers: the same numbers, in training alone, and nothing is left behind."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import tiny_manifest, tiny_words

from affect import models
from affect.config import Config, ConfigError
from affect.data import loading
from affect.models import adapters, collate, sampling
from affect.models.losses import answer_loss
from affect.prompting import examples as data
from affect.training import compile
from affect.training.compile import CompiledLayers


@pytest.mark.parametrize("family", ["composed", "qwen_omni"])
def test_compiled_layers_train_alike(
    family: str, tmp_path: Path, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Capturing and guarding as ever, and the captured graph run as it is: what inductor makes of it is torch's affair.
    monkeypatch.setattr(compile, "BACKEND", "eager")
    table = tiny_manifest(tmp_path / "corpus", train=4, val=1, test=1)
    words = [*tiny_words(tmp_path, family), "dataset=manifest", f"datasets.manifest.root={table}", "modalities=ta"]
    cfg = configure(*words, "datasets.manifest.task_definitions.label.labels=[joy,anger,sadness]")
    model, encoder = models.load(cfg.model, modalities="ta", cache_root=tmp_path)
    adapters.apply(model, cfg.finetuning)
    examples = data.examples(loading.read(cfg, ["train"]), "train", cfg, encoder.count_text, labelled_only=True)
    tensors = collate.Collate(encoder, sampling.sampling(cfg), True)(examples).tensors
    layers, names = list(compile.layers(model)), [name for name, _ in model.named_parameters()]
    assert len(layers) == 2
    module: Any = SimpleNamespace(model=model, device=torch.device("cpu"))

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        torch.manual_seed(0)  # new encoders have dropout
        answer_loss(model, tensors).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    model.train()
    plain = gradients()
    callback = CompiledLayers()
    callback.on_fit_start(None, module)
    callback.on_train_start()
    assert all(layer._compiled_call_impl is not None for layer in layers)
    found = gradients()
    assert len(plain) > 8
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(found, plain, strict=True))
    assert [name for name, _ in model.named_parameters()] == names
    callback.on_validation_start()
    assert not any(layer._compiled_call_impl for layer in layers)
    callback.on_validation_end()
    assert all(layer._compiled_call_impl is not None for layer in layers)
    callback.teardown()
    assert not any(layer._compiled_call_impl for layer in layers)


def test_without_a_compiler_it_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"trainer.compile=true needs a C\+\+ compiler, g\+\+ or clang\+\+: install it"
    ):
        CompiledLayers().on_fit_start(None, SimpleNamespace(device=torch.device("cpu")))
    monkeypatch.setattr(compile.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package triton on a GPU"):
        CompiledLayers().on_fit_start(None, SimpleNamespace(device=torch.device("cuda")))

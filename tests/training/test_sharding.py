"""A model that processes divide among them, with a single process that keeps all of it: what takes several is in
test_processes.py."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import tiny_manifest, tiny_words
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from affect import models
from affect.config import Config, ConfigError, DataError
from affect.data import loading
from affect.evaluation.language import LanguageLearner
from affect.evaluation.metrics.summary import summarise
from affect.models import adapters, sampling
from affect.prompting import examples
from affect.training import sharding
from affect.training.module import Supervised


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield DeviceMesh.from_group(distributed.group.WORLD, "cpu")
    distributed.destroy_process_group()


def divided(module: torch.nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if isinstance(parameter, DTensor)}


def test_a_divided_model_trains_evaluates_and_is_saved_as_a_whole_one(
    tmp_path: Path, configure: Callable[..., Config], mesh: DeviceMesh
) -> None:
    table = tiny_manifest(tmp_path / "corpus", train=4, val=1, test=1)
    words = [*tiny_words(tmp_path, "composed"), "dataset=manifest", f"datasets.manifest.root={table}", "modalities=ta"]
    cfg = configure(*words, "datasets.manifest.task_definitions.label.labels=[joy,anger,sadness]")
    parts = loading.read(cfg, ["train"])
    model, encoder = models.load(cfg.model, modalities="ta", cache_root=tmp_path)
    adapters.apply(model, cfg.finetuning)
    learner = LanguageLearner(model, encoder, cfg.finetuning, cfg.evaluation, sampling.sampling(cfg))
    module = Supervised(learner, cfg.finetuning, partial(summarise, datasets=cfg.datasets, evaluation=cfg.evaluation))
    # Two, so that no shortcut for a single process is taken.
    trainer: Any = SimpleNamespace(world_size=2, accumulate_grad_batches=1, global_step=1, global_rank=0)
    trainer.datamodule = SimpleNamespace(step_total=lambda _: 8)
    module._trainer, module._fabric = trainer, None
    asked = examples.examples(parts, "train", cfg, encoder.count_text, labelled_only=True)
    batch = learner.collator(True)(asked)
    lost = replace(batch, tensors=None, examples=[], failed=[(example, "gone") for example in asked])
    model.eval()  # without dropout, which the two passes would draw apart
    plain = module.training_step(batch, 0)
    plain.backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.requires_grad
    }
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    sharding.shard(module, model, mesh, "training_step", "gather")
    layers = [name for name, part in model.named_modules() if isinstance(part, FSDPModule)]
    assert len(layers) == 2 and all(".layers." in name for name in layers), "those of the language model alone"
    assert divided(module) == {name for name, _ in module.named_parameters()}

    def step(of: Any) -> tuple[float, dict[str, torch.Tensor]]:
        module.zero_grad()
        loss = module.training_step(of, 0)
        loss.backward()
        found = {n: p.grad.full_tensor() for n, p in module.named_parameters() if p.requires_grad}
        return loss.item(), found

    with pytest.raises(DataError, match="no clip of the first batch of process 0 can be read"):
        module.training_step(lost, 0)
    loss, found = step(batch)
    assert loss == pytest.approx(plain.item(), rel=1e-6)
    assert found.keys() == gradients.keys()
    assert all(torch.allclose(found[name], gradients[name], rtol=1e-5, atol=1e-7) for name in found)
    # The other processes wait for the gradients of one that has nothing to say.
    loss, found = step(lost)
    assert loss == 0 and found.keys() == gradients.keys() and not any(g.any() for g in found.values())

    module.gather()
    assert not divided(module)
    with torch.no_grad():
        learner.predict(replace(batch, tensors=learner.collator(False)(asked).tensors))
    assert not divided(module), "an evaluation divides nothing in between"
    state = module.state_dict()
    assert divided(module)
    assert state.keys() == before.keys() and all(torch.equal(state[name], before[name]) for name in before)
    module.load({"state_dict": {n: t + 1 for n, t in before.items()}, "base": learner.base()}, "here")
    assert all(torch.equal(tensor, before[name] + 1) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trainer.devices=1"], "trainer.devices=1 is a single one"),
        (["finetuning.four_bit=true"], "packs its weights so that they cannot be divided"),
        (["trainer.compile=true"], "which trainer.compile=true would compile away"),
        (["model.precision=float16"], "model.precision=float16 scales gradients"),
        (["trainer.try_longest_batch=on"], "tries a batch before that"),
        (["finetuning=probe"], "finetuning.head_fit=linear fits heads without any"),
        (["model=tfidf"], "model=tfidf is none and small enough for every device"),
    ],
)
def test_what_cannot_be_divided_is_refused(configure: Callable[..., Config], words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configure("dataset=demo", "model=smollm2", "modalities=t", "trainer=fsdp", *words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trainer.devices=1"], "trainer.devices=1 is a single one"),
        (["model.precision=float16"], "model.precision=float16 scales gradients"),
        (["model=tfidf"], "model=tfidf is none and small enough for every device"),
    ],
)
def test_what_deepspeed_cannot_divide_is_refused(
    configure: Callable[..., Config], words: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configure("dataset=demo", "model=smollm2", "modalities=t", "trainer=deepspeed", *words)


def test_deepspeed_that_is_not_installed_is_named(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["dataset=demo", "model=smollm2", "modalities=t", "trainer=deepspeed"]
    configure(*words, "trainer.compile=true")  # which a divided model refuses
    monkeypatch.setattr("affect.training.rules.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'affect[deepspeed]'")):
        configure(*words)

"""Jobs of one process share what is pretrained, and each ends as it would have alone."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import tiny_manifest, tiny_words
from torch import nn

import train
from affect import models
from affect.config import Config
from affect.models import adapters, loading, pretrained, weights_cache

SHORT = ("dataset=manifest", "trainer.max_epochs=1", "trainer.batch_size=4", "model.max_seconds=5")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was really loaded, in order; nothing is kept from other tests."""
    names: list[str] = []
    load = pretrained.complete_weights

    def noted(kind: type, key: str, name: str, **how: object) -> nn.Module:
        names.append(key)
        return load(kind, key, name, **how)

    monkeypatch.setattr(pretrained, "complete_weights", noted)
    weights_cache.clear()
    return names


def predictions(monkeypatch: pytest.MonkeyPatch, output: Path, *words: str) -> list[str]:
    """What the jobs of train.py with these words predicted, in their order."""
    monkeypatch.delenv("AFFECT_STAMP", raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py", *words, f"output_root={output}"])
    train.main()
    return [path.read_text(encoding="utf-8") for path in sorted(output.rglob("predictions.jsonl"))]


def test_jobs_share_the_language_model_and_end_as_they_would_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[str]
) -> None:
    table = tiny_manifest(tmp_path / "corpus", train=9)
    words = [*tiny_words(tmp_path, "composed"), *SHORT, f"datasets.manifest.root={table}"]
    monkeypatch.chdir(tmp_path)
    both = predictions(monkeypatch, tmp_path / "sweep", "-m", *words, "seed=1,2")
    assert loaded == ["model.language"]
    weights_cache.clear()
    alone = predictions(monkeypatch, tmp_path / "alone", *words, "seed=2")
    assert loaded == ["model.language"] * 2
    assert both[1:] == alone and both[0] != both[1]


def test_what_was_trained_whole_or_failed_is_loaded_again(
    tmp_path: Path, configure: Callable[..., Config], loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tiny_manifest(tmp_path / "corpus")
    words = [*tiny_words(tmp_path, "composed"), *SHORT, f"datasets.manifest.root={table}", "modalities=t"]
    lora, full = configure(*words), configure(*words, "finetuning=full")

    def job(cfg: Config) -> dict:
        with loading.borrowed(cfg) as (model, _):
            adapters.apply(model, cfg.finetuning)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.data.add_(1.0)
            language = model.language
        return {name: tensor.clone() for name, tensor in language.state_dict().items()}

    fresh, _ = models.load(lora.model, modalities="t", cache_root=tmp_path)
    assert len(loaded) == 1
    pristine = fresh.language.state_dict()
    after = job(lora)
    assert after.keys() == pristine.keys(), "adapters are left in what the next job gets"
    assert all(after[name].equal(pristine[name]) for name in pristine)
    job(lora)
    assert len(loaded) == 2, "a job with LoRA leaves the weights as they were"
    job(full)
    job(lora)
    assert len(loaded) == 3, "a job that trains everything does not hand its weights on"

    def fails(cfg: Config) -> None:
        with loading.borrowed(cfg) as (model, _):
            adapters.apply(model, cfg.finetuning)
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fails(lora)
    job(lora)
    assert len(loaded) == 4, "after an error nothing is kept"

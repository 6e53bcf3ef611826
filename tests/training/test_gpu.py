"""What has to hold on a CUDA device: tiny models there against the same on the CPU. make gpu_check runs these too."""

import copy
import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_families import BUILD
from tiny_models import tiny_manifest, tiny_qwen_omni, tiny_words
from torch import distributed
from transformers.utils import is_flash_attn_2_available

import evaluate
import train
from affect.config import FAMILIES, Attention, FinetuningConfig, Precision, QwenOmniConfig
from affect.data import Prediction
from affect.evaluation import predict
from affect.models import Conversation, adapters, load
from affect.models.losses import answer_loss
from affect.training.module import Predictions

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
LABELS = ("joy", "strongly positive", "n")
ONE_LANGUAGE_MODEL = {"gemma4_both_ways": "gemma4"}
MODALITIES = {"qwen2_audio": "ta", "audio_flamingo3": "ta", "voxtral": "ta", "nemotron_h_omni": "ta"}
MODALITIES |= {"qwen3_vl": "tv", "video_llama3": "tv"}


@pytest.fixture(autouse=True)
def float32_is_float32() -> Iterator[None]:
    """Convolutions in float32 are TensorFloat-32 on a GPU unless torch is told otherwise, with 11 significant bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def items(modalities: str) -> list[Conversation]:
    """Prompts of different lengths, so that a batch has padding."""
    made = []
    for i, text in enumerate(("Which emotion?", "How does she sound or look, and why do you think so?", "Well?")):
        random = np.random.default_rng(i)
        parts = [{"type": "audio"}] * ("a" in modalities) + [{"type": "video"}] * ("v" in modalities)
        sound = (0.3 * random.standard_normal(8_000 + 4_000 * i)).astype(np.float32)
        made.append(
            Conversation(
                messages=[{"role": "user", "content": [*parts, {"type": "text", "text": text}]}],
                waveform=sound if "a" in modalities else None,
                frames=random.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8) if "v" in modalities else None,
                seconds=1.6,
            )
        )
    return made


def answered(asked: list[Conversation]) -> list[Conversation]:
    return [replace(item, answer=answer) for item, answer in zip(asked, LABELS, strict=True)]


def moved(batch: dict[str, Any]) -> dict[str, Any]:
    return {key: value.to(DEVICE) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}


@pytest.fixture(scope="module", params=BUILD)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any, str]:
    """A family in float32 on the CPU and on the device, its encoder and its modalities."""
    name = request.param
    if name == "gemma3n":
        pytest.importorskip("timm")
    if name == "voxtral":
        pytest.importorskip("mistral_common")
    folder = BUILD[name](tmp_path_factory.mktemp("gpu") / name)
    family, modalities = ONE_LANGUAGE_MODEL.get(name, name), MODALITIES.get(name, "tav")
    config = FAMILIES[family](
        family=family,
        name="tiny",
        modalities=modalities,
        checkpoint=str(folder),
        num_frames=4,
        frame_size=64,
        precision=Precision.float32,
    )
    model, encoder = load(config, modalities=modalities, cache_root=folder)
    return model.eval(), copy.deepcopy(model).to(DEVICE).eval(), encoder, modalities


def test_float32_on_the_gpu_is_float32_on_the_cpu(pair: tuple[Any, Any, Any, str]) -> None:
    """Kernels add up in other orders: a thousandth of the spread of the logits, which are about 1, is ten times what
    float32 loses by that, and a hundredth of what bfloat16 or TensorFloat-32 would."""
    here, there, encoder, modalities = pair
    batch = encoder.encode(answered(items(modalities)))
    with torch.no_grad():
        keep = batch["answer_length"] + 1
        expected, found = here(batch, keep), there(moved(batch), keep)
        loss = answer_loss(here, batch), answer_loss(there, moved(batch))
    assert found.device.type == DEVICE and expected.std() > 0.1
    torch.testing.assert_close(found.cpu(), expected, atol=1e-3 * float(expected.std()), rtol=1e-3)
    torch.testing.assert_close(loss[1].cpu(), loss[0], atol=0, rtol=1e-3)


def test_labels_are_scored_and_answers_written_alike(pair: tuple[Any, Any, Any, str]) -> None:
    here, there, encoder, modalities = pair
    batch = encoder.encode(items(modalities))
    candidates = [encoder.answer_ids(label) for label in LABELS]
    scores = predict.score(here, batch, candidates)
    with torch.no_grad():
        torch.testing.assert_close(predict.score(there, moved(batch), candidates).cpu(), scores, atol=1e-2, rtol=1e-3)
        # The weights are fixed, and the logits of the two best tokens at least 0.002 apart: more than float32 rounds.
        written = here.generate(batch, 5)
        assert there.generate(moved(batch), 5) == written
    assert any(len(answer) == 5 for answer in written)


def test_kept_outputs_of_the_encoders_go_back_to_the_gpu(pair: tuple[Any, Any, Any, str]) -> None:
    """They are computed there, kept on the CPU, and give what the clip itself gives."""
    _, there, encoder, modalities = pair
    asked = items(modalities)
    clips = encoder.features([replace(item, messages=[]) for item in asked])
    with torch.no_grad():
        made = there.encoder_outputs(moved(clips))
    instead = []
    for item, outputs in zip(asked, made, strict=True):
        assert outputs.keys() == there.encoders().keys()
        kept = {part: {name: tensor.cpu() for name, tensor in of.items()} for part, of in outputs.items()}
        instead.append(replace(item, waveform=None, frames=None, outputs=kept))
    with torch.no_grad():
        expected = there(moved(encoder.encode(asked)), 1)
        found = there(moved(encoder.encode(instead)), 1)
    torch.testing.assert_close(found, expected, atol=1e-3 * float(expected.std()), rtol=1e-3)


@pytest.mark.parametrize("attention", [Attention.eager, Attention.flash])
def test_other_kernels_of_attention_see_the_same(attention: Attention, tmp_path: Path) -> None:
    """In bfloat16, on prompts with padding: as near to float32 as sdpa comes. Padding that is seen moves logits by
    0.9 here, 25 times the spread of what rounding does."""
    if attention is Attention.flash and not is_flash_attn_2_available():
        pytest.skip("the package flash-attn is not installed")
    folder = tiny_qwen_omni(tmp_path / "qwen", chunk_length=30)
    plain = QwenOmniConfig(name="tiny", modalities="tav", checkpoint=str(folder), precision=Precision.float32)
    rounded = replace(plain, precision=Precision.bfloat16)

    def logits(config: QwenOmniConfig) -> torch.Tensor:
        model, encoder = load(config, modalities="tav", cache_root=tmp_path)
        kind = torch.float32 if config.precision is Precision.float32 else torch.bfloat16
        batch = moved(encoder.encode(answered(items("tav"))))
        assert (batch["attention_mask"] == 0).any()
        with torch.no_grad(), torch.autocast(DEVICE, kind, enabled=kind is torch.bfloat16):
            return model.to(DEVICE).eval()(batch, batch["answer_length"] + 1).float()

    exact = logits(plain)
    sdpa, other = (logits(replace(rounded, attention=kernel)) - exact for kernel in (Attention.sdpa, attention))
    assert 0 < sdpa.std() < 0.1 * exact.std()
    assert other.std() < 2 * sdpa.std()


def test_four_bits_on_the_gpu_are_those_of_the_cpu(tmp_path: Path) -> None:
    """The same 16 levels in the same blocks; the product is computed by another kernel."""
    pytest.importorskip("bitsandbytes")
    folder = tiny_qwen_omni(tmp_path / "qwen", chunk_length=30)
    config = QwenOmniConfig(name="tiny", modalities="tav", checkpoint=str(folder), precision=Precision.float32)
    finetuning = FinetuningConfig(name="test", rank=4, four_bit=True)
    found = {}
    for device in ("cpu", DEVICE):
        model, encoder = load(config, modalities="t", cache_root=tmp_path)
        torch.manual_seed(0)
        adapters.apply(model, finetuning)
        model.to(device).train()
        batch = encoder.encode(answered(items("t")))
        loss = answer_loss(model, moved(batch) if device == DEVICE else batch)
        loss.backward()
        gradients = [p.grad.cpu() for name, p in model.named_parameters() if "lora_B" in name]
        found[device] = loss.detach().cpu(), gradients
    torch.testing.assert_close(found[DEVICE][0], found["cpu"][0], atol=0, rtol=1e-2)
    for there, here in zip(found[DEVICE][1], found["cpu"][1], strict=True):
        assert here.abs().max() > 0
        torch.testing.assert_close(there, here, atol=0.02 * float(here.abs().max()), rtol=0)


def prediction(number: int) -> Prediction:
    return Prediction(
        id=f"d/test/{number}",
        dataset="d",
        split="test",
        task="emotion",
        group="g",
        target="joy",
        answer="große Freude",
        exact="joy",
        lenient="joy",
        outcome="valid",
        readout="generate",
    )


def test_predictions_are_gathered_by_processes_that_know_cuda_alone(tmp_path: Path) -> None:
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("nccl", store=store, rank=0, world_size=1)
    try:
        predictions = Predictions()
        predictions.update([prediction(2), prediction(1)])
        predictions.update([prediction(3)])
        assert predictions.gathered() == [prediction(1), prediction(2), prediction(3)]
    finally:
        distributed.destroy_process_group()


Start = Callable[..., Path]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """`start("train", *words)` runs train.py in this process and gives the folder it made."""

    def started(program: str, *words: str) -> Path:
        before = set((tmp_path / "outputs").glob("*/"))
        monkeypatch.setattr(sys, "argv", [f"{program}.py", *words, f"output_root={tmp_path / 'outputs'}"])
        monkeypatch.delenv("AFFECT_STAMP", raising=False)
        monkeypatch.chdir(tmp_path)
        {"train": train.main, "evaluate": evaluate.main}[program]()
        [made] = set((tmp_path / "outputs").glob("*/")) - before
        return made

    return started


def losses(folder: Path) -> list[float]:
    with (folder / "log" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_a_training_in_float32_and_one_from_kept_outputs(tmp_path: Path, start: Start) -> None:
    table = tiny_manifest(tmp_path / "corpus")
    words = [*tiny_words(tmp_path, "qwen_omni"), "dataset=manifest", f"datasets.manifest.root={table}"]
    words += ["modalities=tav", "model.precision=float32", "trainer.log_every=1", "trainer.max_epochs=2"]
    words += ["trainer.batch_size=4"]
    on_cpu = start("train", *words, "trainer.accelerator=cpu")
    on_gpu = start("train", *words, f"trainer.accelerator={DEVICE}", "trainer.encoder_cache=on")
    from_kept = start("train", *words, f"trainer.accelerator={DEVICE}", "trainer.encoder_cache=on")
    # A step of Adam multiplies roundings of small gradients, hence more than of one forward pass.
    assert losses(on_gpu) == pytest.approx(losses(on_cpu), rel=5e-3)
    assert len(losses(on_gpu)) == 4
    assert losses(from_kept) == pytest.approx(losses(on_gpu), rel=1e-4)
    again = start("evaluate", f"run={on_gpu}", "trainer.accelerator=cpu", f"cache_root={tmp_path / 'cache'}")
    assert (again / "metrics.json").is_file()

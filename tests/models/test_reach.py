"""Which weights of composed models are trained: those that an answer depends on, whatever the parts are. The native
families are in test_families.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_models import (
    tiny_clip,
    tiny_composed_language,
    tiny_hubert,
    tiny_siglip,
    tiny_wav2vec2,
    tiny_whisper,
)
from torch import nn

from affect.config import Attention, ComposedConfig, ConfigError, FinetuningConfig, LoraMethod, Tower
from affect.models import Conversation, adapters, load, reach
from affect.models.losses import answer_loss

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WAVES = {
    **SMALL,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 16,
}


def saved(model: Any, processor: Any) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        model().save_pretrained(folder)
        processor().save_pretrained(folder)
        return folder

    return made


IMAGES = {"image_size": 32, "patch_size": 16}
ENCODERS: dict[str, tuple[str, Callable[[Path], Path], set[str]]] = {
    "clip": ("vision", tiny_clip, {"post_layernorm"}),
    "siglip": ("vision", tiny_siglip, {"head"}),
    "vit": (
        "vision",
        saved(
            lambda: transformers.ViTModel(transformers.ViTConfig(**SMALL, **IMAGES)),
            lambda: transformers.ViTImageProcessor(size={"height": 32, "width": 32}),
        ),
        {"pooler"},
    ),
    "dinov2": (
        "vision",
        saved(
            lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, **IMAGES)),
            lambda: transformers.ViTImageProcessor(size={"height": 32, "width": 32}),
        ),
        {"embeddings.mask_token"},
    ),
    "whisper": ("audio", tiny_whisper, set()),
    "wav2vec2": ("audio", tiny_wav2vec2, {"masked_spec_embed"}),
    "hubert": ("audio", tiny_hubert, {"masked_spec_embed"}),
    "wavlm": (
        "audio",
        saved(
            lambda: transformers.WavLMModel(transformers.WavLMConfig(**WAVES)),
            lambda: transformers.Wav2Vec2FeatureExtractor(),
        ),
        {"masked_spec_embed"},
    ),
}
"""By kind: its tower, a folder of it, and what of it stands behind, or beside, the states that are taken."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reach")
    tiny_composed_language(root / "language")
    return root


def made(folder: Path, **parts: Any) -> tuple[Any, Any]:
    parts = {"language": str(folder / "language"), "encoder_width": 16, "audio_tokens": 2, "video_tokens": 2} | parts
    # Which every class has.
    how = {"num_frames": 2, "frame_size": 32, "attention": Attention.eager}
    config = ComposedConfig(name="tiny", modalities="tav", **how, **parts)
    return load(config, modalities="tav", cache_root=folder)


def items(answers: tuple[str, ...] = ("joy", "anger")) -> list[Conversation]:
    random = np.random.default_rng(0)
    return [
        Conversation(
            messages=[
                {"role": "user", "content": [{"type": "audio"}, {"type": "video"}, {"type": "text", "text": "?"}]}
            ],
            answer=answer,
            waveform=(0.3 * random.standard_normal(8_000)).astype(np.float32),
            frames=random.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8),
            seconds=0.5,
        )
        for answer in answers
    ]


def trained_without_gradient(model: Any, encoder: Any) -> list[str]:
    adapters.set_training_mode(model.train())
    loss = answer_loss(model, encoder.encode(items()))
    loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    missing = [name for name, parameter in trained.items() if parameter.grad is None]
    assert set(missing) == reach.not_reached(trained.items(), loss)
    return missing


MODES = {
    "full": {"mode": Tower.full},
    "lora": {"mode": Tower.lora},
    "dora": {"mode": Tower.lora, "method": LoraMethod.dora},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ENCODERS)
def test_what_is_trained_of_an_encoder_gets_a_gradient(folder: Path, kind: str, mode: str) -> None:
    tower, build, unused = ENCODERS[kind]
    if not (folder / kind).exists():
        build(folder / kind)
    model, encoder = made(folder, **{tower: str(folder / kind)})
    left_out = {name for name in model.unused([tower])}
    assert all(any(f"{tower}.encoder.{part}" in name for part in unused) for name in left_out)
    assert all(any(f"{tower}.encoder.{part}" in name for name in left_out) for part in unused)
    how = dict(MODES[mode])
    config = FinetuningConfig(name="test", rank=2, **{tower: how.pop("mode")}, **how)
    if (kind, mode) in (("wavlm", "lora"), ("wavlm", "dora")):
        # Its attention takes the weights, so that LoRA reaches the layers behind alone.
        adapters.apply(model, config)
        found = {n.rsplit(".", 1)[-1] for n, m in model.named_modules() if hasattr(m, "lora_A") and tower in n}
        assert found == {"projection", "intermediate_dense", "output_dense", "gru_rel_pos_linear"}
    else:
        counts = {count.tower: count for count in adapters.apply(model, config)}
        if mode == "full":
            lost = sum(model.get_parameter(name).numel() for name in left_out)
            assert counts[tower].trained == counts[tower].parameters - lost
    assert trained_without_gradient(model, encoder) == []


def test_a_language_model_with_a_vision_tower_of_its_own_is_trained_without_it(folder: Path) -> None:
    text = {"vocab_size": 512, "num_key_value_heads": 1, "head_dim": 8, **SMALL}
    config = transformers.Gemma3Config(text_config=text, vision_config={**SMALL, **IMAGES}, mm_tokens_per_image=4)
    whole = folder / "gemma3"
    transformers.AutoTokenizer.from_pretrained(folder / "language").save_pretrained(whole)
    transformers.Gemma3ForConditionalGeneration(config).save_pretrained(whole)
    for mode in (Tower.lora, Tower.full):
        model, encoder = made(folder, language=str(whole))
        adapters.apply(model, FinetuningConfig(name="test", rank=2, language=mode))
        assert not [n for n, p in model.named_parameters() if p.requires_grad and "vision_tower" in n]
        assert trained_without_gradient(model, encoder) == []


class Mixer(nn.Module):
    """As a mixer of Mamba-2, whose kernel takes the weight of out_proj where it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj, self.out_proj, self.gate = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.in_proj(x.to(self.gate.weight.dtype))
        return self.gate(nn.functional.linear(x, self.out_proj.weight, self.out_proj.bias))


def test_modules_whose_weight_is_taken_are_told_from_those_that_are_called() -> None:
    assert reach.read_directly(nn.ModuleDict({"mixer": Mixer()})) == {"mixer.out_proj"}
    assert reach.read_directly(nn.MultiheadAttention(8, 2)) == {"out_proj"}
    assert reach.read_directly(nn.TransformerEncoderLayer(8, 2)) == {"self_attn.out_proj", "linear1", "linear2"}


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("Mamba2", {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 2}, {"out_proj"}),
        ("Mamba", {"state_size": 8}, {"out_proj", "x_proj", "dt_proj"}),
    ],
)
def test_lora_goes_into_no_module_whose_weight_a_kernel_reads(folder: Path, kind: str, config: dict, expected) -> None:
    whole = folder / kind
    config = getattr(transformers, f"{kind}Config")(vocab_size=512, hidden_size=32, num_hidden_layers=2, **config)
    transformers.AutoTokenizer.from_pretrained(folder / "language").save_pretrained(whole)
    getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(whole)
    model, encoder = made(folder, language=str(whole))
    read = {name.rsplit(".", 1)[-1] for name in reach.read_directly(model.language)}
    assert read == expected
    with pytest.raises(ConfigError, match=r"finetuning\.targets names out_proj, and LoRA would do nothing there: the"):
        adapters.apply(model, FinetuningConfig(name="test", rank=2, targets=["in_proj", "out_proj"]))
    model, encoder = made(folder, language=str(whole))
    adapters.apply(model, FinetuningConfig(name="test", rank=2))
    found = {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if hasattr(m, "lora_A")}
    assert "in_proj" in found and not found & expected
    assert trained_without_gradient(model, encoder) == []
    model, encoder = made(folder, language=str(whole))
    adapters.apply(model, FinetuningConfig(name="test", language=Tower.full))
    assert trained_without_gradient(model, encoder) == []


def test_a_model_that_cannot_be_sketched_is_taken_to_use_everything() -> None:
    class Looking(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if bool(x.sum() > 0) else x

    def run(copy: nn.Module) -> torch.Tensor:
        return copy(torch.empty(1, 4, dtype=torch.bfloat16, device="meta"))

    assert reach.unused(Looking(4, 4), run) == set()
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).requires_grad_(False)
    assert reach.unused(module, lambda copy: copy[0](torch.empty(1, 4, dtype=torch.bfloat16, device="meta"))) == {
        "1.weight",
        "1.bias",
    }
    assert not any(p.requires_grad or p.is_meta for p in module.parameters())


def test_a_first_batch_that_leaves_something_out_is_said() -> None:
    module = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2), "c": nn.Linear(2, 2).requires_grad_(False)})
    x = torch.ones(1, 2)
    said = adapters.without_gradient(module, module["a"](x).sum())
    assert said.startswith("2 of 4 trained parameter tensors get no gradient from the first")
    assert "for example b.bias: where no batch uses them they stay as they are" in said
    assert adapters.without_gradient(module, module["b"](module["a"](x)).sum()) is None


def test_all_processes_get_a_gradient_of_every_parameter() -> None:
    """Whatever the clips of one of them lack."""
    from types import SimpleNamespace

    from affect.training.module import Supervised

    model = nn.ModuleDict({"language": nn.Linear(2, 2), "audio": nn.Linear(2, 2)})
    finetuning = FinetuningConfig(name="test")
    learner = SimpleNamespace(module=model, loss=lambda *_: model["language"](torch.ones(1, 2)).sum())
    supervised = Supervised(learner, finetuning, lambda predictions: {})
    datamodule = SimpleNamespace(step_total=lambda index: 1)
    with pytest.MonkeyPatch.context() as patch:
        trainer = SimpleNamespace(accumulate_grad_batches=1, world_size=2, datamodule=datamodule, global_step=1)
        patch.setattr(supervised, "_trainer", trainer)
        batch = SimpleNamespace(tensors={}, examples=[], failed=[])
        supervised.training_step(batch, 0).backward()
    assert torch.equal(model["audio"].weight.grad, torch.zeros(2, 2))
    assert torch.equal(model["language"].weight.grad, torch.ones(2, 2))

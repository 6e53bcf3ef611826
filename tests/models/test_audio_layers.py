"""model.audio_layer: a layer of a pretrained audio encoder, or a learnt sum over all, with tiny encoders of three
blocks."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_composed_language, tiny_manifest, tiny_words
from transformers import (
    AutoModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from affect import models
from affect.config import Attention, ComposedConfig, ConfigError, FinetuningConfig, Tower
from affect.data import loading
from affect.models import Conversation, adapters, collate, encoder_cache, sampling
from affect.models.composed import projectors
from affect.models.composed.towers import segment_means
from affect.prompting import examples
from affect.training import usable_clips

BLOCKS, TOKENS = 3, 2
WAV2VEC2 = {
    "hidden_size": 16,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 16,
    "initializer_range": 0.2,
}
WHISPER = {
    "d_model": 16,
    "encoder_layers": BLOCKS,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "vocab_size": 16,
    "max_source_positions": 100,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "init_std": 0.2,
}
ENCODERS = {
    "whisper": lambda: (WhisperModel(WhisperConfig(**WHISPER)), WhisperFeatureExtractor(chunk_length=2)),
    "wav2vec2": lambda: (
        Wav2Vec2Model(Wav2Vec2Config(do_stable_layer_norm=True, **WAV2VEC2)),
        Wav2Vec2FeatureExtractor(),
    ),
    "hubert": lambda: (HubertModel(HubertConfig(**WAV2VEC2)), Wav2Vec2FeatureExtractor()),
    "wavlm": lambda: (WavLMModel(WavLMConfig(**WAV2VEC2)), Wav2Vec2FeatureExtractor()),
}
SOUNDS = [(0.1 * np.random.default_rng(n).standard_normal(n)).astype(np.float32) for n in (16_000, 9_000)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("layers")
    tiny_composed_language(root / "language")
    for name, make in ENCODERS.items():
        torch.manual_seed(0)
        for part in make():
            part.save_pretrained(root / name)
    return root


def load(folder: Path, audio: str, layer: str, state_dropout: float = 0.0):
    config = ComposedConfig(
        name="tiny",
        modalities="ta",
        language=str(folder / "language"),
        audio=audio if audio == "conv" else str(folder / audio),
        audio_layer=layer,
        state_dropout=state_dropout,
        audio_tokens=TOKENS,
        attention=Attention.eager if audio == "wavlm" else Attention.auto,  # WavLM has no other
        max_seconds=2.0,
    )
    torch.manual_seed(0)
    model, encoder = models.load(config, modalities="ta", cache_root=folder)
    return model.eval(), encoder


def spoken() -> list[Conversation]:
    turns = [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Well?"}]}]
    return [Conversation(messages=turns, answer="joy", waveform=sound) for sound in SOUNDS]


@torch.no_grad()
def expected(folder: Path, audio: str, features: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """[clips, BLOCKS + 1, TOKENS, 16] from all hidden states of transformers' own model, a clip at a time."""
    model = AutoModel.from_pretrained(folder / audio).eval()
    model = getattr(model, "encoder", model) if audio == "whisper" else model
    rows = []
    for clip, length in zip(features, lengths, strict=True):
        clip = clip if audio == "whisper" else clip[:length]
        outputs = model(clip[None], output_hidden_states=True)
        states = (*outputs.hidden_states[:-1], outputs.last_hidden_state)
        steps = states[0].shape[1]
        used = -(-length * steps // features.shape[-1]) if audio == "whisper" else steps
        means = [segment_means(s.transpose(1, 2), torch.tensor([used]), TOKENS)[0] for s in states]
        rows.append(torch.stack(means))
    return torch.stack(rows)


@pytest.mark.parametrize("audio", ENCODERS)
def test_a_layer_is_that_hidden_state_of_transformers(folder: Path, audio: str) -> None:
    whole, encoder = load(folder, audio, "last")
    batch = encoder.encode(spoken())
    all_layers = expected(folder, audio, batch["audio_features"], batch["audio_lengths"].tolist())
    assert (all_layers[:, 1:] - all_layers[:, :-1]).abs().amax((0, 2, 3)).min() > 1e-3
    torch.testing.assert_close(whole.audio(batch).detach(), all_layers[:, -1])
    sizes = []
    for layer in range(BLOCKS + 1):
        model, _ = load(folder, audio, str(layer))
        torch.testing.assert_close(model.audio(batch).detach(), all_layers[:, layer])
        sizes.append(sum(p.numel() for p in model.audio.parameters()))
        # What is left of the encoder is used, but for its final normalisation and what masked training needs.
        unused = model.unused({"audio"})
        assert all(name.endswith((".layer_norm.weight", ".layer_norm.bias", "masked_spec_embed")) for name in unused)
        assert len(unused) <= 3 and not any(".layers." in name for name in unused)
    assert sizes == sorted(set(sizes)) and sizes[-1] == sum(p.numel() for p in whole.audio.parameters())
    for chosen in ([0, 2], [1, 2, 3]):
        model, _ = load(folder, audio, "+".join(map(str, chosen)))
        torch.testing.assert_close(model.audio(batch).detach(), all_layers[:, chosen].transpose(1, 2).flatten(2))
        assert model.audio.width == 16 * len(chosen) and not any(".layers." in n for n in model.unused({"audio"}))
    weighted, _ = load(folder, audio, "weighted")
    torch.testing.assert_close(weighted.audio(batch).detach(), all_layers)


def test_the_weighted_sum_is_superbs_and_a_step_trains_it(folder: Path) -> None:
    model, encoder = load(folder, "hubert", "weighted")
    adapters.apply(model, FinetuningConfig(name="lora", projector=Tower.auto))
    logits = model.audio_projector.layer_sum.logits
    assert logits.requires_grad and model.towers["projector"] == ["audio_projector"] and "projector" in model.new
    with torch.no_grad():
        logits.copy_(torch.tensor([0.3, -1.0, 2.0, 0.0]))
    batch = encoder.encode(spoken())
    states = model.audio(batch)
    weights = torch.tensor([0.3, -1.0, 2.0, 0.0]).exp()
    mixed = sum(w * states[:, layer] for layer, w in enumerate(weights / weights.sum()))
    torch.testing.assert_close(model.audio_projector.layer_sum(states), mixed)
    model.train()(batch, 1).square().mean().backward()
    assert logits.grad.abs().min() > 0
    before = logits.detach().clone()
    torch.optim.AdamW([logits], lr=0.1).step()
    assert (logits != before).all()


def test_layers_that_are_not_there_are_refused(folder: Path, configure) -> None:
    with pytest.raises(ConfigError, match=r"audio_layer=4, but model.audio=.*/hubert has 3 layers: give 0 to 3, last"):
        load(folder, "hubert", "4")
    words = (*tiny_words(folder), "modalities=ta", "dataset=demo")
    with pytest.raises(ConfigError, match=r"model.audio_layer=2 is of a pretrained encoder, and model.audio=conv is"):
        configure(*words, "model.audio_layer=2")
    for wrong in ("middle", "2+1", "1+1", "1+", "weighted+1"):
        with pytest.raises(
            ConfigError, match=rf"model.audio_layer={re.escape(wrong)} has to be last, weighted, the num"
        ):
            configure(*words, f"model.audio={folder / 'hubert'}", f"model.audio_layer='{wrong}'")
    with pytest.raises(ConfigError, match=r"audio_layer=4, but model.audio=.*/hubert has 3 layers"):
        load(folder, "hubert", "2+4")


SHAPES = {"last": (TOKENS, 16), "1": (TOKENS, 16), "1+2": (TOKENS, 32), "weighted": (BLOCKS + 1, TOKENS, 16)}


def test_the_cache_holds_what_each_choice_needs(folder: Path, tmp_path: Path, configure) -> None:
    table = tiny_manifest(tmp_path / "corpus", train=3, val=1, test=1)
    identities = set()
    for layer, shape in SHAPES.items():
        cfg = configure(
            *[word for word in tiny_words(folder) if not word.startswith("cache_root=")],
            "dataset=manifest",
            f"datasets.manifest.root={table}",
            "modalities=ta",
            f"model.audio={folder / 'whisper'}",
            f"model.audio_layer={layer}",
            f"model.audio_tokens={TOKENS}",
            "model.max_seconds=2",
            "trainer.encoder_cache=on",
            f"cache_root={tmp_path}",
        )
        parts = loading.read(cfg, ["train"])
        source = usable_clips.exclude_unusable(parts, cfg)
        torch.manual_seed(1)
        model, encoder = models.load(cfg.model, modalities="ta", cache_root=tmp_path)
        adapters.apply(model, cfg.finetuning)
        asked = examples.examples(parts, "train", cfg, encoder.count_text, labelled_only=True)
        outputs = encoder_cache.prepare(model, encoder, {"train": asked}, cfg, source)
        identities |= set(outputs.identities.values())
        with_cache = collate.Collate(encoder, sampling.sampling(cfg), True, source, outputs)(asked).tensors
        without = collate.Collate(encoder, sampling.sampling(cfg), True, source, None)(asked).tensors
        assert with_cache["audio_states"].shape == (3, *shape) and "audio_features" not in with_cache
        with torch.no_grad():
            torch.testing.assert_close(model.soft_tokens(with_cache), model.soft_tokens(without))
    assert len(identities) == len(SHAPES)


@pytest.mark.parametrize("num_layers", [None, 4])
def test_states_are_standardised_over_the_training_clips(num_layers: int | None) -> None:
    shape = (5, 3, 8) if num_layers is None else (5, num_layers, 3, 8)
    batches = [torch.randn(shape) * torch.linspace(0.1, 9, 8) + torch.arange(8.0) for _ in range(3)]
    torch.manual_seed(0)
    projector = projectors.Projector(8, 6, 1.0, None, num_layers, standardised=True)
    plain = projectors.Projector(8, 6, 1.0, None, num_layers)
    plain.load_state_dict(projector.state_dict(), strict=False)
    projector.calibrate(batches)
    states = torch.cat(batches)
    axes = (0, -2)
    expected = (states - states.mean(axes, keepdim=True)) / states.std(axes, keepdim=True)
    torch.testing.assert_close(projector(states), plain(expected))
    assert "mean" in projector.state_dict() and "mean" not in plain.state_dict()


def test_states_cannot_be_standardised_without_alignment(folder: Path, configure) -> None:
    words = (*tiny_words(folder), "modalities=ta", "dataset=demo", "model.standardise_states=true")
    with pytest.raises(ConfigError, match=r"standardise_states=true measures the states when alignment begins, and"):
        configure(*words, "finetuning.alignment_epochs=0")


def test_dropout_of_states_stays_on_while_a_language_model_learns_to_read_a_frozen_projector(folder: Path) -> None:
    model, encoder = load(folder, "whisper", "last", state_dropout=0.5)
    adapters.apply(model, FinetuningConfig(name="x", rank=2, projector=Tower.full, audio=Tower.frozen))
    adapters.freeze_new(model)
    batch = encoder.encode(spoken())
    adapters.set_training_mode(model)
    assert not model.audio_projector.layers.training and not model.audio.training
    one, other = (model.soft_tokens(batch)["audio"] for _ in range(2))
    assert not torch.equal(one, other)
    model.eval()
    one, other = (model.soft_tokens(batch)["audio"] for _ in range(2))
    assert torch.equal(one, other)

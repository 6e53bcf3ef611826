"""Checkpoint folders of the real classes with a few thousand random weights, and a few short clips, built offline in
about a second."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    GenerationConfig,
    HubertConfig,
    HubertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2_5OmniConfig,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperModel,
)

from affect.data.media import SAMPLING_RATE, write_clip

QWEN_MEDIA_TOKENS = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}
CHATML = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'audio' -%}{{ 'AUDIO' }}
{%- elif part.type == 'video' -%}{{ 'VIDEO' }}
{%- else -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
QWEN_TEMPLATE = """\
{%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
""" + CHATML.replace("AUDIO", "<|audio_bos|><|AUDIO|><|audio_eos|>").replace(
    "VIDEO", "<|vision_bos|><|VIDEO|><|vision_eos|>"
)
CORPUS = [
    "You are a helpful assistant. system user assistant",
    "Which emotion does the speaker show? Answer with one of: anger, disgust, fear, joy, neutral, sadness, surprise.",
    "How positive is the utterance? Transcript of the clip: negative, positive, very negative, strongly positive.",
    "The voice is low and slow, the face is turned away. happy, calm, angry, fearful, surprised, excited, frustrated.",
]


def byte_level_tokenizer(special: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer of about 400 tokens that can spell anything; `special` come after all others."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(special)
    return tokenizer


def tokenizer_with(
    media: dict[str, str], ends: tuple[str, ...] = ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), **how: Any
) -> PreTrainedTokenizerFast:
    """`media` are extra special tokens by name; the last of `ends` is the end of a turn, the first is padding."""
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer([*ends, *media.values()]),
        eos_token=ends[-1],
        pad_token=ends[0],
        padding_side="left",
        extra_special_tokens=media,
        **how,
    )


def qwen_processor(chunk_length: int = 300) -> Qwen2_5OmniProcessor:
    """Qwen2.5-Omni's processor with its stock extractor (300 s) and a tokenizer of its own."""
    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(),
        video_processor=Qwen2VLVideoProcessor(),
        feature_extractor=WhisperFeatureExtractor(feature_size=128, chunk_length=chunk_length),
        tokenizer=tokenizer_with(QWEN_MEDIA_TOKENS),
        chat_template=QWEN_TEMPLATE,
    )


def qwen_thinker_config(processor: Qwen2_5OmniProcessor, width: int = 64) -> Qwen2_5OmniThinkerConfig:
    """Two layers in every tower, of 32 and, in the language model, of `width`, with the token ids of `processor`."""
    tokenizer = processor.tokenizer
    return Qwen2_5OmniThinkerConfig(
        audio_config={
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "d_model": 32,
            "output_dim": width,
        },
        # One block with attention in windows and one over the whole frame, as in the real model.
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": width,
            "fullatt_block_indexes": [1],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": width // 16,
            "num_key_value_heads": width // 32,
            # A head of 16 has 8 frequencies, shared out to time, height and width.
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "tie_word_embeddings": False,
            # Ten times the stock value, so that a wrong position or a missing clip moves the logits visibly.
            "initializer_range": 0.2,
        },
        audio_token_index=processor.audio_token_id,
        image_token_index=processor.image_token_id,
        video_token_index=processor.video_token_id,
        audio_start_token_id=tokenizer.audio_bos_token_id,
        audio_end_token_id=tokenizer.audio_eos_token_id,
        vision_start_token_id=tokenizer.vision_bos_token_id,
        vision_end_token_id=tokenizer.vision_eos_token_id,
        initializer_range=0.2,
    )


def tiny_qwen_omni(folder: Path, *, chunk_length: int = 300, full: bool = False, width: int = 64) -> Path:
    """A Qwen2.5-Omni checkpoint in `folder`: of the thinker alone, or, with `full`, as the hub has it.

    The full one has the thinker's keys under `thinker.`, named as when it was released, a talker's key beside them, the
    configuration of the whole model, and no spk_dict.pt.
    """
    processor = qwen_processor(chunk_length)
    config = qwen_thinker_config(processor, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        thinker = Qwen2_5OmniThinkerForConditionalGeneration(config)
    processor.save_pretrained(folder)
    thinker.save_pretrained(folder)
    if full:
        from safetensors.torch import load_file, save_file

        weights = {f"thinker.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
        weights["talker.codec_head.weight"] = torch.zeros(4, 4)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        Qwen2_5OmniConfig(thinker_config=config.to_dict()).save_pretrained(folder)
    return folder


# As SmolLM2's: no list of parts as content, and a system turn of its own where the conversation has none.
CHATML_TEMPLATE = """\
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def tiny_composed_language(folder: Path, *, template: str | None = CHATML_TEMPLATE) -> Path:
    """A Llama of two layers of width 64 in `folder`, with a tokenizer and chat template in the manner of SmolLM2."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=template,
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _whisper_config(**settings: Any) -> WhisperConfig:
    """One layer of width 16, unless `settings` say otherwise."""
    small: dict[str, Any] = {
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "init_std": 0.2,
    }
    return WhisperConfig(**(small | settings))


def tiny_whisper(folder: Path, seconds: int = 30, **settings: Any) -> Path:
    """A Whisper of one layer of width 16, unless `settings` of its configuration say otherwise, with its feature
    extractor, which takes `seconds`."""
    tokens = {"vocab_size": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = _whisper_config(**tokens, max_source_positions=50 * seconds, **settings)
    return _save(folder, WhisperModel, config, WhisperFeatureExtractor(chunk_length=seconds))


def tiny_recogniser(folder: Path) -> Path:
    """A whole Whisper of one layer of width 16, with tokens for two languages, no speech and times, that writes at most
    six tokens."""
    named = ["endoftext", "startoftranscript", "en", "zh", "translate", "transcribe", "startofprev", "nospeech"]
    special = [f"<|{name}|>" for name in [*named, "notimestamps"]]
    times = [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer([*special, *times]), eos_token=special[0], pad_token=special[0]
    )
    ids = dict(zip(named, tokenizer.convert_tokens_to_ids(special), strict=False))
    both = {
        "bos_token_id": ids["endoftext"],
        "eos_token_id": ids["endoftext"],
        "pad_token_id": ids["endoftext"],
        "decoder_start_token_id": ids["startoftranscript"],
        "suppress_tokens": [],
        "begin_suppress_tokens": [ids["endoftext"]],
    }
    config = _whisper_config(vocab_size=len(tokenizer), **both)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        **both,
        max_length=10,
        is_multilingual=True,
        lang_to_id={"<|en|>": ids["en"], "<|zh|>": ids["zh"]},
        task_to_id={task: ids[task] for task in ("transcribe", "translate")},
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
        prev_sot_token_id=ids["startofprev"],
        max_initial_timestamp_index=50,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


WAVE_ENCODER = {
    **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    **{"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2},
    **{"vocab_size": 16, "initializer_range": 0.2},
}


def tiny_wav2vec2(folder: Path) -> Path:
    """A wav2vec 2.0 of one layer of width 16, which takes the waveform itself and normalises over the whole of it."""
    return _save(folder, Wav2Vec2Model, Wav2Vec2Config(**WAVE_ENCODER), Wav2Vec2FeatureExtractor())


def tiny_hubert(folder: Path) -> Path:
    """A HuBERT of one layer of width 16, which takes the waveform itself."""
    return _save(folder, HubertModel, HubertConfig(**WAVE_ENCODER), Wav2Vec2FeatureExtractor())


def tiny_clip(folder: Path) -> Path:
    """A CLIP of one layer of width 16 for frames of 32 x 32, with its image processor."""
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**size, "vocab_size": 16, "max_position_embeddings": 8},
        vision_config={**size, "image_size": 32, "patch_size": 16},
    )
    square = {"height": 32, "width": 32}
    return _save(folder, CLIPModel, config, CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square))


def tiny_siglip(folder: Path) -> Path:
    """A SigLIP of one layer of width 16 for frames of 32 x 32, with its image processor."""
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={**size, "vocab_size": 16, "max_position_embeddings": 8},
        vision_config={**size, "image_size": 32, "patch_size": 16},
    )
    return _save(folder, SiglipModel, config, SiglipImageProcessor(size={"height": 32, "width": 32}))


def _save(folder: Path, kind: type, config: object, extractor: object) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


TINY_LABELS = ("joy", "anger", "sadness")


def tiny_manifest(
    folder: Path,
    *,
    train: int = 8,
    val: int = 6,
    test: int = 6,
    labels: Sequence[str] = TINY_LABELS,
    media: bool = True,
) -> Path:
    """A table of clips of about a second, `folder`/clips.csv: class i hums at 150 · 2^i Hz before a screen of its own
    brightness. Columns clip, text, label, level (a number from -1 to 1), split, speaker."""
    (folder / "clips").mkdir(parents=True)
    rows = []
    for split, count in (("train", train), ("val", val), ("test", test)):
        for i in range(count):
            which = i % len(labels)
            name = f"clips/{split}_{i}.mp4"
            if media:
                seconds = 0.7 + 0.1 * (i % 4)  # of different lengths, so that batches have padding
                random = np.random.default_rng([i, len(split)])
                time = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
                sound = 0.3 * np.sin(2 * np.pi * 150 * 2**which * time) + 0.01 * random.standard_normal(len(time))
                screen = np.full((8, 32, 32, 3), 40 + 80 * which) + random.integers(-20, 20, (8, 32, 32, 3))
                write_clip(
                    folder / name,
                    frames=screen.astype(np.uint8),
                    fps=8 / seconds,
                    waveform=sound.astype(np.float32),
                    sampling_rate=SAMPLING_RATE,
                )
            text = " ".join(["well", f"number {i}", "is what I said then"][: 1 + i % 3])
            rows.append((name, text, labels[which], which - 1, split, f"{split}{i % 2}"))
    with open(folder / "clips.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("clip", "text", "label", "level", "split", "speaker"))
        writer.writerows(rows)
    return folder / "clips.csv"


SMALL_CLIPS = ("model.num_frames=2", "model.frame_size=32")


def tiny_words(root: Path, family: str = "composed") -> list[str]:
    """The words of a command line that choose a tiny model of `family`, made in `root` on first use, and keep quiet."""
    folder = root / family
    if family == "composed":
        if not folder.exists():
            tiny_composed_language(folder)
        sizes = ("model.encoder_width=16", "model.audio_tokens=2", "model.video_tokens=2")
        chosen = ["model=smollm2", f"model.language={folder}", *sizes]
    else:
        if not folder.exists():
            tiny_qwen_omni(folder)
        chosen = ["model=qwen2_5_omni_3b", f"model.checkpoint={folder}"]
    small = ("finetuning.rank=2", "finetuning.alignment_epochs=1", "trainer.check_workers=1")
    return [*chosen, "model.name=tiny", *SMALL_CLIPS, *small, "trainer.progress=false", f"cache_root={root / 'cache'}"]

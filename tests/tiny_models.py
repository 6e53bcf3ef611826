"""Checkpoint folders of the real classes with a few thousand random weights, built offline in about a second."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5OmniConfig,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

QWEN_MEDIA_TOKENS = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}
QWEN_TEMPLATE = """\
{%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'audio' -%}{{ '<|audio_bos|><|AUDIO|><|audio_eos|>' }}
{%- elif part.type == 'video' -%}{{ '<|vision_bos|><|VIDEO|><|vision_eos|>' }}
{%- else -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
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


def qwen_processor(chunk_length: int = 300) -> Qwen2_5OmniProcessor:
    """Qwen2.5-Omni's processor with its stock extractor (300 s) and a tokenizer of its own."""
    ends = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer([*ends, *QWEN_MEDIA_TOKENS.values()]),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens=QWEN_MEDIA_TOKENS,
    )
    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(),
        video_processor=Qwen2VLVideoProcessor(),
        feature_extractor=WhisperFeatureExtractor(feature_size=128, chunk_length=chunk_length),
        tokenizer=tokenizer,
        chat_template=QWEN_TEMPLATE,
    )


def qwen_thinker_config(processor: Qwen2_5OmniProcessor) -> Qwen2_5OmniThinkerConfig:
    """Two layers of width 32 in every tower, with the token ids of `processor`."""
    tokenizer = processor.tokenizer
    return Qwen2_5OmniThinkerConfig(
        audio_config={
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "d_model": 32,
            "output_dim": 32,
        },
        # One block with attention in windows and one over the whole frame, as in the real model.
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
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


def tiny_qwen_omni(folder: Path, *, chunk_length: int = 300, full: bool = False) -> Path:
    """A Qwen2.5-Omni checkpoint in `folder`: of the thinker alone, or, with `full`, as the hub has it.

    The full one has the thinker's keys under `thinker.`, named as when it was released, a talker's key beside them, the
    configuration of the whole model, and no spk_dict.pt.
    """
    processor = qwen_processor(chunk_length)
    config = qwen_thinker_config(processor)
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

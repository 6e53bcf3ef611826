"""A checkpoint folder of every native family: the real classes, a few thousand random weights, and a processor made
here without a network."""

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_models import CHATML, QWEN_MEDIA_TOKENS, byte_level_tokenizer, tokenizer_with
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    Gemma3nAudioFeatureExtractor,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma3nProcessor,
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessor,
    Gemma4Processor,
    Gemma4VideoProcessor,
    NemotronH_Omni_Reasoning_V3,
    NemotronH_Omni_Reasoning_V3_Config,
    NemotronH_Omni_Reasoning_V3ImageProcessor,
    NemotronH_Omni_Reasoning_V3Processor,
    NemotronH_Omni_Reasoning_V3VideoProcessor,
    ParakeetFeatureExtractor,
    Phi4MultimodalConfig,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalForCausalLM,
    Phi4MultimodalImageProcessor,
    Phi4MultimodalProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3OmniMoeProcessor,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SiglipImageProcessor,
    VideoLlama3Config,
    VideoLlama3ForConditionalGeneration,
    VideoLlama3ImageProcessor,
    VideoLlama3Processor,
    VideoLlama3VideoProcessor,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.integrations.mistral import convert_tekken_tokenizer

# As Gemma's: it writes the first token of the text itself, and calls the assistant model.
GEMMA = """\
{{- bos_token -}}
{%- for message in messages -%}
{{ '<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'audio' -%}{{ '<|audio|>' }}
{%- elif part.type == 'video' -%}{{ '\\n\\n<|video|>\\n\\n' }}
{%- else -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<turn|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|turn>model\\n' }}{%- endif -%}
"""
GEMMA_3N = (
    GEMMA.replace("<|turn>", "<start_of_turn>")
    .replace("<turn|>", "<end_of_turn>")
    .replace("<|audio|>", "<audio_soft_token>")
    .replace("video", "image")
    .replace("\\n\\n<|image|>\\n\\n", "<image_soft_token>")
)
# As Phi's: with the tokenizer, and of plain strings.
PHI = """\
{%- for message in messages -%}
{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}
"""
# Ten times the stock value, so that a wrong position or a missing clip moves the logits visibly.
RANGE = {"initializer_range": 0.2}
LAYERS = {"num_hidden_layers": 1, "num_attention_heads": 2, **RANGE}
QWEN3_VISION = {
    **{"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32},
    **{"num_position_embeddings": 64, "deepstack_visual_indexes": [0], **RANGE},
}
QWEN3_ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
# Two layers with a sliding window and two full ones, of which the last of each use the keys of the first.
GEMMA_TEXT = {
    **{"num_hidden_layers": 4, "head_dim": 16, "layer_types": ["sliding_attention", "full_attention"] * 2},
    **{"num_kv_shared_layers": 2, "sliding_window": 24, "hidden_size_per_layer_input": 8},
}
TEXT = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, **RANGE}


def chatml(audio: str = "", video: str = "") -> str:
    return CHATML.replace("AUDIO", audio).replace("VIDEO", video)


def text_config(tokenizer: PreTrainedTokenizerFast, **how: Any) -> dict[str, Any]:
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    return {"vocab_size": len(tokenizer), "hidden_size": 32, **TEXT, **ids, **how}


def saved(folder: Path, kind: type, config: PreTrainedConfig, processor: Any) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(copy.deepcopy(config))
        model.config = config  # timm puts classes into its own, which JSON cannot write
        # Some classes start these from zero, and then what is on them would not be seen.
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    processor.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def qwen_omni(folder: Path) -> Path:
    from tiny_models import tiny_qwen_omni

    return tiny_qwen_omni(folder, chunk_length=30)


def qwen3_omni(folder: Path) -> Path:
    tokenizer = tokenizer_with(QWEN_MEDIA_TOKENS)
    vision = {"patch_size": 16}
    processor = Qwen3OmniMoeProcessor(
        image_processor=Qwen2VLImageProcessor(**vision),
        video_processor=Qwen2VLVideoProcessor(**vision),
        feature_extractor=WhisperFeatureExtractor(feature_size=128, chunk_length=300),
        tokenizer=tokenizer,
        chat_template=chatml("<|audio_bos|><|AUDIO|><|audio_eos|>", "<|vision_bos|><|VIDEO|><|vision_eos|>"),
    )
    config = Qwen3OmniMoeThinkerConfig(
        audio_config={
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "d_model": 32,
            "output_dim": 32,
            "downsample_hidden_size": 8,
            **RANGE,
        },
        vision_config=dict(QWEN3_VISION),
        text_config=text_config(
            tokenizer,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            rope_parameters=dict(QWEN3_ROPE),
        ),
        audio_token_id=processor.audio_token_id,
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        audio_start_token_id=tokenizer.audio_bos_token_id,
        vision_start_token_id=tokenizer.vision_bos_token_id,
        vision_end_token_id=tokenizer.vision_eos_token_id,
        **RANGE,
    )
    return saved(folder, Qwen3OmniMoeThinkerForConditionalGeneration, config, processor)


def qwen3_vl(folder: Path) -> Path:
    media = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
    }
    tokenizer = tokenizer_with(media)
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=16),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=chatml("", "<|vision_start|><|video_pad|><|vision_end|>"),
    )
    config = Qwen3VLConfig(
        vision_config=dict(QWEN3_VISION),
        text_config=text_config(tokenizer, head_dim=16, rope_parameters=dict(QWEN3_ROPE)),
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        vision_start_token_id=tokenizer.vision_start_token_id,
        vision_end_token_id=tokenizer.vision_end_token_id,
        **RANGE,
    )
    return saved(folder, Qwen3VLForConditionalGeneration, config, processor)


def qwen2_audio(folder: Path) -> Path:
    media = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
    tokenizer = tokenizer_with(media)
    processor = Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer)
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "d_model": 16,
            **RANGE,
        },
        text_config={"model_type": "qwen2", **text_config(tokenizer)},
        audio_token_index=processor.audio_token_id,
    )
    return saved(folder, Qwen2AudioForConditionalGeneration, config, processor)


def audio_flamingo3(folder: Path) -> Path:
    tokenizer = tokenizer_with({"audio_token": "<sound>"})
    processor = AudioFlamingo3Processor(
        WhisperFeatureExtractor(feature_size=128), tokenizer, chat_template=chatml("<sound>")
    )
    config = AudioFlamingo3Config(
        audio_config={
            "model_type": "audioflamingo3_encoder",
            "intermediate_size": 32,
            "hidden_size": 16,
            **LAYERS,
        },
        text_config={"model_type": "qwen2", **text_config(tokenizer)},
        audio_token_id=processor.audio_token_id,
    )
    return saved(folder, AudioFlamingo3ForConditionalGeneration, config, processor)


MISTRAL = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS]"
    " [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"
    " <SPECIAL_20> <SPECIAL_21> [ARGS] [CALL_ID] [AUDIO] [BEGIN_AUDIO] <SPECIAL_26> <SPECIAL_27> [TRANSCRIBE]"
)
"""Special tokens, in the order of their ids."""
WORDS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tekken(file: Path) -> Path:
    """A tokenizer in Mistral's own format, with the ids that Voxtral's special tokens have."""
    back = {character: byte for byte, character in bytes_to_unicode().items()}
    ranked = sorted(byte_level_tokenizer([]).get_vocab().items(), key=lambda item: item[1])
    longer = [bytes(back[character] for character in token) for token, _ in ranked if len(token) > 1]
    vocabulary = [*(bytes([byte]) for byte in range(256)), *longer]
    special = MISTRAL.split(" ")
    described = {
        "config": {
            "pattern": WORDS,
            "num_vocab_tokens": len(vocabulary),
            "default_vocab_size": len(vocabulary) + len(special),
            "default_num_special_tokens": len(special),
            "version": "v11",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
            for rank, token in enumerate(vocabulary)
        ],
        "special_tokens": [{"rank": i, "token_str": token, "is_control": True} for i, token in enumerate(special)],
        "audio": {
            "sampling_rate": 16_000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "chunk_length_s": 30.0,
        },
    }
    file.write_text(json.dumps(described))
    return file


def voxtral(folder: Path) -> Path:
    folder.mkdir(parents=True)
    tokenizer = convert_tekken_tokenizer(str(tekken(folder / "tekken.json")), chat_template="")
    config = VoxtralConfig(
        audio_config={
            "model_type": "voxtral_encoder",
            "intermediate_size": 64,
            "hidden_size": 16,
            **LAYERS,
        },
        text_config={"model_type": "llama", **text_config(tokenizer, head_dim=16)},
        audio_token_id=tokenizer.convert_tokens_to_ids("[AUDIO]"),
    )
    return saved(folder, VoxtralForConditionalGeneration, config, WhisperFeatureExtractor(feature_size=128))


def video_llama3(folder: Path) -> Path:
    tokenizer = tokenizer_with({"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"})
    processor = VideoLlama3Processor(
        image_processor=VideoLlama3ImageProcessor(),
        tokenizer=tokenizer,
        video_processor=VideoLlama3VideoProcessor(),
        chat_template=chatml("", "<|video_pad|>"),
    )
    config = VideoLlama3Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 14,
            **RANGE,
        },
        text_config={"model_type": "qwen2", **text_config(tokenizer)},
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        **RANGE,
    )
    return saved(folder, VideoLlama3ForConditionalGeneration, config, processor)


def gemma4(folder: Path, bidirectional: str | None = None) -> Path:
    media = {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
    }
    tokenizer = tokenizer_with(media, ("<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>"), bos_token="<bos>")
    processor = Gemma4Processor(
        feature_extractor=Gemma4AudioFeatureExtractor(),
        image_processor=Gemma4ImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Gemma4VideoProcessor(),
        chat_template=GEMMA,
    )
    config = Gemma4Config(
        audio_config={
            "hidden_size": 32,
            "subsampling_conv_channels": [128, 4],
            "output_proj_dims": 16,
            **LAYERS,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "position_embedding_size": 64,
            **LAYERS,
        },
        text_config=text_config(
            tokenizer,
            **GEMMA_TEXT,
            global_head_dim=16,
            vocab_size_per_layer_input=len(tokenizer),
            final_logit_softcapping=30.0,
            use_bidirectional_attention=bidirectional,
            bos_token_id=tokenizer.bos_token_id,
        ),
        boi_token_id=tokenizer.boi_token_id,
        eoi_token_id=tokenizer.eoi_token_id,
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        boa_token_id=tokenizer.boa_token_id,
        eoa_token_index=tokenizer.eoa_token_id,
        audio_token_id=processor.audio_token_id,
        **RANGE,
    )
    return saved(folder, Gemma4ForConditionalGeneration, config, processor)


def gemma4_both_ways(folder: Path) -> Path:
    """As the large sizes, whose frames see each other in both directions."""
    return gemma4(folder, "vision")


MOBILENET_BLOCKS = [
    ["er_r1_k3_s2_e4_c128"],
    ["uir_r1_a3_k5_s2_e6_c256", "uir_r1_a5_k0_s1_e4_c256"],
    ["uir_r1_a5_k5_s2_e6_c640", "uir_r1_a0_k0_s1_e1_c640", "mqa_r1_k3_h2_v2_s1_d16_c640", "uir_r1_a0_k0_s1_e2_c640"],
    ["uir_r1_a5_k5_s2_e6_c1280", "mqa_r1_k3_h2_s1_d16_c1280", "uir_r1_a0_k0_s1_e2_c1280"],
]
"""The kinds of blocks of the four stages of MobileNetV5-300M, as timm writes them."""


def gemma3n(folder: Path) -> Path:
    from timm.models._efficientnet_builder import decode_arch_def

    # The special tokens of pictures come after those of the text, and those of sound after them.
    media = {
        "boi_token": "<start_of_image>",
        "boa_token": "<start_of_audio>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
        "eoa_token": "<end_of_audio>",
        "audio_token": "<audio_soft_token>",
    }
    ends = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
    tokenizer = tokenizer_with(media, ends, bos_token="<bos>")
    processor = Gemma3nProcessor(
        feature_extractor=Gemma3nAudioFeatureExtractor(),
        image_processor=SiglipImageProcessor(size={"height": 128, "width": 128}),
        tokenizer=tokenizer,
        chat_template=GEMMA_3N,
    )
    config = Gemma3nConfig(
        audio_config={
            "hidden_size": 32,
            "vocab_size": 4,
            "vocab_offset": tokenizer.eoa_token_id,
            "conf_num_hidden_layers": 1,
            "conf_num_attention_heads": 2,
            "sscp_conv_channel_size": [8, 4],
            **RANGE,
        },
        # A block of every kind, a sixteenth as wide. At the stock scale of layers no block would move the output.
        vision_config={
            "vocab_size": 2,
            "vocab_offset": tokenizer.eoi_token_id,
            "model_args": {
                "channel_multiplier": 0.0625,
                "layer_scale_init_value": 0.1,
                "block_args": decode_arch_def(MOBILENET_BLOCKS),
            },
            **RANGE,
        },
        text_config=text_config(
            tokenizer,
            **GEMMA_TEXT,
            vocab_size=len(tokenizer) + 2,
            vocab_size_per_layer_input=tokenizer.eoi_token_id,
            activation_sparsity_pattern=[0.95, 0.0, 0.0, 0.0],
            laurel_rank=8,
            bos_token_id=tokenizer.bos_token_id,
        ),
        boi_token_id=tokenizer.boi_token_id,
        eoi_token_id=tokenizer.eoi_token_id,
        image_token_id=processor.image_token_id,
        boa_token_id=tokenizer.boa_token_id,
        eoa_token_id=tokenizer.eoa_token_id,
        audio_token_id=processor.audio_token_id,
        **RANGE,
    )
    return saved(folder, Gemma3nForConditionalGeneration, config, processor)


def phi4_multimodal(folder: Path) -> Path:
    ends = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
    tokenizer = tokenizer_with({"image_token": "<|image|>", "audio_token": "<|audio|>"}, ends)
    tokenizer.chat_template = PHI
    processor = Phi4MultimodalProcessor(
        image_processor=Phi4MultimodalImageProcessor(),
        audio_processor=Phi4MultimodalFeatureExtractor(),
        tokenizer=tokenizer,
    )
    config = Phi4MultimodalConfig(
        # Of the real image size, since the processor's numbers of tokens are those of no other.
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_token_id": processor.image_token_id,
        },
        audio_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_blocks": 1,
            "num_attention_heads": 2,
            "ext_pw_out_channel": 32,
            "depthwise_separable_out_channel": 32,
            "nemo_conv_channels": 8,
            "audio_token_id": processor.audio_token_id,
            **RANGE,
        },
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
        bos_token_id=tokenizer.pad_token_id,
        **text_config(tokenizer),
    )
    return saved(folder, Phi4MultimodalForCausalLM, config, processor)


def nemotron_h_omni(folder: Path) -> Path:
    media = {
        "image_token": "<image>",
        "image_start_token": "<img>",
        "image_end_token": "</img>",
        "audio_token": "<so_embedding>",
        "audio_start_token": "<so_start>",
        "audio_end_token": "<so_end>",
    }
    tokenizer = tokenizer_with(media)
    # It thinks unless it is told not to.
    role, thought = "message.role + '\\n'", "('<think></think>' if message.role == 'assistant' else '')"
    thinking = "{{ '<think>' if enable_thinking is not defined or enable_thinking else '<think></think>' }}"
    template = chatml("<so_embedding>", "<video>").replace(role, f"{role} + {thought}")
    processor = NemotronH_Omni_Reasoning_V3Processor(
        image_processor=NemotronH_Omni_Reasoning_V3ImageProcessor(),
        video_processor=NemotronH_Omni_Reasoning_V3VideoProcessor(
            norm_mean=[0.5] * 3, norm_std=[0.3] * 3, video_target_num_patches=16
        ),
        tokenizer=tokenizer,
        feature_extractor=ParakeetFeatureExtractor(),
        chat_template=template.replace("assistant\\n' }}", "assistant\\n' }}" + thinking),
    )
    config = NemotronH_Omni_Reasoning_V3_Config(
        audio_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "subsampling_conv_channels": 8,
            "projection_hidden_size": 32,
            "projection_bias": False,
            **LAYERS,
        },
        vision_config={
            "model_type": "radio",
            "hidden_size": 32,
            "max_img_size": 128,
            "video_temporal_patch_size": 2,
            **LAYERS,
        },
        text_config={
            "model_type": "nemotron_h",
            **text_config(
                tokenizer,
                layers_block_type=[
                    "linear_attention",
                    "moe",
                    "full_attention",
                    "linear_attention",
                    "full_attention",
                    "mlp",
                ],
                num_hidden_layers=6,
                head_dim=16,
                mamba_num_heads=4,
                mamba_head_dim=8,
                ssm_state_size=8,
                n_groups=2,
                chunk_size=16,
                n_routed_experts=4,
                moe_intermediate_size=16,
                moe_shared_expert_intermediate_size=16,
            ),
        },
        projector_hidden_size=32,
        vision_hidden_size=32,
        image_token_id=processor.image_token_id,
        audio_token_id=processor.audio_token_id,
        **RANGE,
    )
    return saved(folder, NemotronH_Omni_Reasoning_V3, config, processor)


BUILD: dict[str, Callable[[Path], Path]] = {
    "qwen_omni": qwen_omni,
    "qwen3_omni": qwen3_omni,
    "gemma3n": gemma3n,
    "gemma4": gemma4,
    "gemma4_both_ways": gemma4_both_ways,
    "phi4_multimodal": phi4_multimodal,
    "qwen2_audio": qwen2_audio,
    "audio_flamingo3": audio_flamingo3,
    "voxtral": voxtral,
    "qwen3_vl": qwen3_vl,
    "video_llama3": video_llama3,
    "nemotron_h_omni": nemotron_h_omni,
}

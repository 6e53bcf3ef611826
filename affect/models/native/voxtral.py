"""Voxtral (Mistral 2025, arXiv 2507.13264): text and sound in, text out. It has no picture.

    <s>[INST]…[BEGIN_AUDIO][AUDIO][AUDIO] … …[/INST]…</s>

A sound is filled up with silence to windows of 30 s, each of which becomes 375 tokens, one for 80 ms. The model was
taught no system turn: its text opens the first turn of the user.

The checkpoint has its tokenizer as Mistral's own file, tekken.json, which transformers reads without the package
mistral-common, and no chat template: what that package writes is written here, and the tests hold the two together.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoFeatureExtractor, VoxtralForConditionalGeneration, VoxtralProcessor
from transformers.integrations.mistral import convert_tekken_tokenizer
from transformers.utils import cached_file

from affect.config import NativeConfig
from affect.models.native import family, loading
from affect.models.protocol import Conversation

TOKENIZER = "tekken.json"
FRAMES_A_TOKEN = 8
"""Of 10 ms. The audio tower halves their number, and its projector takes four of the halves at once."""
TEMPLATE = """\
{{- '<s>' -}}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{{ '[INST]' }}{%- endif -%}
{%- for part in message.content -%}
{%- if part.type == 'audio' -%}{{ '[BEGIN_AUDIO][AUDIO]' }}
{%- else -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{{ '[/INST]' if message.role == 'user' else '</s>' }}
{%- endfor -%}
"""


def load(config: NativeConfig, *, modalities: str, cache_root: Path) -> tuple["Voxtral", "VoxtralEncoder"]:
    """The model, on the CPU, and its encoder. Raises what `loading.load` raises."""
    backbone, processor = loading.load(
        config,
        modalities,
        types=("voxtral",),
        model=VoxtralForConditionalGeneration,
        processor=Processor,
        towers={"a": ("audio_tower", "multi_modal_projector")},
    )
    encoder = VoxtralEncoder(processor, config, modalities)
    return Voxtral(backbone, stops=encoder.stops), encoder


class Processor(VoxtralProcessor):
    """With the tokenizer that transformers makes of tekken.json, whether or not mistral-common is installed. It is read
    and written as the released checkpoints have it."""

    @classmethod
    def from_pretrained(cls, checkpoint: str, revision: str | None = None) -> "Processor":
        extractor = AutoFeatureExtractor.from_pretrained(checkpoint, revision=revision)
        file = cached_file(checkpoint, TOKENIZER, revision=revision)
        return cls(extractor, convert_tekken_tokenizer(file, chat_template=TEMPLATE))

    def save_pretrained(self, folder: str | Path) -> None:
        self.feature_extractor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder, save_format="mistral")


class VoxtralEncoder(family.NativeEncoder):
    """See `affect.models.Encoder`. A window of a batch is a row of its features, and a clip has one or several."""

    KEYS = ("input_features",)
    TOKENS: ClassVar = {"audio": "audio_token_id"}

    def arranged(self, messages: list[dict]) -> list[dict]:
        """With the text of a system turn at the beginning of the turn that follows."""
        if messages[0]["role"] != "system":
            return messages
        system, first, *others = messages
        text = "".join(part["text"] for part in system["content"])
        return [{**first, "content": [{"type": "text", "text": f"{text}\n\n"}, *first["content"]]}, *others]

    def processed(self, conversation: Conversation) -> dict[str, Any]:
        if conversation.waveform is None:
            return {}
        extractor = self.processor.feature_extractor
        [heard] = extractor(
            conversation.waveform,
            sampling_rate=self.sampling_rate,
            truncation=False,
            padding=True,
            pad_to_multiple_of=extractor.n_samples,
            return_tensors="pt",
        ).input_features
        return {
            "input_features": heard.reshape(len(heard), -1, extractor.nb_max_frames).transpose(0, 1),
            "audio_written": torch.full((heard.shape[-1] // FRAMES_A_TOKEN,), self.media_ids["audio"]),
        }


class Voxtral(family.Native):
    """See `affect.models.Model`."""

    TOWERS: ClassVar = {"audio": ("model.audio_tower",), "projector": ("model.multi_modal_projector",)}
    ENCODERS: ClassVar = {"audio": ("model.audio_tower", "model.multi_modal_projector")}

    def heard(self, batch: dict) -> dict[str, torch.Tensor]:
        heard = self.backbone.model.get_audio_features(batch["input_features"], return_dict=True)
        return {"states": heard.pooler_output}

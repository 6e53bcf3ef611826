"""Voxtral (Mistral 2025, arXiv 2507.13264): text and sound in, text out. It takes no video.

    <s>[INST]…[BEGIN_AUDIO][AUDIO][AUDIO] … …[/INST]…</s>

A sound is padded with silence to windows of 30 s, each of which becomes 375 tokens, one for 80 ms. The model knows no
system turn: its text is put before that of the first turn of the user.

The checkpoint has its tokenizer as Mistral's own file, tekken.json, which transformers reads without the package
mistral-common, and no chat template. The template here writes what that package writes, which the tests check.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoFeatureExtractor, VoxtralForConditionalGeneration, VoxtralProcessor
from transformers.integrations.mistral import convert_tekken_tokenizer
from transformers.utils import cached_file

from affect.models.native.encoder import NativeEncoder
from affect.models.native.model import NativeModel
from affect.models.protocol import Conversation

TOKENIZER = "tekken.json"
FRAMES_A_TOKEN = 8
"""Frames of 10 ms. The audio tower halves their number, and its projector joins four of the rest."""
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


class Processor(VoxtralProcessor):
    """Takes the tokenizer that transformers makes of tekken.json, whether or not mistral-common is installed, and
    reads and writes it as the released checkpoints have it."""

    @classmethod
    def from_pretrained(cls, checkpoint: str, revision: str | None = None) -> "Processor":
        extractor = AutoFeatureExtractor.from_pretrained(checkpoint, revision=revision)
        file = cached_file(checkpoint, TOKENIZER, revision=revision)
        return cls(extractor, convert_tekken_tokenizer(file, chat_template=TEMPLATE))

    def save_pretrained(self, folder: str | Path) -> None:
        self.feature_extractor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder, save_format="mistral")


class VoxtralEncoder(NativeEncoder):
    """See `affect.models.Encoder`. A window is a row of a batch's features, and a clip has one or several."""

    KEYS = ("input_features",)
    TOKENS: ClassVar = {"audio": "audio_token_id"}

    def arranged(self, messages: list[dict]) -> list[dict]:
        """Puts the text of a system turn at the beginning of the turn that follows."""
        if messages[0]["role"] != "system":
            return messages
        system, first, *others = messages
        text = "".join(part["text"] for part in system["content"])
        return [{**first, "content": [{"type": "text", "text": f"{text}\n\n"}, *first["content"]]}, *others]

    def processed(self, conversation: Conversation) -> dict[str, Any]:
        if conversation.waveform is None:
            return {}
        extractor = self.processor.feature_extractor
        [log_mel] = extractor(
            conversation.waveform,
            sampling_rate=self.sampling_rate,
            truncation=False,
            padding=True,
            pad_to_multiple_of=extractor.n_samples,
            return_tensors="pt",
        ).input_features
        return {
            "input_features": log_mel.reshape(len(log_mel), -1, extractor.nb_max_frames).transpose(0, 1),
            "audio_written": torch.full((log_mel.shape[-1] // FRAMES_A_TOKEN,), self.media_ids["audio"]),
        }


class Voxtral(NativeModel):
    """See `affect.models.Model`."""

    model_types = ("voxtral",)
    backbone_class = VoxtralForConditionalGeneration
    processor_class = Processor
    encoder_class = VoxtralEncoder
    TOWERS: ClassVar = {"audio": ("model.audio_tower",), "projector": ("model.multi_modal_projector",)}
    ENCODERS: ClassVar = {"audio": ("model.audio_tower", "model.multi_modal_projector")}

    def encode_audio(self, batch: dict) -> dict[str, torch.Tensor]:
        features = batch["input_features"]
        return {"states": self.backbone.model.get_audio_features(features, return_dict=True).pooler_output}

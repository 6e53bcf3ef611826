"""Base class of the native families' encoders: prompts with what the checkpoint's processor writes for clips.

Each clip goes through the processor alone, so that nothing of it depends on the prompt or the batch it is in. What the
processor writes for the clip replaces the prompt's placeholder. So it makes no difference whether the outputs of the
towers are computed or come from the encoder cache.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import PreTrainedConfig

from affect.config import ConfigError, DataError, Media, NativeConfig
from affect.models.chat import ChatEncoder, end_of_turn, neutralise_messages, remembered, special_strings
from affect.models.native.clip_tensors import WRITTEN, from_outputs, joined
from affect.models.native.video import own_options, uniform_options
from affect.models.pretrained import first_line
from affect.models.protocol import Conversation

PARTS = {"audio": "a", "video": "v"}
"""Letters of the modalities, by the type of a message's parts that are media."""


class NativeEncoder(ChatEncoder):
    """See `affect.models.Encoder`. Prompts are rendered by the checkpoint's own chat template."""

    KEYS: tuple[str, ...] = ()
    """Keys of a batch that the processor makes of media and the model takes, beside those every batch has."""
    TOKENS: Mapping[str, str] = {"audio": "audio_token_id", "video": "video_token_id"}
    """By part, the attribute of the processor with the id that stands for it."""
    UNPADDED = ""
    """The key of sounds, where the audio tower looks at their padding in a batch. `audio_frames[A]` is then the length
    of each in frames."""
    LEAST_SAMPLES = 800
    """Shorter sounds are refused: 50 ms, from which every family makes a token."""
    TEXT_CONTENT = False
    """Whether the chat template wants a plain string where a message has text alone."""
    TEMPLATE: Mapping[str, Any] = {}
    """Arguments of the chat template beside the messages."""
    REPEATS = False
    """Whether a clip is written as its part's token alone, over and over, so that its length says all of it."""
    audio_tokens_per_second = 0.0

    def __init__(self, processor: Any, config: NativeConfig, modalities: str, described: PreTrainedConfig) -> None:
        """`modalities` is what the model has towers for, and `described` is its configuration in transformers. Raises
        ConfigError where the chat template cannot be used."""
        self.processor = processor
        self.modalities, self.frame_size = modalities, config.frame_size
        self.own_media = config.media is Media.native
        self.media_ids = {part: getattr(processor, name) for part, name in self.TOKENS.items()}
        tokenizer = processor.tokenizer
        try:
            end = end_of_turn(self.templater, tokenizer, self.TEXT_CONTENT, **self.TEMPLATE)
            super().__init__(tokenizer, end, special_strings(tokenizer))
            for part in self.media_ids:
                self._check_template(part)
        except (TemplateError, ValueError, TypeError) as error:
            raise ConfigError(
                f"model.checkpoint={config.checkpoint} has a chat template that cannot be used"
                f" ({first_line(error)}): it has to write out every part of a turn; name an instruction-tuned"
                " checkpoint"
            ) from error

    def _check_template(self, part: str) -> None:
        parts = [{"type": part}, {"type": "text", "text": "a"}]
        count = self.tokenize(self.render([{"role": "user", "content": parts}])).count(self.media_ids[part])
        if count != 1:
            raise ValueError(f"it writes {count} placeholders for one part '{part}'")

    @property
    def templater(self) -> Any:
        """The owner of the chat template: some checkpoints keep it with the tokenizer alone."""
        return self.processor if getattr(self.processor, "chat_template", None) else self.processor.tokenizer

    @property
    def sampling_rate(self) -> int:
        extractor = getattr(self.processor, "feature_extractor", None) or getattr(self.processor, "audio_processor", 0)
        return extractor.sampling_rate if extractor else 16_000

    @property
    def longest_sound(self) -> float | None:
        """Seconds of sound that the processor takes at most; None where there is no limit."""
        return None

    # --- Clips ---

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        """The processor's keyword arguments for a conversation's sound or frames."""
        options: dict[str, Any] = {}
        if conversation.waveform is not None:
            options["audio"] = [conversation.waveform]
        if conversation.frames is not None:
            options |= {"videos": [conversation.frames], "videos_kwargs": self.video_options(conversation)}
        return options

    def video_options(self, conversation: Conversation) -> dict[str, Any]:
        """Options of the video processor."""
        if self.own_media:
            return own_options(conversation, self.processor.video_processor)
        return uniform_options(conversation)

    def frame_bounds(self, num_frames: int = 1) -> dict[str, int]:
        """The `size` of a Qwen video processor, in pixels: from one token to `num_frames` squares of side `frame_size`,
        rounded up to whole tokens. The processor's own lower bound would enlarge small frames, which adds tokens and
        no detail."""
        processor = self.processor.video_processor
        side = processor.patch_size * processor.merge_size
        return {"shortest_edge": side**2, "longest_edge": num_frames * (-(-self.frame_size // side) * side) ** 2}

    def processed(self, conversation: Conversation) -> dict[str, Any]:
        """What the processor makes of one clip: KEYS, and the ids that it writes in the place of a placeholder,
        `audio_written` and `video_written`."""
        alone = {"audio": replace(conversation, frames=None), "video": replace(conversation, waveform=None)}
        features: dict[str, Any] = {}
        for part, token in self.media_ids.items():
            if alone[part].waveform is None and alone[part].frames is None:
                continue
            clip = self.of_clip(alone[part])
            # Frames that go in as images have a placeholder each.
            text = self._placeholder(part) * len(clip.get("images", "1"))
            # Without padding, as when the prompt is tokenised: it is a setting of the tokenizer, which threads share.
            text_options = {"add_special_tokens": False, "padding": False}
            processed = self.processor(text=[text], return_tensors="pt", text_kwargs=text_options, **clip)
            features |= {key: torch.as_tensor(processed[key]) for key in self.KEYS if key in processed}
            written = processed["input_ids"][0]
            assert token in written, f"the processor wrote no tokens for the part '{part}'"
            text = self._text(written.tolist())
            assert self.tokenize(text) == written.tolist(), f"the tokenizer does not read {text[:40]!r} as it wrote it"
            features[f"{part}_{WRITTEN}"] = written
        if self.UNPADDED in features:
            features["audio_frames"] = torch.tensor([features[self.UNPADDED].shape[1]])
        return features

    def features(self, conversations: list[Conversation]) -> dict[str, Any]:
        """KEYS; and by clip, in lists, the ids that are written for it (`audio_written`, `video_written`, unless they
        only repeat one) and how many of them stand for it (`audio_tokens`, `video_tokens`)."""
        for i, conversation in enumerate(conversations):
            self.check_sound(conversation, f"conversation {i} of the batch")
        clips = [self.processed(conversation) for conversation in conversations]
        batch = self._together(clips)
        for part, token in self.media_ids.items():
            if (key := f"{part}_{WRITTEN}") in clips[0]:
                batch[f"{part}_tokens"] = [int((clip[key] == token).sum()) for clip in clips]
                if not self.REPEATS:
                    batch[key] = [clip[key] for clip in clips]
        return batch

    def _together(self, clips: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        by_key = {key: [clip[key] for clip in clips if key in clip] for key in self.KEYS}
        return {key: joined(tensors) for key, tensors in by_key.items() if tensors}

    def settings(self, part: str) -> str:
        """The processor's settings, and the vocabulary of the ids that it writes."""
        settings = [self.processor.to_json_string(), self.special, self._vocabulary]
        return json.dumps([*settings, "native"] if self.own_media and part == "video" else settings)

    @cached_property
    def _vocabulary(self) -> str:
        """A hash of all tokens in the order of their ids."""
        ids = self.tokenizer.get_vocab()
        return hashlib.sha256("\0".join(sorted(ids, key=ids.__getitem__)).encode()).hexdigest()

    # --- Prompts ---

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The batch: the keys every batch has, and KEYS where conversations have media, each joined over those that
        have them, in their order. Encoder outputs are under `audio_` or `video_` and their own name.

        Raises AssertionError where placeholders and media do not match, DataError for a sound too short for a token.
        """
        prompts, clips = [], []
        for i, conversation in enumerate(conversations):
            self._check(conversation, f"conversation {i} of the batch")
            clips.append(self.processed(conversation))
            prompts.append(self.prompt(conversation, clips[-1]))
        batch = self.text_batch(prompts, [c.answer for c in conversations]) | self._together(clips)
        return batch | from_outputs(conversations, "audio") | from_outputs(conversations, "video")

    def _check(self, conversation: Conversation, where: str) -> None:
        given = {
            "audio": conversation.waveform is not None or "audio" in conversation.outputs,
            "video": conversation.frames is not None or "video" in conversation.outputs,
        }
        for part, letter in PARTS.items():
            count = sum(item["type"] == part for message in conversation.messages for item in message["content"])
            assert count == 0 or letter in self.modalities, (
                f"{where} has a part '{part}' and the model was loaded with modalities={self.modalities}"
            )
            assert count == given[part], f"{where} has {count} parts '{part}' and {int(given[part])} clips for them"
        self.check_sound(conversation, where)
        assert conversation.frames is None or conversation.seconds > 0, (
            f"{where} has frames and does not say how many seconds they span"
        )

    def check_sound(self, conversation: Conversation, where: str) -> None:
        """Raises DataError for a sound that the model cannot take."""
        if conversation.waveform is not None and len(conversation.waveform) < self.LEAST_SAMPLES:
            seconds = len(conversation.waveform) / self.sampling_rate
            raise DataError(
                f"{where}: its sound lasts {seconds:.3f} s, too short for one audio token: check the start and end of"
                " the clip, or leave it out of the annotations"
            )

    def prompt(self, conversation: Conversation, clip: Mapping[str, torch.Tensor]) -> list[int]:
        """Ids of the prompt, with what the processor wrote for the clip in the places of the placeholders."""
        written = self.written(conversation, clip)
        if not self.REPEATS:
            return self._ids(conversation.messages, written)
        ids = self._ids(conversation.messages, {})
        for part, tokens in written.items():
            at = ids.index(self.media_ids[part])
            ids[at : at + 1] = tokens
        return ids

    def written(self, conversation: Conversation, clip: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
        """By part, the ids that stand for the conversation's clip, from its encoder outputs or from the processor."""
        written = {part: clip[key].tolist() for part in self.media_ids if (key := f"{part}_{WRITTEN}") in clip}
        for part, outputs in conversation.outputs.items():
            repeated = [self.media_ids[part]] * len(outputs["states"])
            written[part] = repeated if self.REPEATS else outputs[WRITTEN].tolist()
        return written

    @remembered
    def _ids(self, messages: list[dict], written: Mapping[str, list[int]]) -> list[int]:
        """The ids of the messages with `written` in the places of the placeholders."""
        text = self.render(messages)
        for part, ids in written.items():
            # As text, since a time in it may become one token with what stands before.
            text = text.replace(self._placeholder(part), self._text(ids))
        return self.tokenize(text)

    def _placeholder(self, part: str) -> str:
        return self.tokenizer.convert_ids_to_tokens(self.media_ids[part])

    def _text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def render(self, messages: list[dict]) -> str:
        """The prompt as a string, with one placeholder for the audio and one for the video."""
        safe = self.arranged(neutralise_messages(messages, self.special))
        return self.templater.apply_chat_template(safe, tokenize=False, add_generation_prompt=True, **self.TEMPLATE)

    def arranged(self, messages: list[dict]) -> list[dict]:
        """The messages in the form that the chat template wants."""
        return messages

    def count_text(self, messages: list[dict]) -> int:
        """Number of tokens of the prompt without those that stand for audio and video."""
        return sum(token not in self.media_ids.values() for token in self._ids(messages, {}))

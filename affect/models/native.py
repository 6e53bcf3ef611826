"""What the families have in common whose model and processor are one class each of transformers (loading.py gets them).

A family's module says what sets it apart: its classes, how its processor is told of a clip, and what of the clip its
model is given. Each conversation goes through the processor alone, so nothing of it depends on the batch it is in; the
batch is put together from the parts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jinja2 import TemplateError
from torch import nn
from transformers import DynamicCache

from affect.config import ConfigError, NativeConfig
from affect.models import Conversation
from affect.models.chat import end_of_turn, neutralise, neutralise_messages, pad_left, special_strings
from affect.models.prefix import Prefix, greedy
from affect.models.pretrained import first_line
from affect.record import DataError

KINDS = {"audio": "a", "video": "v"}
"""Types of the parts of a message that are media, with their modalities."""


def joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    """The tensors one after the other along their first axis, their other axes filled up with zeros to the longest."""
    shape = [max(sizes) for sizes in zip(*(t.shape[1:] for t in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        missing = [(0, most - size) for most, size in zip(shape, tensor.shape[1:], strict=True)]
        padded.append(nn.functional.pad(tensor, [n for pair in reversed(missing) for n in pair]))
    return torch.cat(padded)


def together(**parts: list[nn.Module | None]) -> dict[str, nn.Module]:
    """By part one module of several, for those parts that the model was loaded with."""
    return {part: nn.ModuleList(modules) for part, modules in parts.items() if None not in modules}


def clip_metadata(conversation: Conversation) -> dict[str, Any]:
    """What processors want to know of a video whose frames have been sampled already: frame i stands at i / fps."""
    num_frames, height, width, _ = conversation.frames.shape
    assert conversation.seconds > 0, "a conversation with frames does not say how many seconds they span"
    return {
        "fps": num_frames / conversation.seconds,
        "duration": conversation.seconds,
        "total_num_frames": num_frames,
        "frames_indices": list(range(num_frames)),
        "height": height,
        "width": width,
    }


class NativeEncoder:
    """See `affect.models.Encoder`. Prompts are rendered by the checkpoint's own chat template."""

    KEYS: tuple[str, ...] = ()
    """What the processor makes of media and the model takes; beside the keys every batch has."""
    TOKENS: Mapping[str, str] = {"audio": "audio_token_id", "video": "video_token_id"}
    """Attribute of the processor that is the id which stands for a part, by the type of the part."""
    LEAST_SAMPLES = 800
    """Shorter sounds are refused: 50 ms, from which every family makes a token."""
    audio_tokens_per_second = 0.0
    tokens_known = True
    TEXT_CONTENT = False
    """Whether the chat template wants a plain string where a message has text alone."""
    TEMPLATE: Mapping[str, Any] = {}
    """What the chat template is told beside the messages."""

    def __init__(self, processor: Any, config: NativeConfig, modalities: str) -> None:
        """`modalities` is what the model has towers for. Raises ConfigError where the chat template cannot be used."""
        self.processor, self.tokenizer = processor, processor.tokenizer
        self.modalities, self.frame_size = modalities, config.frame_size
        self.media_ids = {kind: getattr(processor, name) for kind, name in self.TOKENS.items()}
        self.special = special_strings(self.tokenizer)
        try:
            self.end = end_of_turn(self.templater, self.tokenizer, self.TEXT_CONTENT, **self.TEMPLATE)
            for kind in self.media_ids:
                self._check_template(kind)
        except (TemplateError, ValueError, TypeError) as error:
            raise ConfigError(
                f"model.checkpoint={config.checkpoint} has a chat template that cannot be used"
                f" ({first_line(error)}): it has to write out every part of a turn; name an instruction-tuned"
                " checkpoint"
            ) from error
        self.pad = self.end if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        self.stops = frozenset({self.end, self.tokenizer.eos_token_id, self.pad} - {None})

    def _check_template(self, kind: str) -> None:
        parts = [{"type": kind}, {"type": "text", "text": "a"}]
        count = self._tokenize(self.render([{"role": "user", "content": parts}])).count(self.media_ids[kind])
        if count != 1:
            raise ValueError(f"it writes {count} placeholders for one part '{kind}'")

    @property
    def templater(self) -> Any:
        """What has the chat template: some checkpoints keep it with the tokenizer alone."""
        return self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer

    @property
    def sampling_rate(self) -> int:
        extractor = getattr(self.processor, "feature_extractor", None) or getattr(self.processor, "audio_processor", 0)
        return extractor.sampling_rate if extractor else 16_000

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        """What the processor is given of a conversation's sound and frames, as its keyword arguments."""
        raise NotImplementedError

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The batch: the keys every batch has, and KEYS where conversations have media, each joined over those that
        have them, in their order.

        Raises AssertionError where placeholders and media do not match, DataError for a sound too short for a token.
        """
        answers = [c.answer for c in conversations]
        assert len({a is None for a in answers}) == 1, "some conversations of the batch have an answer and some do not"
        prompts, features = [], []
        for i, conversation in enumerate(conversations):
            self._check(conversation, f"conversation {i} of the batch")
            ids, made = self._prompt(conversation)
            prompts.append(ids)
            features.append(made)
        targets = None if answers[0] is None else [self.answer_ids(answer) for answer in answers]
        batch = pad_left(prompts, targets, self.pad)
        for key in self.KEYS:
            tensors = [made[key] for made in features if key in made]
            if tensors:
                batch[key] = joined(tensors)
        states = [c.outputs["audio"]["states"] for c in conversations if "audio" in c.outputs]
        if states:
            assert all(c.waveform is None for c in conversations), "a batch has audio in both ways"
            batch["audio_states"] = torch.cat(states)
        return batch

    def features(self, conversations: list[Conversation]) -> dict[str, Any]:
        """What the processor makes of the clip of one conversation."""
        [conversation] = conversations
        given = {"audio": conversation.waveform, "video": conversation.frames}
        parts = [{"type": kind} for kind, clip in given.items() if clip is not None]
        return self._prompt(replace(conversation, messages=[{"role": "user", "content": parts}]))[1]

    def settings(self, part: str) -> str:
        """Of the sound: what is kept of a picture is the matter of single families."""
        assert part == "audio", f"a family that keeps {part} says what it depends on"
        return self.processor.feature_extractor.to_json_string()

    def _check(self, conversation: Conversation, where: str) -> None:
        given = {
            "audio": conversation.waveform is not None or "audio" in conversation.outputs,
            "video": conversation.frames is not None,
        }
        for kind, letter in KINDS.items():
            count = sum(part["type"] == kind for message in conversation.messages for part in message["content"])
            assert count == 0 or letter in self.modalities, (
                f"{where} has a part '{kind}' and the model was loaded with modalities={self.modalities}"
            )
            assert count == given[kind], f"{where} has {count} parts '{kind}' and {int(given[kind])} clips for them"
        if conversation.waveform is not None and len(conversation.waveform) < self.LEAST_SAMPLES:
            seconds = len(conversation.waveform) / self.sampling_rate
            raise DataError(
                f"{where}: its sound lasts {seconds:.3f} s, too short for one audio token: check the start and end of"
                " the clip, or leave it out of the annotations"
            )
        assert conversation.frames is None or conversation.seconds > 0, (
            f"{where} has frames and does not say how many seconds they span"
        )

    def _prompt(self, conversation: Conversation) -> tuple[list[int], dict[str, torch.Tensor]]:
        """Token ids with the clip's placeholders at their full number, and what the processor made of the clip."""
        num_frames = 1 if conversation.frames is None else len(conversation.frames)
        text = self.render(conversation.messages, num_frames)
        if "audio" in conversation.outputs:
            ids, token = self._tokenize(text), self.media_ids["audio"]
            at, length = ids.index(token), len(conversation.outputs["audio"]["states"])
            return [*ids[:at], *[token] * length, *ids[at + 1 :]], {}
        if conversation.waveform is None and conversation.frames is None:
            return self._tokenize(text), {}
        made = self.processor(
            text=[text],
            return_tensors="pt",
            # The template has written it.
            add_special_tokens=False,
            **self.of_clip(conversation),
        )
        ids = made["input_ids"][0].tolist()
        for kind, given in (("audio", conversation.waveform), ("video", conversation.frames)):
            if given is not None:
                assert self.media_ids[kind] in ids, f"the processor wrote no tokens for the part '{kind}'"
        return ids, {key: torch.as_tensor(made[key]) for key in self.KEYS if key in made}

    def answer_ids(self, answer: str) -> list[int]:
        """The tokens of an answer, end of turn included."""
        return [*self._tokenize(neutralise(answer, self.special)), self.end]

    def decode(self, ids: list[int]) -> str:
        """The text of generated tokens, without special ones."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def render(self, messages: list[dict], num_frames: int = 1) -> str:
        """The prompt as a string, with one placeholder for the audio and one for the video, or, in a family that takes
        frames as images, for each of num_frames."""
        safe = self.arranged(neutralise_messages(messages, self.special), num_frames)
        return self.templater.apply_chat_template(safe, tokenize=False, add_generation_prompt=True, **self.TEMPLATE)

    def arranged(self, messages: list[dict], num_frames: int) -> list[dict]:
        """The messages in the form that the chat template wants."""
        return messages

    def count_text(self, messages: list[dict]) -> int:
        """Number of tokens of the prompt without those that stand for audio and video."""
        return sum(token not in self.media_ids.values() for token in self._tokenize(self.render(messages)))

    def _tokenize(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


class Native(nn.Module):
    """See `affect.models.Model`. `backbone` is the class of transformers, with its own parameter names.

    Every call passes its positions, and the head is applied to the hidden states of the positions that are asked for:
    some classes compute the logits of 152,000 words at every position, whatever `logits_to_keep` says.
    """

    new: frozenset[str] = frozenset()
    LANGUAGE: tuple[str, ...] = ("model.language_model", "lm_head")
    TOWERS: Mapping[str, tuple[str, ...]] = {}
    """Module names below the backbone by tower, projector included. Those that were dropped do not count."""
    KEYS: tuple[str, ...] = ()
    """The keys of a batch beside input_ids, attention_mask and positions that the backbone takes."""
    AXES = 1
    """Of a position: 3 where it is time, height and width."""

    def __init__(self, backbone: Any, *, stops: frozenset[int]) -> None:
        """`stops` are the tokens that end a generated answer."""
        super().__init__()
        self.backbone, self.stops = backbone, stops
        there = {name for name, _ in backbone.named_modules()}
        named = {
            tower: [f"backbone.{name}" for name in names if name in there]
            for tower, names in {"language": self.LANGUAGE, **self.TOWERS}.items()
        }
        self.towers = {tower: names for tower, names in named.items() if names}

    def forward(self, batch: dict, keep: int) -> torch.Tensor:
        """logits[B, keep, V] at the last `keep` positions."""
        assert keep > 0, "there is nothing to predict at the last 0 positions"
        return self._head(self._run(batch, self._positions(batch)).last_hidden_state[:, -keep:])

    def prefill(self, batch: dict) -> Prefix:
        """Runs the prompts once and keeps what continuing them needs."""
        positions = self._positions(batch)
        cache = self._cache()
        hidden = self._run(batch, positions, past_key_values=cache, use_cache=True).last_hidden_state
        # Text goes on after the largest position of any axis; the columns of padding carry a position too.
        positions = positions.masked_fill(batch["attention_mask"] == 0, 0)
        return Prefix(
            logits=self._head(hidden[:, -1]),
            cache=cache,
            attention_mask=batch["attention_mask"],
            position=positions.reshape(-1, *positions.shape[-2:]).amax(dim=(0, 2)) + 1,
        )

    def extend(self, prefix: Prefix, tokens: torch.Tensor) -> torch.Tensor:
        """logits[B, L, V] at tokens[B, L] that continue the prefix; its cache is consumed."""
        length = tokens.shape[1]
        positions = prefix.next_positions(length)
        hidden = self._body({})(
            input_ids=tokens,
            attention_mask=prefix.mask_with(length),
            position_ids=positions if self.AXES == 1 else positions.expand(self.AXES, -1, -1),
            past_key_values=prefix.cache,
            use_cache=True,
        ).last_hidden_state
        return self._head(hidden)

    def generate(self, batch: dict, max_new_tokens: int) -> list[list[int]]:
        """Greedy continuation of every prompt, up to and without its end of turn."""
        return greedy(self, batch, max_new_tokens, self.stops)

    def encoders(self) -> dict[str, nn.Module]:
        """None, unless a family says how what they make of a clip can be kept and given back."""
        return {}

    def with_sound(self, batch: dict, states: torch.Tensor) -> torch.Tensor:
        """embeddings[B, T, D] of the ids, with states[audio tokens, D] in their places."""
        embeddings = self.backbone.get_input_embeddings()(batch["input_ids"])
        here = (batch["input_ids"] == self.backbone.config.audio_token_id)[..., None]
        return embeddings.masked_scatter(here, states.to(embeddings.dtype))

    def _cache(self) -> DynamicCache:
        # Without a configuration every layer keeps everything, so that prompts can be picked from it; a layer with a
        # sliding window is masked where it has more than it may see.
        return DynamicCache()

    def _positions(self, batch: dict) -> torch.Tensor:
        """positions[B, T], or positions[AXES, B, T]."""
        return (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)

    def _media(self, batch: dict) -> dict[str, torch.Tensor]:
        """What the backbone is given beside ids, mask and positions, or instead of the ids."""
        media = {key: batch[key] for key in self.KEYS if key in batch}
        if "audio_states" in batch:
            media |= {"input_ids": None, "inputs_embeds": self.with_sound(batch, batch["audio_states"])}
        return media

    def _body(self, media: dict[str, torch.Tensor]) -> nn.Module:
        """The module that makes hidden states of a batch with this media."""
        return self.backbone.model

    def _run(self, batch: dict, positions: torch.Tensor, **options: Any) -> Any:
        media = self._media(batch)
        given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "position_ids": positions}
        return self._body(media)(**{**given, **media, "use_cache": False, **options})

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.backbone.lm_head(hidden)

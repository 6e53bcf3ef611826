"""Base classes of the native families: one model class and one processor of transformers each.

A family's module says what sets it apart: its classes, how its processor is told of a clip, and what its towers make of
one. Each clip goes through the processor alone, so nothing of it depends on the prompt or the batch it is in: what the
processor writes for it is put in the place of the prompt's placeholder, and what the towers make of it in the places of
its tokens. So it does not matter whether that was just made or has been kept.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import torch
import transformers
from jinja2 import TemplateError
from torch import nn
from transformers import DynamicCache
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

from affect.config import ConfigError, DataError, Media, NativeConfig
from affect.models.chat import (
    answer_text,
    end_of_turn,
    neutralise,
    neutralise_messages,
    pad_left,
    remembered,
    special_strings,
)
from affect.models.generation import Branches, Prefix, greedy, takes_branches
from affect.models.native import loading
from affect.models.pretrained import first_line
from affect.models.protocol import Conversation
from affect.models.unanswered import Unanswered

KINDS = {"audio": "a", "video": "v"}
"""Types of the parts of a message that are media, with their modalities."""

WRITTEN = "written"
"""What is kept of a part beside what its tower makes: the tokens that stand for it in a prompt, times and all."""


def joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    """The tensors one after the other along their first axis, their other axes filled up with zeros to the longest."""
    shape = [max(sizes) for sizes in zip(*(t.shape[1:] for t in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        missing = [(0, most - size) for most, size in zip(shape, tensor.shape[1:], strict=True)]
        padded.append(nn.functional.pad(tensor, [n for pair in reversed(missing) for n in pair]))
    return torch.cat(padded)


def kept(conversations: list[Conversation], part: str) -> dict[str, torch.Tensor]:
    """The keys of a batch in the place of a part's clips: each name of what was kept, after that of the part."""
    outputs = [c.outputs[part] for c in conversations if part in c.outputs]
    clips = [c.waveform if part == "audio" else c.frames for c in conversations]
    assert not outputs or all(clip is None for clip in clips), f"a batch has {part} in both ways"
    names = outputs[0].keys() - {WRITTEN} if outputs else ()
    return {f"{part}_{name}": torch.cat([tensors[name] for tensors in outputs]) for name in names}


BY_TOKEN = ("states", "deep")
"""What a family makes of clips and is as long as they are in tokens; of everything else there is one a clip."""


def apart(made: Mapping[str, torch.Tensor], num_tokens: list[int]) -> list[dict[str, torch.Tensor]]:
    """What was made of several clips at once, clip by clip; `num_tokens` is how many tokens each has."""
    split = {name: tensor.split(num_tokens if name in BY_TOKEN else 1) for name, tensor in made.items()}
    return [dict(zip(split, own, strict=True)) for own in zip(*split.values(), strict=True)]


def on_all_layers(seen: Any) -> dict[str, torch.Tensor]:
    """states[tokens, D] of what a class of Qwen makes of videos; deep[tokens, layers, D] too where there is some."""
    made = {"states": torch.cat(seen.pooler_output)}
    if layers := getattr(seen, "deepstack_features", None):
        made["deep"] = torch.stack([torch.cat(layer) for layer in layers], dim=1)
    return made


def one_by_one(batch: dict, *keys: str) -> Iterator[tuple[torch.Tensor, ...]]:
    """The sounds of a batch, each without what it was padded with, for towers that would look at that."""
    for i, length in enumerate(batch["audio_frames"].tolist()):
        yield tuple(batch[key][i : i + 1, :length] for key in keys)


def clip_metadata(conversation: Conversation) -> dict[str, Any]:
    """What processors want to know of a video whose frames have been sampled already.

    Frames are sampled at the centres of equal parts of the clip, frame i at (i + 0.5) seconds / num_frames, and
    processors compute the time of a frame as index / fps. Both are told as of a video with twice as many frames, of
    which every other one was taken, since an index is a whole number.
    """
    num_frames, height, width, _ = conversation.frames.shape
    assert conversation.seconds > 0, "a conversation with frames does not say how many seconds they span"
    return {
        "fps": 2 * num_frames / conversation.seconds,
        "duration": conversation.seconds,
        "total_num_frames": 2 * num_frames,
        "frames_indices": list(range(1, 2 * num_frames, 2)),
        "height": height,
        "width": width,
    }


@dataclass(frozen=True, slots=True)
class OwnFrames:
    """See `affect.data.media.OwnFrames`: what a checkpoint's video processor takes, by its own method and settings."""

    processor: BaseVideoProcessor
    fps: float | None
    """Frames a second, where its configuration does not say how many it takes."""

    @property
    def key(self) -> str:
        what = [type(self.processor).__qualname__, self.processor.to_json_string(), self.fps, transformers.__version__]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def indices(self, total: int, rate: float) -> list[int]:
        """All frames where there are fewer than the processor can do with: it would refuse the clip."""
        processor = self.processor
        if total < max(getattr(processor, "temporal_patch_size", None) or 1, processor.num_frames or 1):
            return list(range(total))
        how = {} if self.fps is None else {"fps": self.fps}
        metadata = VideoMetadata(total_num_frames=total, fps=rate, duration=total / rate)
        return [int(i) for i in processor.sample_frames(metadata=metadata, **how)]


def own_frames(config: NativeConfig, processor: Any, fps: float | None) -> OwnFrames:
    """What the video processor of the checkpoint takes. `processor` is the class of the whole processor; `fps` is what
    the model card passes, which counts where the checkpoint's configuration names neither a rate nor a number of
    frames. Raises ConfigError where the checkpoint cannot be had."""
    video = loading.processor(config, processor).video_processor
    return OwnFrames(video, own_rate(video, fps))


def own_rate(video: BaseVideoProcessor, fps: float | None) -> float | None:
    """Frames a second that a video processor is asked for; None where it takes a number of frames."""
    return video.fps or (None if video.num_frames else fps)


def own_options(conversation: Conversation, video: BaseVideoProcessor) -> dict[str, Any]:
    """How a video processor is told of frames that were chosen as it would have: with where they stand in the clip, and
    its own bounds on pixels."""
    num_frames, height, width, _ = conversation.frames.shape
    picked = conversation.picked
    assert picked is not None and len(picked.indices) == num_frames, "media=native is not told which frames these are"
    metadata = {
        "fps": picked.rate,
        "duration": picked.total / picked.rate,
        "total_num_frames": picked.total,
        "frames_indices": list(picked.indices),
        "height": height,
        "width": width,
    }
    options = {"do_sample_frames": False, "input_data_format": "channels_last", "video_metadata": [metadata]}
    if hasattr(video, "cap_pixels_per_frame"):
        # What None means today, without the warning that it may mean something else one day.
        options["cap_pixels_per_frame"] = bool(video.cap_pixels_per_frame)
    return options


class NativeEncoder:
    """See `affect.models.Encoder`. Prompts are rendered by the checkpoint's own chat template."""

    KEYS: tuple[str, ...] = ()
    """What the processor makes of media and the model takes; beside the keys every batch has."""
    TOKENS: Mapping[str, str] = {"audio": "audio_token_id", "video": "video_token_id"}
    """Attribute of the processor that is the id which stands for a part, by the type of the part."""
    UNPADDED = ""
    """The key of sounds, where the tower looks at what they are padded with in a batch. `audio_frames[A]` is then how
    many frames of each are its own."""
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
        self.own_media = config.media is Media.native
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
        have them, in their order. What is kept of a part goes by `audio_` or `video_` and its own name.

        Raises AssertionError where placeholders and media do not match, DataError for a sound too short for a token.
        """
        answers = [c.answer for c in conversations]
        assert len({a is None for a in answers}) == 1, "some conversations of the batch have an answer and some do not"
        prompts, features = [], []
        for i, conversation in enumerate(conversations):
            self._check(conversation, f"conversation {i} of the batch")
            features.append(self.processed(conversation))
            prompts.append(self._prompt(conversation, features[-1]))
        targets = None if answers[0] is None else [self.answer_ids(answer) for answer in answers]
        batch = pad_left(prompts, targets, self.pad) | self._together(features)
        return batch | kept(conversations, "audio") | kept(conversations, "video")

    def features(self, conversations: list[Conversation]) -> dict[str, Any]:
        """KEYS; and by clip, in lists, what is written for it (`audio_written`, `video_written`) and how many of that
        stand for it (`audio_tokens`, `video_tokens`)."""
        made = [self.processed(conversation) for conversation in conversations]
        batch = self._together(made)
        for kind, token in self.media_ids.items():
            if (key := f"{kind}_{WRITTEN}") in made[0]:
                batch[key] = [own[key] for own in made]
                batch[f"{kind}_tokens"] = [int((written == token).sum()) for written in batch[key]]
        return batch

    def _together(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        found = {key: [made[key] for made in features if key in made] for key in self.KEYS}
        return {key: joined(tensors) for key, tensors in found.items() if tensors}

    def processed(self, conversation: Conversation) -> dict[str, Any]:
        """What the processor makes of one clip: KEYS, and the tokens that it writes in the place of a placeholder,
        `audio_written` and `video_written`."""
        alone = {"audio": replace(conversation, frames=None), "video": replace(conversation, waveform=None)}
        made: dict[str, Any] = {}
        for kind in self.media_ids:
            if alone[kind].waveform is None and alone[kind].frames is None:
                continue
            clip = self.of_clip(alone[kind])
            # Frames that go in as images are as many placeholders.
            text = self._placeholder(kind) * len(clip.get("images", "1"))
            # Without padding, as when the prompt is tokenised: that is a setting of a tokenizer which threads share.
            how = {"add_special_tokens": False, "padding": False}
            processed = self.processor(text=[text], return_tensors="pt", text_kwargs=how, **clip)
            made |= {key: torch.as_tensor(processed[key]) for key in self.KEYS if key in processed}
            written = processed["input_ids"][0]
            assert self.media_ids[kind] in written, f"the processor wrote no tokens for the part '{kind}'"
            text = self._text(written.tolist())
            assert self._tokenize(text) == written.tolist(), f"the tokenizer does not read {text[:40]!r} as it wrote it"
            made[f"{kind}_{WRITTEN}"] = written
        if self.UNPADDED in made:
            made["audio_frames"] = torch.tensor([made[self.UNPADDED].shape[1]])
        return made

    def settings(self, part: str) -> str:
        """The processor's, and what the ids mean that it writes."""
        what = [self.processor.to_json_string(), self.special, self._vocabulary]
        return json.dumps([*what, "native"] if self.own_media and part == "video" else what)

    @cached_property
    def _vocabulary(self) -> str:
        """A hash of all tokens in the order of their ids."""
        ids = self.tokenizer.get_vocab()
        return hashlib.sha256("\0".join(sorted(ids, key=ids.__getitem__)).encode()).hexdigest()

    def _check(self, conversation: Conversation, where: str) -> None:
        given = {
            "audio": conversation.waveform is not None or "audio" in conversation.outputs,
            "video": conversation.frames is not None or "video" in conversation.outputs,
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

    def _prompt(self, conversation: Conversation, made: Mapping[str, torch.Tensor]) -> list[int]:
        """Token ids, with what the processor wrote for the clip in the places of the placeholders."""
        written = {kind: outputs[WRITTEN] for kind, outputs in conversation.outputs.items()}
        written |= {kind: made[f"{kind}_{WRITTEN}"] for kind in self.media_ids if f"{kind}_{WRITTEN}" in made}
        return self._ids(conversation.messages, {kind: ids.tolist() for kind, ids in written.items()})

    @remembered
    def _ids(self, messages: list[dict], written: Mapping[str, list[int]]) -> list[int]:
        """The ids of the messages with `written` in the places of the placeholders."""
        text = self.render(messages)
        for kind, ids in written.items():
            # As text, since a time in it may become one token with what stands before.
            text = text.replace(self._placeholder(kind), self._text(ids))
        return self._tokenize(text)

    def _placeholder(self, kind: str) -> str:
        return self.tokenizer.convert_ids_to_tokens(self.media_ids[kind])

    def _text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    @remembered
    def answer_ids(self, answer: str) -> list[int]:
        """The tokens of an answer, end of turn included."""
        return [*self._tokenize(neutralise(answer, self.special)), self.end]

    def decode(self, ids: list[int]) -> str:
        """The text of generated tokens, without special ones."""
        return answer_text(self.tokenizer, ids)

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
    ENCODERS: Mapping[str, tuple[str, ...]] = {}
    """By part, the modules below the backbone that what stands for a clip comes out of."""
    UNUSED: tuple[str, ...] = ()
    """Names below the backbone, of modules or parameters, that the checkpoint has and no answer depends on."""
    CLIPS: Mapping[str, str] = {"audio": "input_features", "video": "pixel_values_videos"}
    """By part, a key of a batch that has clips which still have to go through the encoders."""
    TOKENS: Mapping[str, str] = NativeEncoder.TOKENS
    """By part, where the backbone's configuration has the id that stands for it."""
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

    def unused(self, towers: Collection[str]) -> set[str]:
        """Names of the parameters that no answer depends on, by UNUSED."""
        return self._below(self.UNUSED)

    def _below(self, prefixes: Iterable[str]) -> set[str]:
        """Names of the parameters that are, or lie in, what these names below the backbone stand for."""
        return {
            f"backbone.{name}"
            for name, _ in self.backbone.named_parameters()
            if any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)
        }

    def forward(self, batch: dict, keep: int) -> torch.Tensor:
        """logits[B, keep, V] at the last `keep` positions."""
        assert keep > 0, "there is nothing to predict at the last 0 positions"
        return self._head(self._run(batch, self._positions(batch)).last_hidden_state[:, -keep:])

    def prefill(self, batch: dict) -> Prefix:
        """Runs the prompts once and keeps what continuing them needs."""
        positions = self._positions(batch)
        cache = self._cache()
        hidden = self._run(batch, positions, past_key_values=cache, use_cache=True).last_hidden_state
        return Prefix(
            logits=self._head(hidden[:, -1]),
            cache=cache,
            attention_mask=batch["attention_mask"],
            position=self._following(batch, positions),
        )

    def extend(self, prefix: Prefix, tokens: torch.Tensor) -> torch.Tensor:
        """logits[B, L, V] at tokens[B, L] that continue the prefix; its cache is consumed."""
        length = tokens.shape[1]
        hidden = self._body()(
            input_ids=tokens,
            attention_mask=prefix.mask_with(length),
            position_ids=self._on_all_axes(prefix.next_positions(length)),
            past_key_values=prefix.cache,
            use_cache=True,
        ).last_hidden_state
        return self._head(hidden)

    @property
    def takes_branches(self) -> bool:
        """Whether `branch` can be called."""
        return takes_branches(self._body().config)

    def branch(self, batch: dict, tokens: torch.Tensor, branches: Branches) -> torch.Tensor:
        """logits[B, 1 + L, V] at the end of every prompt, and at tokens[L] that continue it in branches."""
        ids, positions = batch["input_ids"], self._positions(batch)
        further = self._following(batch, positions)[:, None] + branches.depth
        hidden = self._run(
            {**batch, "input_ids": torch.cat([ids, tokens.expand(len(ids), -1)], 1)},
            torch.cat([positions, self._on_all_axes(further)], -1),
            attention_mask=branches.mask(batch["attention_mask"], self._body().get_input_embeddings().weight.dtype),
        ).last_hidden_state
        return self._head(hidden[:, ids.shape[1] - 1 :])

    def _following(self, batch: dict, positions: torch.Tensor) -> torch.Tensor:
        """[B] position of what comes after each prompt: text goes on after the largest of any axis."""
        # The columns of padding carry a position too.
        positions = positions.masked_fill(batch["attention_mask"] == 0, 0)
        return positions.reshape(-1, *positions.shape[-2:]).amax(dim=(0, 2)) + 1

    def _on_all_axes(self, positions: torch.Tensor) -> torch.Tensor:
        return positions if self.AXES == 1 else positions.expand(self.AXES, -1, -1)

    def generate(self, batch: dict, max_new_tokens: int) -> list[list[int] | Unanswered]:
        """Greedy continuation of every prompt, up to and without its end of turn."""
        return greedy(self, batch, max_new_tokens, self.stops)

    def encoders(self) -> dict[str, nn.Module]:
        """By part, what ENCODERS names, as far as the model was loaded with it."""
        there = dict(self.backbone.named_modules())
        found = {part: [there.get(name) for name in names] for part, names in self.ENCODERS.items()}
        return {
            part: modules[0] if len(modules) == 1 else nn.ModuleList(modules)
            for part, modules in found.items()
            if None not in modules
        }

    def heard(self, batch: dict) -> dict[str, torch.Tensor]:
        """Of the sounds of a batch: states[audio tokens, D], and what else a family needs of them in their place."""
        raise NotImplementedError

    def seen(self, batch: dict) -> dict[str, torch.Tensor]:
        """Of the videos of a batch: states[video tokens, D], and what else a family needs of them in their place; so
        deep[video tokens, layers, D], which is added to them after the first layers of the language model."""
        raise NotImplementedError

    def encoder_outputs(self, features: dict[str, Any]) -> list[dict[str, dict[str, torch.Tensor]]]:
        """By clip and part, what `heard` or `seen` give, and how it stands in a prompt where the encoder says so."""
        by_part = {}
        for part, made in self._encoded(features).items():
            by_part[part] = apart(made, features[f"{part}_tokens"])
            for own, written in zip(by_part[part], features.get(f"{part}_{WRITTEN}", ()), strict=False):
                own[WRITTEN] = written
        return [dict(zip(by_part, own, strict=True)) for own in zip(*by_part.values(), strict=True)]

    def _encoded(self, batch: dict) -> dict[str, dict[str, torch.Tensor]]:
        """By part, what `heard` or `seen` give."""
        how = {"audio": self.heard, "video": self.seen}
        return {part: encode(batch) for part, encode in how.items() if self.CLIPS[part] in batch}

    def _cache(self) -> DynamicCache:
        # Without a configuration every layer keeps everything, so that prompts can be picked from it; a layer with a
        # sliding window is masked where it has more than it may see.
        return DynamicCache()

    def _positions(self, batch: dict) -> torch.Tensor:
        """positions[B, T], or positions[AXES, B, T]: what the encoder made where there are several axes."""
        return batch["positions"] if self.AXES > 1 else (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)

    def _embedded(self, batch: dict) -> torch.Tensor:
        """embeddings[B, T, D] of the ids; those in the places of clips do not matter."""
        return self._body().get_input_embeddings()(batch["input_ids"])

    def _here(self, batch: dict, part: str) -> torch.Tensor:
        """[B, T], where a token stands for the part."""
        return batch["input_ids"] == attrgetter(self.TOKENS[part])(self.backbone.config)

    def _media(self, batch: dict) -> dict[str, Any]:
        """What the body is given in the place of the ids of a batch whose clips have gone through the encoders."""
        embeddings = self._embedded(batch)
        for part in KINDS:
            if (key := f"{part}_states") in batch:
                here, states = self._here(batch, part), batch[key].to(embeddings.dtype)
                assert int(here.sum()) == len(states), f"{int(here.sum())} tokens stand for {len(states)} of the {part}"
                embeddings = embeddings.masked_scatter(here[..., None], states)
        media: dict[str, Any] = {"inputs_embeds": embeddings}
        if "video_deep" in batch:
            deep = batch["video_deep"].unbind(1)
            media |= {"visual_pos_masks": self._here(batch, "video"), "deepstack_visual_embeds": deep}
        return media

    def _body(self) -> nn.Module:
        """The module that makes hidden states of embeddings."""
        return self.backbone.model.language_model

    def _run(self, batch: dict, positions: torch.Tensor, **options: Any) -> Any:
        made = {
            f"{part}_{name}": tensor
            for part, outputs in self._encoded(batch).items()
            for name, tensor in outputs.items()
        }
        given = {"attention_mask": batch["attention_mask"], "position_ids": positions, "use_cache": False}
        return self._body()(**{**given, **self._media(batch | made), **options})

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.backbone.lm_head(hidden)

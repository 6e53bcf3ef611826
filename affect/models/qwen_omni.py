"""Qwen2.5-Omni (Xu et al. 2025, arXiv 2503.20215), thinker only: text, audio and video in, text out.

    <|im_start|>user\n … <|audio_bos|><|AUDIO|><|audio_eos|> … <|vision_bos|><|VIDEO|><|vision_eos|> … <|im_end|>\n

One `<|AUDIO|>` stands for 40 ms of sound. One `<|VIDEO|>` stands for 28 x 28 pixels of two consecutive frames.
Positions have three axes (time, height, width): a video's time axis advances by 25 a second, whatever the number of its
frames, and the text after it goes on from the largest position used so far.

Sound and frames are given as two parts, not interleaved in time as the model can also take them: one of them can then
be left out without changing how the other is written.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    DynamicCache,
    PreTrainedConfig,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from affect.config import ConfigError, QwenOmniConfig
from affect.models import Conversation, keep, precision
from affect.models.chat import end_of_turn, neutralise, neutralise_messages, pad_left, special_strings
from affect.models.prefix import Prefix, greedy
from affect.record import DataError

MODEL_TYPES = ("qwen2_5_omni", "qwen2_5_omni_thinker")


def load(config: QwenOmniConfig, *, modalities: str, cache_root: Path) -> tuple["QwenOmni", "QwenOmniEncoder"]:
    """The thinker, on the CPU, and its encoder, from a full Qwen2.5-Omni checkpoint or one of the thinker alone.

    The audio tower is dropped when `modalities` has no "a", the vision tower when it has no "v". `cache_root` is not
    used: what comes from the hub stays in the hub's own cache.

    Raises ConfigError when the checkpoint cannot be had, is of another model, or lacks weights.
    """
    checkpoint = config.checkpoint
    try:
        described, _ = PreTrainedConfig.get_config_dict(checkpoint, revision=config.revision)
        # Another model's folder would be read as a 7B one of random weights, with no more than a warning.
        if "model_type" not in described or described["model_type"] not in MODEL_TYPES:
            kind = f"of type '{described['model_type']}'" if "model_type" in described else "without a model_type"
            raise ConfigError(
                f"model.checkpoint={checkpoint} is a model {kind} and family qwen_omni loads"
                f" {' or '.join(MODEL_TYPES)}: name a Qwen2.5-Omni checkpoint, or choose another model="
            )
        key = (checkpoint, config.revision)
        processor = keep.part(
            (Qwen2_5OmniProcessor, *key),
            lambda: Qwen2_5OmniProcessor.from_pretrained(checkpoint, revision=config.revision),
        )
        how = (precision.dtype(config), precision.attention(config), config.gradient_checkpointing, modalities)
        backbone = keep.part(
            (Qwen2_5OmniThinkerForConditionalGeneration, *key, *how), lambda: _thinker(config, modalities)
        )
    except OSError as error:
        raise ConfigError(
            f"model.checkpoint={checkpoint} could not be loaded ({_first_line(error)}): give a folder that exists and"
            " is complete, or the name of a hub's model while the machine is online and has access to it, or has"
            " downloaded it before"
        ) from error
    except SafetensorError as error:
        raise ConfigError(
            f"model.checkpoint={checkpoint} has a damaged file of weights ({_first_line(error)}): download it again; a"
            " file of a few hundred bytes is a git-lfs pointer, to be replaced with `git lfs pull`"
        ) from error
    except ImportError as error:
        raise ConfigError(
            f"model.attention={config.attention.value} or the processor of model.checkpoint={checkpoint} needs a"
            f" package that is not installed ({_first_line(error)}): install it, or set model.attention=auto"
        ) from error
    chunk = processor.feature_extractor.chunk_length
    if "a" in modalities and config.max_seconds > chunk:
        raise ConfigError(
            f"model.max_seconds={config.max_seconds:g} and the feature extractor of model.checkpoint={checkpoint} takes"
            f" {chunk} s at most: set model.max_seconds to {chunk} or less"
        )
    encoder = QwenOmniEncoder(processor, modalities=modalities, frame_size=config.frame_size)
    return QwenOmni(backbone, stops=encoder.stops), encoder


def _thinker(config: QwenOmniConfig, modalities: str) -> Qwen2_5OmniThinkerForConditionalGeneration:
    checkpoint = config.checkpoint
    backbone, found = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(
        checkpoint,
        revision=config.revision,
        dtype=precision.dtype(config),
        attn_implementation=precision.attention(config),
        output_loading_info=True,
        # So that they are listed with those that are missing, and refused below.
        ignore_mismatched_sizes=True,
    )
    lost = sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])})
    if lost:
        raise ConfigError(
            f"model.checkpoint={checkpoint} lacks {len(lost)} of the thinker's weights or has them in another shape"
            f" ({', '.join(lost[:3])}, …), which would stay random: download it again, or name another checkpoint"
        )
    if "a" not in modalities:
        backbone.model.audio_tower = None
    if "v" not in modalities:
        backbone.model.visual = None
    if config.gradient_checkpointing:
        backbone.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        # The call above also makes the output of every embedding and first convolution require a gradient, which only
        # the reentrant kind needs: the backward pass would go through frozen audio and vision towers for nothing.
        backbone.disable_input_require_grads()
    return backbone


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def log_mel(extractor: WhisperFeatureExtractor, waveforms: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """features[N, mel, frames], mask[N, frames] of waveforms float32[samples], as the stock extractor gives them.

    The stock extractor pads every clip to its whole chunk (300 s for Qwen2.5-Omni). Padding to the longest clip is the
    same only while two things hold. The transform reflects the signal at its end, so a window's length of zeros has to
    stand there for the reflection to be of zeros. And the floor is 8 decades below the clip's loudest frame, which may
    be one of the two that are masked but still overlap the clip: those zeros keep them in. The chunk's own end stays
    the limit, since in the last window's length before it the stock extractor reflects sound too.
    """
    hop, window = extractor.hop_length, extractor.n_fft
    longest = max(map(len, waveforms))
    assert longest <= extractor.n_samples, f"{longest} samples are more than the extractor's {extractor.n_samples}"
    # In whole hops, because the extractor's mask loses a frame otherwise.
    padded = min(-(-(longest + window) // hop) * hop, extractor.n_samples)
    extracted = extractor(
        waveforms,
        sampling_rate=extractor.sampling_rate,
        padding="max_length",
        max_length=padded,
        return_attention_mask=True,
        return_tensors="pt",
    )
    features, mask = extracted["input_features"], extracted["attention_mask"]
    frames = int(mask.sum(-1).max())
    return features[:, :, :frames].contiguous(), mask[:, :frames].contiguous()


def num_audio_tokens(frames: int) -> int:
    """Tokens that `frames` log-mel frames (10 ms each) become: one stride-2 convolution, then the mean of pairs."""
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def _outputs(conversations: list[Conversation], part: str) -> tuple[list[Mapping[str, torch.Tensor]], list[int | None]]:
    """The tower's outputs in the conversations that have them, and by conversation their number of tokens."""
    kept = [c.outputs.get(part) for c in conversations]
    given = [c.waveform if part == "audio" else c.frames for c in conversations]
    assert all(k is None for k in kept) or all(g is None for g in given), f"a batch has {part} in both ways"
    return [k for k in kept if k is not None], [None if k is None else len(k["states"]) for k in kept]


class QwenOmniEncoder:
    """See `affect.models.Encoder`. Prompts are rendered by the checkpoint's own chat template, which puts its default
    system message before conversations that have none."""

    audio_tokens_per_second = 25.0

    def __init__(self, processor: Qwen2_5OmniProcessor, *, modalities: str, frame_size: int):
        """`frame_size` is the longest side of a frame in pixels; `modalities` is what the model has towers for."""
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.modalities = modalities
        self.sampling_rate: int = processor.feature_extractor.sampling_rate
        self.special = special_strings(self.tokenizer)
        self.end = end_of_turn(processor, self.tokenizer, text_content=False)
        self.stops = frozenset({self.end, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id})
        # Sides are rounded to whole tokens. The processor's own lower bound (128 tokens a frame) would enlarge a frame
        # of 64 x 64 to 336 x 336, which adds tokens and no detail: ours is one token. The upper bound is a square of
        # side frame_size, rounded up, which no frame that respects frame_size exceeds.
        side = processor.video_processor.patch_size * processor.video_processor.merge_size
        self.size = {"shortest_edge": side**2, "longest_edge": (-(-frame_size // side) * side) ** 2}

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The batch: the keys every batch has, and where a conversation has audio or video

            input_features[A, mel, frames], feature_attention_mask[A, frames]       A conversations with audio
            pixel_values_videos[patches, values], video_grid_thw[V, 3], video_second_per_grid[V]      V with video

        With the towers' outputs in the conversations, instead of features and patches

            audio_states[audio tokens, D], audio_frames[A]; video_states[video tokens, D]

        Raises AssertionError where placeholders and media do not match, DataError for a clip that is too short or too
        long for the model.
        """
        answers = [c.answer for c in conversations]
        assert len({a is None for a in answers}) == 1, "some conversations of the batch have an answer and some do not"
        audio, audio_lengths = self._audio(conversations)
        video, video_lengths = self._video(conversations)
        prompts = []
        for i, conversation in enumerate(conversations):
            ids = self._tokenize(self.render(conversation.messages))
            for name, letter, token, length in (
                ("audio", "a", self.processor.audio_token_id, audio_lengths[i]),
                ("video", "v", self.processor.video_token_id, video_lengths[i]),
            ):
                where = f"conversation {i} of the batch"
                count = ids.count(token)
                assert count == 0 or letter in self.modalities, (
                    f"{where} has a part '{name}' and the model was loaded with modalities={self.modalities}"
                )
                assert count == (length is not None), (
                    f"{where} has {count} parts '{name}' and {int(length is not None)} clips for them"
                )
                if length is not None:
                    at = ids.index(token)
                    ids[at : at + 1] = [token] * length
                    assert ids.count(token) == length > 0, f"{where} has no tokens for its part '{name}'"
            prompts.append(ids)
        targets = None if answers[0] is None else [self.answer_ids(answer) for answer in answers]
        return pad_left(prompts, targets, self.tokenizer.pad_token_id) | audio | video

    def _audio(self, conversations: list[Conversation]) -> tuple[dict[str, torch.Tensor], list[int | None]]:
        """The audio keys of the batch, and by conversation the number of audio tokens, None without audio."""
        kept, lengths = _outputs(conversations, "audio")
        if kept:
            return {
                "audio_states": torch.cat([outputs["states"] for outputs in kept]),
                "audio_frames": torch.cat([outputs["frames"] for outputs in kept]),
            }, lengths
        extractor = self.processor.feature_extractor
        for i, conversation in enumerate(conversations):
            if conversation.waveform is None:
                continue
            seconds = len(conversation.waveform) / self.sampling_rate
            if len(conversation.waveform) > extractor.n_samples:
                raise DataError(
                    f"conversation {i} of the batch: its sound lasts {seconds:.2f} s and the model's feature extractor"
                    f" takes {extractor.chunk_length} s at most: lower model.max_seconds, so that such clips are"
                    " excluded and listed"
                )
            # Three frames are the least that make one token.
            if len(conversation.waveform) <= 2 * extractor.hop_length:
                raise DataError(
                    f"conversation {i} of the batch: its sound lasts {seconds:.3f} s, too short for one audio token:"
                    " check the start and end of the clip, or leave it out of the annotations"
                )
        waveforms = [c.waveform for c in conversations if c.waveform is not None]
        if not waveforms:
            return {}, [None] * len(conversations)
        features, mask = log_mel(extractor, waveforms)
        lengths = iter([num_audio_tokens(frames) for frames in mask.sum(-1).tolist()])
        return (
            {"input_features": features, "feature_attention_mask": mask},
            [None if c.waveform is None else next(lengths) for c in conversations],
        )

    def _video(self, conversations: list[Conversation]) -> tuple[dict[str, torch.Tensor], list[int | None]]:
        """The video keys of the batch, and by conversation the number of video tokens, None without video."""
        kept, lengths = _outputs(conversations, "video")
        if kept:
            return {
                "video_states": torch.cat([outputs["states"] for outputs in kept]),
                "video_grid_thw": torch.cat([outputs["grid"] for outputs in kept]),
                "video_second_per_grid": torch.cat([outputs["step"] for outputs in kept]),
            }, lengths
        given = [c for c in conversations if c.frames is not None]
        if not given:
            return {}, [None] * len(conversations)
        assert all(c.seconds > 0 for c in given), "a conversation with frames does not say how many seconds they span"
        processor = self.processor.video_processor
        video = processor(
            [c.frames for c in given],
            input_data_format="channels_last",
            do_sample_frames=False,
            size=self.size,
            # It would shrink long videos to a share of 115,000 tokens: max_seconds and num_frames are the limits here.
            cap_pixels_per_frame=False,
            return_tensors="pt",
        )
        grid = video["video_grid_thw"]
        lengths = iter((grid.prod(-1) // processor.merge_size**2).tolist())
        # The processor joins temporal_patch_size frames to one and repeats the last where one is missing, so a step of
        # the time axis is always that many distances between frames.
        steps = [processor.temporal_patch_size * c.seconds / len(c.frames) for c in given]
        return (
            {
                "pixel_values_videos": video["pixel_values_videos"],
                "video_grid_thw": grid,
                "video_second_per_grid": torch.tensor(steps),
            },
            [None if c.frames is None else next(lengths) for c in conversations],
        )

    def features(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The keys of the batch that come from waveforms and frames alone."""
        return self._audio(conversations)[0] | self._video(conversations)[0]

    def settings(self, part: str) -> str:
        """Everything beside the clip itself that the features of `part` depend on."""
        if part == "audio":
            return self.processor.feature_extractor.to_json_string()
        return json.dumps([self.processor.video_processor.to_json_string(), self.size])

    def answer_ids(self, answer: str) -> list[int]:
        """The tokens of an answer, end of turn included."""
        return [*self._tokenize(neutralise(answer, self.special)), self.end]

    def decode(self, ids: list[int]) -> str:
        """The text of generated tokens, without special ones."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def render(self, messages: list[dict]) -> str:
        """The prompt as a string, with one placeholder for the audio and one for the video."""
        safe = neutralise_messages(messages, self.special)
        return self.processor.apply_chat_template(safe, tokenize=False, add_generation_prompt=True)

    def count_text(self, messages: list[dict]) -> int:
        """Number of tokens of the prompt without those that stand for audio and video."""
        media = (self.processor.audio_token_id, self.processor.video_token_id)
        return sum(token not in media for token in self._tokenize(self.render(messages)))

    def _tokenize(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


class QwenOmni(nn.Module):
    """See `affect.models.Model`. `backbone` is the class of transformers, with its own parameter names.

    Every call passes its positions. The class would otherwise remember how far the last prompt got and use that for a
    continuation that may belong to another.
    """

    new: frozenset[str] = frozenset()

    def __init__(self, backbone: Qwen2_5OmniThinkerForConditionalGeneration, *, stops: frozenset[int]):
        """`stops` are the tokens that end a generated answer."""
        super().__init__()
        self.backbone = backbone
        self.stops = stops
        self.towers = {"language": ["backbone.model.language_model", "backbone.lm_head"]}
        projectors = []
        if backbone.model.audio_tower is not None:
            self.towers["audio"] = ["backbone.model.audio_tower"]
            projectors.append("backbone.model.audio_tower.proj")
        if backbone.model.visual is not None:
            self.towers["vision"] = ["backbone.model.visual"]
            projectors.append("backbone.model.visual.merger")
        if projectors:
            self.towers["projector"] = projectors

    def forward(self, batch: dict, keep: int) -> torch.Tensor:
        """logits[B, keep, V] at the last `keep` positions."""
        assert keep > 0, "there is nothing to predict at the last 0 positions"
        hidden = self._run(batch, self._positions(batch)).last_hidden_state
        # The class computes logits everywhere and ignores `logits_to_keep`: 152,000 words at a thousand positions.
        return self.backbone.lm_head(hidden[:, -keep:])

    def prefill(self, batch: dict) -> Prefix:
        """Runs the prompts once and keeps what continuing them needs."""
        positions = self._positions(batch)
        cache = DynamicCache()
        hidden = self._run(batch, positions, past_key_values=cache, use_cache=True).last_hidden_state
        return Prefix(
            logits=self.backbone.lm_head(hidden[:, -1]),
            cache=cache,
            attention_mask=batch["attention_mask"],
            # Text goes on after the largest position of any axis; the columns of padding carry a position too.
            position=positions.masked_fill(batch["attention_mask"] == 0, 0).amax(dim=(0, 2)) + 1,
        )

    def extend(self, prefix: Prefix, tokens: torch.Tensor) -> torch.Tensor:
        """logits[B, L, V] at tokens[B, L] that continue the prefix; its cache is consumed."""
        length = tokens.shape[1]
        hidden = self.backbone.model(
            input_ids=tokens,
            attention_mask=prefix.mask_with(length),
            position_ids=prefix.next_positions(length).expand(3, -1, -1),
            past_key_values=prefix.cache,
            use_cache=True,
        ).last_hidden_state
        return self.backbone.lm_head(hidden)

    def generate(self, batch: dict, max_new_tokens: int) -> list[list[int]]:
        """Greedy continuation of every prompt, up to and without its end of turn."""
        return greedy(self, batch, max_new_tokens, self.stops)

    def encoders(self) -> dict[str, nn.Module]:
        """The towers, each with its projector."""
        model = self.backbone.model
        towers = {"audio": model.audio_tower, "video": model.visual}
        return {part: tower for part, tower in towers.items() if tower is not None}

    def encoder_outputs(self, features: dict[str, Any]) -> dict[str, dict[str, torch.Tensor]]:
        """By part: states[tokens, D], with frames[1] of an audio, and grid[1, 3] and step[1] (s) of a video."""
        model, made = self.backbone.model, {}
        if "input_features" in features:
            mask = features["feature_attention_mask"]
            states = model.get_audio_features(features["input_features"], mask).last_hidden_state
            made["audio"] = {"states": states, "frames": mask.sum(-1)}
        if "pixel_values_videos" in features:
            grid = features["video_grid_thw"]
            states = torch.cat(model.get_video_features(features["pixel_values_videos"], grid).pooler_output)
            made["video"] = {"states": states, "grid": grid, "step": features["video_second_per_grid"]}
        return made

    def _positions(self, batch: dict) -> torch.Tensor:
        """positions[3, B, T]: time, height, width."""
        media = {}
        if "input_features" in batch:
            media["audio_seqlens"] = batch["feature_attention_mask"].sum(-1)
        if "audio_frames" in batch:
            media["audio_seqlens"] = batch["audio_frames"]
        if "video_grid_thw" in batch:
            media["video_grid_thw"] = batch["video_grid_thw"]
            media["second_per_grids"] = batch["video_second_per_grid"]
        positions, _ = self.backbone.model.get_rope_index(
            batch["input_ids"], attention_mask=batch["attention_mask"], **media
        )
        return positions

    def _run(self, batch: dict, positions: torch.Tensor, **options: Any) -> Any:
        model = self.backbone.model
        names = ["input_features", "feature_attention_mask"]
        # The grid alone would be taken for that of pixels that are missing.
        names += ["pixel_values_videos", "video_grid_thw"] if "pixel_values_videos" in batch else []
        media = {name: batch[name] for name in names if name in batch}
        if "audio_states" in batch:
            # There is no argument for the outputs of the audio tower: they take their places among the embeddings here.
            ids = batch["input_ids"]
            embeddings = model.get_input_embeddings()(ids)
            here = (ids == model.config.audio_token_id)[..., None]
            media["inputs_embeds"] = embeddings.masked_scatter(here, batch["audio_states"].to(embeddings.dtype))
        if "video_states" in batch:
            outputs = BaseModelOutputWithPooling(pooler_output=(batch["video_states"],))
            media["mm_encoder_outputs"] = {"video": outputs}
        return model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            position_ids=positions,
            **media,
            **({"use_cache": False} | options),
        )

"""Qwen2.5-Omni (Xu et al. 2025, arXiv 2503.20215), thinker only: text, audio and video in, text out.

    <|im_start|>user\n … <|audio_bos|><|AUDIO|><|audio_eos|> … <|vision_bos|><|VIDEO|><|vision_eos|> … <|im_end|>\n

One `<|AUDIO|>` stands for 40 ms of sound. One `<|VIDEO|>` stands for 28 x 28 pixels of two consecutive frames.
Positions have three axes (time, height, width): a video's time axis advances by 25 a second, whatever the number of its
frames, and the text after it goes on from the largest position used so far.

With media=uniform, sound and frames are given as two parts, not interleaved in time as the model can also take them:
one of them can then be left out without changing how the other is written. With media=native they are interleaved, as
the model card does (use_audio_in_video):

    <|vision_bos|><|audio_bos|> video of two seconds, sound of two seconds, video … <|audio_eos|><|vision_eos|>
"""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import Qwen2_5OmniProcessor, Qwen2_5OmniThinkerForConditionalGeneration, WhisperFeatureExtractor

from affect.config import DataError, Media, QwenOmniConfig
from affect.models.chat import end_of_turn, pad_left, special_strings
from affect.models.native import family, loading, positions
from affect.models.protocol import Conversation

MODEL_TYPES = ("qwen2_5_omni", "qwen2_5_omni_thinker")
PARTS = {"a": ("audio_tower",), "v": ("visual",)}
FPS = 2.0
"""Frames a second of media=native: what the model card's code takes (qwen_omni_utils), since the checkpoint's processor
does not say it."""
VIDEOS_AT_ONCE = 2
"""Videos that the processor is given together: for a moment it holds five copies of their pixels."""


def load(config: QwenOmniConfig, *, modalities: str, cache_root: Path) -> tuple["QwenOmni", "QwenOmniEncoder"]:
    """The thinker, on the CPU, and its encoder, from a full Qwen2.5-Omni checkpoint or one of the thinker alone.

    The audio tower is dropped when `modalities` has no "a", the vision tower when it has no "v". `cache_root` is not
    used: what comes from the hub stays in the hub's own cache.

    Raises ConfigError when the checkpoint cannot be had, is of another model, or lacks weights.
    """
    backbone, processor = loading.load(
        config,
        modalities,
        types=MODEL_TYPES,
        model=Qwen2_5OmniThinkerForConditionalGeneration,
        processor=Qwen2_5OmniProcessor,
        towers=PARTS,
        whole="thinker",
    )
    chunk = processor.feature_extractor.chunk_length
    loading.check_longest(config, modalities, chunk, f"the feature extractor of model.checkpoint={config.checkpoint}")
    encoder = QwenOmniEncoder(
        processor,
        modalities=modalities,
        frame_size=config.frame_size,
        positions_per_second=backbone.config.position_id_per_seconds,
        own_media=config.media is Media.native,
    )
    return QwenOmni(backbone, stops=encoder.stops), encoder


def own_frames(config: QwenOmniConfig) -> family.OwnFrames:
    """As `affect.models.loading.own_frames`."""
    return family.own_frames(config, Qwen2_5OmniProcessor, fps=FPS)


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


class QwenOmniEncoder(family.NativeEncoder):
    """See `affect.models.Encoder`. Prompts are rendered by the checkpoint's own chat template, which puts its default
    system message before conversations that have none."""

    audio_tokens_per_second = 25.0
    POSITION: type[np.number] = np.int64
    """What positions are; times are cut off to it."""

    PAIRED = True
    """Whether the two tokens that open a video with its sound, and the two that close it, are at one position each."""

    def __init__(
        self,
        processor: Qwen2_5OmniProcessor,
        *,
        modalities: str,
        frame_size: int,
        positions_per_second: float,
        own_media: bool = False,
    ):
        """`frame_size` is the longest side of a frame in pixels; `modalities` is what the model has towers for;
        `positions_per_second` is how fast its positions count the time of a video; `own_media` is media=native."""
        self.own_media = own_media
        self.positions_per_second = positions_per_second
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.modalities = modalities
        self.media_ids = {"audio": processor.audio_token_id, "video": processor.video_token_id}
        self.special = special_strings(self.tokenizer)
        self.end = end_of_turn(processor, self.tokenizer, text_content=False)
        self.stops = frozenset({self.end, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id})
        # Sides are rounded to whole tokens. The processor's own lower bound (128 tokens a frame) would enlarge a frame
        # of 64 x 64 to 336 x 336, which adds tokens and no detail: ours is one token. The upper bound is a square of
        # side frame_size, rounded up, which no frame that respects frame_size exceeds.
        side = processor.video_processor.patch_size * processor.video_processor.merge_size
        self.size = {"shortest_edge": side**2, "longest_edge": (-(-frame_size // side) * side) ** 2}
        if own_media:
            self.size = getattr(processor, "videos_kwargs", {}).get("size", processor.video_processor.size)
        self.fps = family.own_rate(processor.video_processor, FPS)

    def arranged(self, messages: list[dict]) -> list[dict]:
        """With media=native, without the sound of a message that has a picture too: it stands within the picture."""
        if not self.own_media:
            return messages
        return [
            {**message, "content": [part for part in message["content"] if part["type"] != "audio"]}
            if any(part["type"] == "video" for part in message["content"])
            else message
            for message in messages
        ]

    def _with_sound(self, num_audio_tokens: int, grid: torch.Tensor, seconds: float) -> list[int]:
        """Ids of a video with its sound in between, as the processor writes them: `grid`[3] is that of the video, of
        which a step lasts `seconds`."""
        made = {"video_grid_thw": grid[None].cpu().numpy(), "video_second_per_grid": [seconds]}
        how = {key: getattr(self.processor, key) for key in ("position_id_per_seconds", "seconds_per_chunk")}
        sound = {"num_audio_tokens": [num_audio_tokens]}
        return self._tokenize(self.processor.replace_video_with_audio_token(made, 0, sound, 0, **how))

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The batch: the keys every batch has, positions[3, B, T], and where a conversation has audio or video

            input_features[A, mel, frames], feature_attention_mask[A, frames]       A conversations with audio
            pixel_values_videos[patches, values], video_grid_thw[V, 3], video_second_per_grid[V]      V with video

        With the towers' outputs in the conversations, instead of features and patches

            audio_states[audio tokens, D]
            video_states[video tokens, D], video_deep[video tokens, layers, D] in Qwen3-Omni, beside grid and seconds

        Raises AssertionError where placeholders and media do not match, DataError for a clip that is too short or too
        long for the model.
        """
        answers = [c.answer for c in conversations]
        assert len({a is None for a in answers}) == 1, "some conversations of the batch have an answer and some do not"
        audio, audio_lengths = self._audio(conversations)
        video, video_lengths = self._video(conversations)
        prompts, together = [], []
        of_videos = (video["video_grid_thw"], video["video_second_per_grid"].tolist()) if video else ((), ())
        videos = zip(*of_videos, strict=True)
        for i, conversation in enumerate(conversations):
            ids = self._ids(conversation.messages, {})
            if video_lengths[i] is not None:
                grid, seconds = next(videos)
                together.append(audio_lengths[i] if self.own_media and audio_lengths[i] is not None else 0)
                if together[-1]:
                    assert set("av") <= set(self.modalities), f"the model was loaded with modalities={self.modalities}"
                    count = ids.count(self.media_ids["video"])
                    assert count == 1, f"conversation {i} of the batch has {count} parts 'video' and 1 clip for them"
                    at = ids.index(self.media_ids["video"])
                    ids[at : at + 1] = self._with_sound(together[-1], grid, seconds)
                    prompts.append(ids)
                    continue
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
        batch = pad_left(prompts, targets, self.tokenizer.pad_token_id) | audio | video
        rows = prompts if targets is None else [p + a for p, a in zip(prompts, targets, strict=True)]
        return batch | {"positions": self._positions(rows, video, together)}

    def _positions(self, rows: list[list[int]], video: dict[str, torch.Tensor], together: list[int]) -> torch.Tensor:
        """[3, B, T]. `together` has of every video how many tokens of sound stand in it."""
        grids = video["video_grid_thw"].tolist() if video else []
        seconds = video["video_second_per_grid"].numpy() if video else []
        merge = self.processor.video_processor.merge_size
        shown = [
            positions.Shown(self.times(steps, step), height // merge, width // merge, heard)
            for (steps, height, width), step, heard in zip(grids, seconds, together, strict=True)
        ]
        return positions.three_axes(rows, self.media_ids["video"], shown, self.POSITION, paired=self.PAIRED)

    def times(self, num_steps: int, seconds: np.float32) -> np.ndarray:
        """Positions at which the steps of a video are that are `seconds` apart, after the first."""
        return np.arange(num_steps, dtype=np.float32) * seconds * np.float32(self.positions_per_second)

    def _audio(self, conversations: list[Conversation]) -> tuple[dict[str, torch.Tensor], list[int | None]]:
        """The audio keys of the batch, and by conversation the number of audio tokens, None without audio."""
        if kept := family.kept(conversations, "audio"):
            return kept, [len(c.outputs["audio"]["states"]) if "audio" in c.outputs else None for c in conversations]
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
        features, mask = self.log_mel(waveforms)
        lengths = iter([self.num_audio_tokens(frames) for frames in mask.sum(-1).tolist()])
        return (
            {"input_features": features, "feature_attention_mask": mask},
            [None if c.waveform is None else next(lengths) for c in conversations],
        )

    def _video(self, conversations: list[Conversation]) -> tuple[dict[str, torch.Tensor], list[int | None]]:
        """The video keys of the batch, and by conversation the number of video tokens, None without video."""
        if kept := family.kept(conversations, "video"):
            return kept, [len(c.outputs["video"]["states"]) if "video" in c.outputs else None for c in conversations]
        given = [c for c in conversations if c.frames is not None]
        if not given:
            return {}, [None] * len(conversations)
        assert all(c.seconds > 0 for c in given), "a conversation with frames does not say how many seconds they span"
        processor = self.processor.video_processor
        assert not self.own_media or all(c.picked for c in given), "media=native has to be told which frames these are"
        videos = [
            processor(
                [c.frames for c in given[start : start + VIDEOS_AT_ONCE]],
                input_data_format="channels_last",
                do_sample_frames=False,
                size=self.size,
                # It would shrink long videos to a share of 115,000 tokens: max_seconds and num_frames are the limits.
                cap_pixels_per_frame=self.own_media and bool(processor.cap_pixels_per_frame),
                return_tensors="pt",
            )
            for start in range(0, len(given), VIDEOS_AT_ONCE)
        ]
        grid = torch.cat([video["video_grid_thw"] for video in videos])
        lengths = iter((grid.prod(-1) // processor.merge_size**2).tolist())
        # The processor joins temporal_patch_size frames to one and repeats the last where one is missing, so a step of
        # the time axis is always that many distances between frames.
        steps = [processor.temporal_patch_size * c.seconds / len(c.frames) for c in given]
        if self.own_media:  # the processor counts by the rate it is asked for, whatever its bounds have made of it
            steps = [processor.temporal_patch_size / self.fps for _ in given]
        return (
            {
                "pixel_values_videos": torch.cat([video["pixel_values_videos"] for video in videos]),
                "video_grid_thw": grid,
                "video_second_per_grid": torch.tensor(steps),
            },
            [None if c.frames is None else next(lengths) for c in conversations],
        )

    def features(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The keys of the batch that come from waveforms and frames alone; and by clip, in lists, how many tokens stand
        for it (`audio_tokens`, `video_tokens`)."""
        audio, audio_lengths = self._audio(conversations)
        video, video_lengths = self._video(conversations)
        return audio | video | {"audio_tokens": audio_lengths, "video_tokens": video_lengths}

    def settings(self, part: str) -> str:
        """Everything beside the clip itself that the features of `part` depend on."""
        if part == "audio":
            return self.processor.feature_extractor.to_json_string()
        what = [self.processor.video_processor.to_json_string(), self.size]
        return json.dumps([*what, self.fps] if self.own_media else what)

    def log_mel(self, waveforms: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """features[N, mel, frames] and mask[N, frames]."""
        return log_mel(self.processor.feature_extractor, waveforms)

    def num_audio_tokens(self, frames: int) -> int:
        """Tokens that `frames` log-mel frames become."""
        return num_audio_tokens(frames)


class QwenOmni(family.Native):
    """See `affect.models.Model`. `backbone` is the class of transformers, with its own parameter names.

    The class would otherwise remember how far the last prompt got and use that for the positions of a continuation that
    may belong to another.
    """

    TOWERS: ClassVar = {
        "audio": ("model.audio_tower",),
        "vision": ("model.visual",),
        "projector": ("model.audio_tower.proj", "model.visual.merger"),
    }
    ENCODERS: ClassVar = {"audio": ("model.audio_tower",), "video": ("model.visual",)}
    # The class embeds <|audio_bos|> and <|audio_eos|> with the words.
    UNUSED = ("model.audio_tower.audio_bos_eos_token",)
    AXES = 3

    def heard(self, batch: dict) -> dict[str, torch.Tensor]:
        features, mask = batch["input_features"], batch["feature_attention_mask"]
        return {"states": self.backbone.model.get_audio_features(features, mask, return_dict=True).last_hidden_state}

    def seen(self, batch: dict) -> dict[str, torch.Tensor]:
        """With grid_thw[V, 3] and second_per_grid[V] of each, of which the positions are made."""
        grid, seconds = batch["video_grid_thw"], batch["video_second_per_grid"]
        seen = self.backbone.model.get_video_features(batch["pixel_values_videos"], grid, return_dict=True)
        return family.on_all_layers(seen) | {"grid_thw": grid, "second_per_grid": seconds}

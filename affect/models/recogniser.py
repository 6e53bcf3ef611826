"""Whisper as a speech recogniser: waveforms in, transcripts out.

Model: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision" (arXiv 2212.04356). A window
of 30 s is decoded greedily in float32; longer clips are decoded window by window, and the times that Whisper predicts
tell where the next window begins (section 4.5 of the paper), by transformers' own generation.

Whisper writes words for a window without speech too ("you", "Thank you."). A window therefore gives no text where its
token for no speech has a probability above NO_SPEECH and the words a mean log-probability below LOG_PROBABILITY. The
rule is OpenAI's, the second threshold is not: theirs is -1, which whisper-base does not fall below on digital silence
(-0.45) and mains hum (-0.9). On RAVDESS's sentences the two are 0.1 to 0.2 and -0.05 to -0.08; with pauses between
several sentences in a window, up to 0.6 and -0.2, so that the first threshold alone would lose speech.

OpenAI's program decodes windows that repeat themselves again, at random temperatures. Here nothing is random, so that a
clip has one transcript; `repeats` tells which ones these are.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoTokenizer, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging

from affect.config import ConfigError
from affect.data.media import SAMPLING_RATE
from affect.models.pretrained import complete_weights, refusals

KEY = "transcription.model"

DETECTED = "auto"
"""The language of clips whose language Whisper is to detect."""

NO_SPEECH = 0.6
LOG_PROBABILITY = -0.4
COMPRESSION = 2.4
"""The threshold of OpenAI's `transcribe`."""

DECODING = {"beams": 1, "no_speech": NO_SPEECH, "log_probability": LOG_PROBABILITY, "dtype": "float32"}
"""What a transcript depends on beside the model, the language and the sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What was said in a clip."""

    text: str
    """Empty where Whisper hears no speech."""
    tokens: int
    """Number of tokens of the text."""


class Recogniser:
    """A loaded Whisper."""

    def __init__(self, name: str, folder: str, device: torch.device) -> None:
        """Loads the model called `name` from a folder. Raises ConfigError where it cannot be loaded, is no Whisper, or
        does not say which of its tokens stand for languages and times."""
        logging.disable_progress_bar()  # loading takes a second, and the bar breaks up our own output
        with refusals(KEY, name, "a Whisper model"):
            config = AutoConfig.from_pretrained(folder)
            if config.model_type != "whisper":
                raise ConfigError(
                    f"{KEY}={name} is a model of type {config.model_type}, and transcripts are made by Whisper: name"
                    " whisper-base-wheel, a folder with a Whisper, or one on the hub, openai/whisper-small"
                )
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.features = AutoFeatureExtractor.from_pretrained(folder)
            # Loading must not change the random weights of a training that follows.
            with torch.random.fork_rng(devices=[]):
                model = complete_weights(WhisperForConditionalGeneration, KEY, folder, dtype=torch.float32)
        assert isinstance(model, WhisperForConditionalGeneration)
        self.name = name
        self.model = model.eval().requires_grad_(False).to(device)
        settings = model.generation_config
        self.multilingual = bool(getattr(settings, "is_multilingual", True))
        lacking = [key for key in ("no_timestamps_token_id", "lang_to_id") if not hasattr(settings, key)]
        if not self.multilingual:
            lacking = [key for key in lacking if key != "lang_to_id"]
        if lacking:
            raise ConfigError(
                f"{KEY}={name} has no {' and no '.join(lacking)} in its generation_config.json, so that its tokens for"
                " languages and times are not known: use the file of the published Whisper it was made from"
            )

    def check(self, language: str, owner: str) -> None:
        """Raises ConfigError where the model cannot be told that `language` (a code, or DETECTED) is spoken. `owner` is
        the key of the configuration that says so."""
        if not self.multilingual:
            if language != "en":
                raise ConfigError(
                    f"{owner}={language}, but {KEY}={self.name} knows English alone: name a Whisper of several"
                    " languages (without .en in its name)"
                )
        elif language != DETECTED and f"<|{language}|>" not in self.model.generation_config.lang_to_id:
            codes = sorted(token.strip("<|>") for token in self.model.generation_config.lang_to_id)
            raise ConfigError(
                f"{owner}={language} is no language of {KEY}={self.name}: give what is spoken in the clips with"
                f" transcription.language, one of {', '.join(codes)}, or {DETECTED}"
            )

    @torch.inference_mode()
    def transcribe(self, waveforms: Sequence[np.ndarray], language: str) -> list[Transcript]:
        """The transcript of each waveform (float32[samples], mono, SAMPLING_RATE), in their order.

        Those of at most 30 s are one batch, longer ones another. A transcript does not depend on the others of its
        batch, but for rounding.
        """
        window = self.features.n_samples
        transcripts = [Transcript(text="", tokens=0)] * len(waveforms)
        for decode, chosen in (
            (self._windows, [i for i, waveform in enumerate(waveforms) if len(waveform) <= window]),
            (self._longer, [i for i, waveform in enumerate(waveforms) if len(waveform) > window]),
        ):
            if chosen:
                with _quiet():
                    for i, ids in decode([waveforms[i] for i in chosen], language):
                        transcripts[chosen[i]] = self._transcript(ids)
        return transcripts

    def _windows(self, waveforms: list[np.ndarray], language: str) -> Iterator[tuple[int, list[int]]]:
        """The tokens of each waveform in which something is said, with its place. The encoder sees a window once: given
        the features, transformers' generation would encode them a second time to find out whether something is said."""
        inputs = self.features(waveforms, sampling_rate=SAMPLING_RATE, return_tensors="pt").to(self.model.device)
        hidden = self.model.get_encoder()(inputs["input_features"]).last_hidden_state
        start = torch.full((len(hidden), 1), self.model.config.decoder_start_token_id, device=hidden.device)
        logits = self.model(encoder_outputs=BaseModelOutput(hidden), decoder_input_ids=start).logits[:, 0]
        # The token before that for no times, as in transformers.
        no_speech = logits.softmax(-1)[:, self.model.generation_config.no_timestamps_token_id - 1]
        surely = (no_speech <= NO_SPEECH).nonzero().flatten()
        if len(surely):
            ids = self._decoded(hidden[surely], language)
            yield from zip(surely.tolist(), ids.tolist(), strict=True)
        for place in (no_speech > NO_SPEECH).nonzero().flatten().tolist():
            output = self._decoded(hidden[[place]], language, return_dict_in_generate=True, output_scores=True)
            [ids] = output.sequences.tolist()
            written = zip(output.scores, ids[len(ids) - len(output.scores) :], strict=True)
            logarithms = [scores[0].log_softmax(-1)[token].item() for scores, token in written]
            if sum(logarithms) / len(logarithms) >= LOG_PROBABILITY:
                yield place, ids

    def _decoded(self, hidden: torch.Tensor, language: str, **options: Any) -> Any:
        """What transformers' generation gives for encoded windows."""
        # One call: should Whisper write a time all the same, what follows it would be decoded once more, for which
        # transformers needs the features.
        return self.model.generate(
            encoder_outputs=BaseModelOutput(hidden),
            return_timestamps=False,
            force_unique_generate_call=True,
            **self._told(language),
            **options,
        )

    def _longer(self, waveforms: list[np.ndarray], language: str) -> Iterator[tuple[int, list[int]]]:
        """The tokens of each waveform, with its place."""
        inputs = self.features(
            waveforms,
            sampling_rate=SAMPLING_RATE,
            padding="longest",
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.model.device)
        ids = self.model.generate(
            **inputs,
            return_timestamps=True,
            condition_on_prev_tokens=False,
            temperature=0.0,
            no_speech_threshold=NO_SPEECH,
            logprob_threshold=LOG_PROBABILITY,
            **self._told(language),
        )
        yield from enumerate(ids.tolist())

    def _told(self, language: str) -> dict[str, Any]:
        if not self.multilingual:
            return {"num_beams": 1}
        return {"num_beams": 1, "task": "transcribe", "language": None if language == DETECTED else language}

    def _transcript(self, ids: list[int]) -> Transcript:
        # All other tokens, those for languages, tasks and times, come after the one for the end.
        words = [token for token in ids if token < self.model.config.eos_token_id]
        return Transcript(text=self.tokenizer.decode(words).strip(), tokens=len(words))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of transformers' generation about arguments that it gives to itself."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def repeats(text: str) -> bool:
    """Whether a transcript repeats itself so much that Whisper has most likely lost the thread: its UTF-8 bytes are
    compressed to less than 1 / COMPRESSION.

    >>> repeats("Kids are talking by the door."), repeats("Thank you. " * 20)
    (False, True)
    """
    data = text.encode()
    return bool(data) and len(data) / len(zlib.compress(data)) > COMPRESSION

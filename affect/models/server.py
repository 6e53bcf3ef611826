"""The family `server`: a model behind an OpenAI-compatible server (models/endpoint.py), such as vLLM.

The interface returns text, neither likelihoods nor weights, so the model is evaluated zero-shot with
evaluation=generate, at temperature 0; models/rules.py refuses all else. Unknown to affect are:

- the weights. config.yaml has the address, the served name, and model.revision, which the user states. The same
  configuration may give other numbers when something else is served under that name.
- the chat template and the preprocessing. The server gets the waveform as a wav file, and the sampled frames as
  lossless pictures or as a silent video.
- the special tokens, so whatever looks like one in a transcript or a description is broken by a space.
- the tokenizer, so prompting.max_text_tokens is compared with an estimate: a token for every BYTES_PER_TOKEN bytes of
  UTF-8. What the server refuses as too long becomes a prediction with the outcome `error`.

"Token ids" are code points here, since the answer is text.
"""

import hashlib
import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from affect.config import ServerConfig, ServerVideo
from affect.config.endpoint import of_model
from affect.config.logs import LOG
from affect.data.media import SAMPLING_RATE, Clip
from affect.models.answer_cache import Answers, Kept
from affect.models.chat import neutralise_messages
from affect.models.endpoint import CircuitBreaker, Client, Refused, each
from affect.models.protocol import Conversation
from affect.models.server_media import with_media
from affect.models.unanswered import Unanswered

VERSION = 1
"""To be raised when the same conversations lead to other requests."""

BYTES_PER_TOKEN = 4


class ServerEncoder:
    """Puts conversations into batches unchanged; media are encoded while other requests wait for their answer."""

    sampling_rate = SAMPLING_RATE
    tokens_known = False
    audio_tokens_per_second = 0.0

    def __init__(self, num_frames: int) -> None:
        self.num_frames = num_frames

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        return {"conversations": conversations}

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))

    def render(self, messages: list[dict]) -> str:
        """The text that is sent, with a heading for each turn, since the server applies the chat template."""
        media = {"audio": "<audio>", "video": f"<video: {self.num_frames} frames>"}
        return "".join(
            f"[{message['role']}]\n"
            + "".join(part["text"] if part["type"] == "text" else media[part["type"]] for part in message["content"])
            + "\n"
            for message in neutralise_messages(messages, None)
        )

    def count_text(self, messages: list[dict]) -> int:
        """An estimate, see above, without the tokens of the chat template.

        SmolLM2's tokenizer (49,152 tokens) has 4.05 bytes a token in the demo's prompts and 3.7 in transcripts alone. A
        Chinese character has three bytes, and mostly one token or less.
        """
        texts = [part["text"] for message in messages for part in message["content"] if part["type"] == "text"]
        return sum(-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts)


class Served(nn.Module):
    """A model without weights. It generates; there is neither forward nor prefill."""

    def __init__(self, config: ServerConfig, cache_root: Path) -> None:
        super().__init__()
        self.towers: dict[str, list[str]] = {}
        self.new: frozenset[str] = frozenset()
        self.config, self.breaker = config, CircuitBreaker()
        self.answers = Answers(cache_root / "answers.sqlite")
        self.client: Client | None = None

    def generate(self, batch: dict[str, Any], max_new_tokens: int) -> list[list[int] | Unanswered]:
        """The answers; model.concurrency requests at a time, equal requests once.

        Raises ConfigError where no request can be answered: the server is down, refuses the key, does not have the
        model, or refused the first endpoint.MAX_FIRST_REFUSALS requests. Answers that came before are kept.
        """
        conversations: list[Conversation] = batch["conversations"]
        messages = [neutralise_messages(c.messages, None) for c in conversations]
        keys = [self._key(m, c, max_new_tokens) for m, c in zip(messages, conversations, strict=True)]
        with self.answers.opened() as kept, self._connected() as client:
            answers: dict[str, str | Unanswered] = {**self._known(kept, set(keys))}

            def ask(at: int) -> str:
                conversation = conversations[at]
                clip = Clip(waveform=conversation.waveform, frames=conversation.frames, seconds=conversation.seconds)
                sent = with_media(messages[at], clip, as_video=self.config.video is ServerVideo.video)
                return client.complete(sent, max_tokens=max_new_tokens, temperature=0.0).text

            missing = {key: at for at, key in enumerate(keys) if key not in answers}
            for at, outcome in each(missing.values(), ask, self.config.concurrency):
                if isinstance(outcome, Refused):
                    answers[keys[at]] = Unanswered(str(outcome))
                    self.breaker.refused(outcome)
                else:
                    answers[keys[at]] = outcome
                    self.breaker.answered = True
                    kept.add(keys[at], outcome)
        ordered = [answers[key] for key in keys]
        return [answer if isinstance(answer, Unanswered) else list(map(ord, answer)) for answer in ordered]

    def settle(self) -> None:
        """See affect.models.settle."""
        if self.answers.num_taken_over:
            LOG.info(f"{self.answers.num_taken_over:,} answers were taken over from a run that did not end")
        self.answers.forget()

    def _known(self, kept: Kept, keys: set[str]) -> dict[str, str]:
        before = self.answers.num_taken_over
        texts = kept.look_up(keys)
        if self.answers.num_taken_over and not before:
            LOG.info(
                f"what {self.config.served} answered in a run that did not end is taken over where the request is the"
                f" same, from {self.answers.since} on: to have all asked anew, delete {self.answers.file} first"
            )
        return texts

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        """The client, one for all batches. An exception closes it, since nobody waits for its answers any more."""
        if self.client is None:
            self.client = Client(of_model(self.config))
            weakref.finalize(self, self.client.close)
        try:
            yield self.client
        except BaseException:
            self.client.close()
            self.client = None
            raise

    def _key(self, messages: list[dict], conversation: Conversation, max_new_tokens: int) -> str:
        """The hash of everything an answer depends on, as far as it is known. The address is left out: the same model
        moves between machines."""
        config, frames = self.config, conversation.frames
        shape = None if frames is None else [*frames.shape, conversation.seconds]
        asked = [VERSION, config.served, config.revision, config.video.value, max_new_tokens, messages, shape]
        digest = hashlib.sha256(json.dumps(asked).encode())
        for media in (conversation.waveform, frames):
            digest.update(b"\0" if media is None else media.tobytes())
        return digest.hexdigest()


def load(config: ServerConfig, *, modalities: str, cache_root: Path) -> tuple[Served, ServerEncoder]:
    """The model and its encoder. The server is not asked anything yet."""
    return Served(config, cache_root), ServerEncoder(config.num_frames)

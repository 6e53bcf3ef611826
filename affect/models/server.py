"""The family `server`: a model behind an OpenAI-compatible server (models/endpoint.py), such as vLLM.

It answers in words: neither likelihoods nor weights come over the interface, so it is evaluated zero-shot with
evaluation=generate, at temperature 0, and affect/cli/validate.py refuses all else. What affect cannot know of it:

- its weights. config.yaml has the address, the name under which the model is served, and model.revision, which is for
  you to say. The same configuration may give other numbers when something else is served under that name.
- its chat template, and what it does to sound and pictures. It gets the waveform as a wav file and the sampled frames
  without loss, or as a silent video.
- its special tokens, so that whatever looks like one in a transcript or a description is broken by a space.
- its tokenizer, so that prompting.max_text_tokens is held against an estimate: a token for every BYTES_PER_TOKEN bytes
  of UTF-8. The server's own limit is its own affair; what it refuses to take becomes a prediction with the outcome
  `error`.

"Token ids" are code points here, since what comes back is text.
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
from affect.models.endpoint import Client, Hope, Refused, each, parts
from affect.models.protocol import Conversation
from affect.models.unanswered import Unanswered

VERSION = 1
"""To be raised when other requests are made of the same conversations."""

BYTES_PER_TOKEN = 4


class ServerEncoder:
    """Conversations to batches, which hold them as they are: what is sent is made while other requests wait."""

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
        """What is sent. How the turns are put together is the server's affair, so that they stand under headings."""
        media = {"audio": "<audio>", "video": f"<video: {self.num_frames} frames>"}
        return "".join(
            f"[{message['role']}]\n"
            + "".join(part["text"] if part["type"] == "text" else media[part["type"]] for part in message["content"])
            + "\n"
            for message in neutralise_messages(messages, None)
        )

    def count_text(self, messages: list[dict]) -> int:
        """An estimate, see above; without the tokens of the chat template.

        SmolLM2's tokenizer, of 49,152 tokens, has 4.05 bytes to a token in the demo's prompts, and 3.7 in transcripts
        alone. A Chinese character has three bytes, and most often a token to itself or a share in one.
        """
        texts = [part["text"] for message in messages for part in message["content"] if part["type"] == "text"]
        return sum(-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts)


class Served(nn.Module):
    """A model without weights. It generates; there is neither forward nor prefill."""

    def __init__(self, config: ServerConfig, cache_root: Path) -> None:
        super().__init__()
        self.towers: dict[str, list[str]] = {}
        self.new: frozenset[str] = frozenset()
        self.config, self.hope = config, Hope()
        self.answers = Answers(cache_root / "answers.sqlite")
        self.client: Client | None = None

    def generate(self, batch: dict[str, Any], max_new_tokens: int) -> list[list[int] | Unanswered]:
        """The answers, model.concurrency asked for at a time, the same request once.

        Raises ConfigError where no request can be answered: the server is down, refuses the key, does not have the
        model, or refused the first endpoint.HOPELESS_AFTER requests. Answers that came before are kept.
        """
        conversations: list[Conversation] = batch["conversations"]
        messages = [neutralise_messages(c.messages, None) for c in conversations]
        keys = [self._key(m, c, max_new_tokens) for m, c in zip(messages, conversations, strict=True)]
        with self.answers.at_hand() as kept, self._connected() as client:
            made: dict[str, str | Unanswered] = {**self._known(kept, set(keys))}

            def ask(at: int) -> str:
                one = conversations[at]
                clip = Clip(waveform=one.waveform, frames=one.frames, seconds=one.seconds)
                sent = parts(messages[at], clip, as_video=self.config.video is ServerVideo.video)
                return client.complete(sent, max_tokens=max_new_tokens, temperature=0.0).text

            missing = {key: at for at, key in enumerate(keys) if key not in made}
            for at, outcome in each(missing.values(), ask, self.config.concurrency):
                if isinstance(outcome, Refused):
                    made[keys[at]] = Unanswered(str(outcome))
                    self.hope.refused(outcome)
                else:
                    made[keys[at]] = outcome
                    self.hope.answered = True
                    kept.add(keys[at], outcome)
        answers = [made[key] for key in keys]
        return [answer if isinstance(answer, Unanswered) else list(map(ord, answer)) for answer in answers]

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
        """The client, for all batches the same; after an exception there is nobody who waits for its answers."""
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
        """Of all that an answer depends on, as far as that is known here. The address is not in it: the same model
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

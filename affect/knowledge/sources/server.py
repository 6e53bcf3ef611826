"""The source `server`: descriptions by an OpenAI-compatible server, such as vLLM with an omni model.

A server does not tell which weights it has, so the fingerprint is made of the model's name and
knowledge.server_revision. The address is left out, since the same model moves between machines.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from affect.config import Config, KnowledgeConfig, ServerVideo
from affect.config.endpoint import of_knowledge
from affect.data import Record
from affect.data.clip_parts import clips
from affect.data.part import Part
from affect.knowledge.protocol import Description, Failure
from affect.knowledge.sources import instructions
from affect.knowledge.sources.instructions import request
from affect.models.chat import neutralise_messages
from affect.models.endpoint import CircuitBreaker, Client, Refused, each
from affect.models.server_media import with_media
from affect.prompting import thoughts

VERSION = 2
"""To be raised when this module, or what it sends, starts to give other texts: they are then those of another
generator in the store."""


def load(cfg: Config, parts_of_run: Sequence[Part]) -> "Server":
    """The source of this configuration. Nothing is sent yet: a run that finds all descriptions in the store needs
    neither address nor key.

    Raises ConfigError where an instruction has no wording.
    """
    languages = {record.language for part in parts_of_run for record in part.records}
    instructions.check(cfg.knowledge, cfg.knowledge.modalities, languages)
    return Server(cfg.knowledge)


class Server:
    """See affect.knowledge.Describer."""

    def __init__(self, knowledge: KnowledgeConfig) -> None:
        self.knowledge = knowledge
        self.modalities = tuple(knowledge.modalities)
        self.settings: dict[str, Any] = {
            "source": "server",
            "version": VERSION,
            "model": knowledge.server_model,
            "revision": knowledge.server_revision,
            "video": knowledge.server_video.value,
            "num_frames": knowledge.server_num_frames,
            "frame_size": knowledge.server_frame_size,
            **instructions.fingerprinted(knowledge),
        }
        """The fingerprint is their hash."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        name = str(knowledge.server_model).rstrip("/").rsplit("/", 1)[-1]
        # With 16 hexadecimal digits, two of a thousand generators in a store collide once in 10^13.
        self.fingerprint = f"server-{name}-{digest[:16]}"

    def request(self, record: Record, modality: str) -> str:
        """See affect.knowledge.Describer."""
        return request(instructions.messages(record, modality, self.knowledge))

    def describe(self, records: Sequence[Record], hashes: Mapping[str, str]) -> Iterator[Description | Failure]:
        """See affect.knowledge.Describer. Descriptions come as they are ready.

        Raises ConfigError where the address or the key lacks, where the server is down, refuses the key or does not
        have the model, and where the first endpoint.MAX_FIRST_REFUSALS requests all failed.
        """
        client, breaker = Client(of_knowledge(self.knowledge)), CircuitBreaker()
        tasks = ((record, modality) for record in records for modality in self.modalities)

        def one(task: tuple[Record, str]) -> Description | Failure:
            return self._one(client, *task, hashes[task[0].id])

        try:
            for (record, modality), outcome in each(tasks, one, self.knowledge.server_concurrency):
                if isinstance(outcome, Refused):
                    yield Failure(id=record.id, modality=modality, reason=str(outcome))
                    breaker.refused(outcome)
                else:
                    breaker.answered = breaker.answered or isinstance(outcome, Description)
                    yield outcome
        finally:
            client.close()

    def _one(self, client: Client, record: Record, modality: str, sha256: str) -> Description | Failure:
        """Raises as Client.complete."""
        knowledge, begin = self.knowledge, time.perf_counter()
        clip = clips(
            record,
            [modality],
            num_frames=knowledge.server_num_frames,
            frame_size=knowledge.server_frame_size,
            max_seconds=knowledge.server_max_seconds,
            limit="knowledge.server_max_seconds",
        )[modality]
        if isinstance(clip, str):
            return Failure(id=record.id, modality=modality, reason=clip)
        # The server's special tokens are not known here, and a transcript must not be able to end its turn.
        messages = neutralise_messages(instructions.messages(record, modality, knowledge), None)
        seed = None
        if knowledge.temperature > 0:
            # One for each clip, below 2^31, which is what servers take.
            text = f"{knowledge.sampling_seed} {sha256} {modality}"
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
        answer = client.complete(
            with_media(messages, clip, as_video=knowledge.server_video is ServerVideo.video),
            max_tokens=knowledge.max_new_tokens,
            temperature=knowledge.temperature,
            seed=seed,
        )
        text = thoughts.without(answer.text)
        if text is None:
            raise Refused(
                f"{client.model} did not end its thoughts about {record.media} ({modality}): raise"
                " knowledge.max_new_tokens, or have it answer without thinking"
            )
        if not text:
            raise Refused(
                f"{client.model} gave an empty answer about {record.media} ({modality}): word"
                f" knowledge.instruction_{modality}.{record.language} differently, raise knowledge.max_new_tokens, or"
                " choose another model"
            )
        seconds = time.perf_counter() - begin
        return Description.now(self, record, modality, sha256, text, tokens=answer.tokens, seconds=seconds)

"""Asks the judge of descriptions, a model behind a server, and keeps its answers.

Answers are in `quality/judge.sqlite` under `cache_root`, by a hash of everything that was asked, each as soon as it
comes: what is there is not asked again, and an interrupted command goes on. The file can be deleted at any time.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from affect import __version__
from affect.config import ServerConfig
from affect.config.endpoint import of_model
from affect.data.database import opened
from affect.knowledge.protocol import request_hash
from affect.models.chat import neutralise
from affect.models.endpoint import CircuitBreaker, Client, Completion, Refused, each

DECODING = {"max_tokens": 1024, "temperature": 0.0, "seed": 0}
"""Ratings take about 30 tokens; the rest is for thoughts."""

TABLE = "answers (key TEXT PRIMARY KEY, answer TEXT)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the judge said, and all that pins it."""

    text: str
    model: str
    """model.served."""
    served_as: str
    """What the server calls the model; empty where it does not say."""
    revision: str
    """model.revision."""
    instructions: str
    """Their hash."""
    decoding: dict[str, float]
    affect: str
    """Version of affect that asked."""
    time: str
    """UTC, ISO 8601."""
    prompt_tokens: int | None
    tokens: int | None
    """Those of the answer. None where the server does not count tokens."""


def ask(
    questions: Mapping[str, str],
    model: ServerConfig,
    file: Path,
    begin: Callable[[int, int], None],
    progress: Callable[[int, int], None],
) -> tuple[dict[str, Answer | Refused], int]:
    """The answer to each question, or why there is none, and how many answers were in `file`.

    questions: the hash of its instructions by question. begin: called with the numbers of kept and of missing answers.
    progress: called with the numbers of new answers and new refusals. Raises ConfigError where no request can be
    answered, DataError where the file is damaged or cannot be written; answers that came before are kept.
    """
    # A description could otherwise end the turn with a special token of the judge.
    messages = {text: [{"role": "user", "content": neutralise(text, None)}] for text in questions}
    # The address is left out: the same model moves between machines.
    keys = {text: request_hash([model.served, model.revision, DECODING, asked]) for text, asked in messages.items()}
    answers: dict[str, Answer | Refused] = {}
    with opened(file, TABLE) as database:
        for text, key in keys.items():
            if row := database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone():
                answers[text] = Answer(**json.loads(row[0]))
        missing, known = [text for text in keys if text not in answers], len(answers)
        begin(known, len(missing))
        if not missing:
            return answers, known
        client, breaker = Client(of_model(model)), CircuitBreaker()

        def one(text: str) -> Completion:
            return client.complete(messages[text], **DECODING)

        try:
            for text, outcome in each(missing, one, model.concurrency):
                if isinstance(outcome, Refused):
                    answers[text] = outcome
                    progress(0, 1)
                    breaker.refused(outcome)
                    continue
                breaker.answered = True
                answers[text] = answer = _pinned(outcome, model, questions[text])
                with database:
                    row = keys[text], json.dumps(asdict(answer))
                    database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", row)
                progress(1, 0)
        finally:
            client.close()
    return answers, known


def _pinned(completion: Completion, model: ServerConfig, instructions: str) -> Answer:
    return Answer(
        text=completion.text,
        model=str(model.served),
        served_as=completion.model,
        revision=model.revision,
        instructions=instructions,
        decoding=DECODING,
        affect=__version__,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        prompt_tokens=completion.prompt_tokens,
        tokens=completion.tokens,
    )

"""Client of an OpenAI-compatible server, such as vLLM: chat completions, many at a time.

openai's client sends the requests. Retries are ours, because openai's client waits 0.5 to 8 s whatever
`backoff` says, does not retry an answer that is not JSON (a proxy's error page), and sleeps through `close`.

A request that gets no answer raises Refused. What would happen to every request (server down, key refused, unknown
model) raises ConfigError. The API key is read from an environment variable and kept out of every message.
"""

import json
import logging
import os
import queue
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from affect.config import ConfigError
from affect.config.endpoint import Endpoint, lacking

LONGEST_PAUSE = 60.0
"""Seconds between two attempts at the most, also where the server asks for more."""

CONNECT_SECONDS = 10.0
"""Seconds for a connection to be made: `timeout`, which is for an answer, is too long for a machine that is down."""

MAX_QUOTED = 300
"""Characters of a server's own words that a message repeats."""

MAX_FIRST_REFUSALS = 20
"""Requests that may be refused from the first one on, before the rest is spared."""

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A server's answer."""

    text: str
    """Without the white space around it; it may be empty."""
    tokens: int | None
    """Tokens of the answer; None where the server does not count them."""
    prompt_tokens: int | None = None
    """Likewise of the request."""
    model: str = ""
    """What the server calls the model that answered; empty where it does not say."""


class Refused(Exception):
    """One request got no answer. The message says why."""


class Closed(Exception):
    """The client was closed while this request waited for its next attempt."""


class _TryAgain(Exception):
    """Another attempt may get an answer. `problem` is raised after the last one; `wait` is what the server asks for, in
    seconds."""

    def __init__(self, problem: Exception, wait: float = 0.0) -> None:
        super().__init__(problem, wait)
        self.problem, self.wait = problem, wait


class Client:
    """Asks one model of one server. Safe to use from many threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        """`endpoint` must be free of `config.endpoint.problems`. Raises ConfigError for what is `lacking`."""
        if sentences := list(lacking(endpoint)):
            raise ConfigError("\n".join(sentences))
        import openai  # which takes most of a second

        assert endpoint.url is not None and endpoint.model is not None
        self.endpoint, self.url, self.model = endpoint, endpoint.url.rstrip("/"), endpoint.model
        self._key = None if endpoint.key_variable is None else os.environ[endpoint.key_variable].strip()
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs every request
        self._openai = openai.OpenAI(
            base_url=self.url,
            api_key=self._key or "none",  # it insists on one; see _headers
            max_retries=0,
            timeout=openai.Timeout(endpoint.timeout, connect=min(endpoint.timeout, CONNECT_SECONDS)),
            # A redirected POST would arrive as a GET. No more connections than `each` has threads are made.
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )
        # What openai's client would take from OPENAI_* variables: only `key_variable` says what is sent to a server.
        authorization = openai.Omit() if self._key is None else f"Bearer {self._key}"
        self._headers: dict[str, Any] = {
            "Authorization": authorization,
            "OpenAI-Organization": openai.Omit(),
            "OpenAI-Project": openai.Omit(),
        }
        self._closed = threading.Event()

    def close(self) -> None:
        """Ends pauses between attempts with Closed, and closes the connections."""
        self._closed.set()
        self._openai.close()

    def complete(
        self, messages: list[dict], *, max_tokens: int, temperature: float, seed: int | None = None
    ) -> Completion:
        """The answer to a conversation.

        Raises Refused where this request cannot be answered, ConfigError where none could, Closed after `close`.
        """
        request: dict[str, Any] = {"messages": messages, "max_tokens": max_tokens, "temperature": temperature}
        if seed is not None:
            request["seed"] = seed
        for attempt in range(self.endpoint.retries + 1):
            try:
                return self._attempt(request)
            except _TryAgain as again:
                if attempt == self.endpoint.retries:
                    raise again.problem from again.__cause__
                wait = again.wait
            # Half of the pause is random, so that requests refused together do not come back together.
            pause = self.endpoint.backoff * 2**attempt * (0.5 + random.random() / 2)
            if self._closed.wait(min(LONGEST_PAUSE, max(pause, wait))):
                raise Closed
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, request: dict[str, Any]) -> Completion:
        """Raises _TryAgain, or what no further attempt can mend."""
        import openai

        keys, timeout = self.endpoint.keys, self.endpoint.timeout
        try:
            # The raw response: openai's types are not checked, and a server may answer anything.
            response = self._openai.chat.completions.with_raw_response.create(
                model=self.model, extra_headers=self._headers, **request
            )
        except openai.APIStatusError as error:
            raise self._refusal(error.response.status_code, error.response.text, error.response.headers) from error
        except openai.APIConnectionError as error:
            cause = self._quote(str(error.__cause__))
            # By name, since openai's client may stand on httpx or httpx2.
            if type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout"):
                problem: Exception = ConfigError(
                    f"{keys}url={self.url} does not answer ({cause}): start the server, or correct the address; what"
                    " has been done is kept"
                )
            elif isinstance(error, openai.APITimeoutError):
                problem = Refused(
                    f"{self.url} did not answer within {keys}timeout={timeout:g} s: raise it, or lower"
                    f" {keys}concurrency"
                )
            else:
                problem = Refused(
                    f"the connection to {self.url} broke ({cause}): look at the server's log and run it again"
                )
            raise _TryAgain(problem) from error
        except RuntimeError as error:  # of a client that another thread has closed
            if self._closed.is_set():
                raise Closed from error
            raise
        quoted = self._quote(response.text)
        try:
            return _completion(json.loads(response.content))
        except (ValueError, RecursionError) as error:  # no JSON, nested without end, or not even text
            sentence = (
                f"{self.url} answered with something that is not JSON ({quoted}): is this where an OpenAI-compatible"
                " interface begins (…/v1)?"
            )
            raise _TryAgain(Refused(sentence)) from error
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise Refused(
                f"{self.url} answered with JSON that is no chat completion ({quoted}): is this where an"
                " OpenAI-compatible interface begins (…/v1)?"
            ) from error

    def _refusal(self, status: int, text: str, headers: Any) -> Exception:
        """The exception for a status that is not 2xx."""
        keys, variable, quoted = self.endpoint.keys, self.endpoint.key_variable, self._quote(text)
        if status in (408, 429) or status >= 500:
            wait = headers.get("retry-after", "")  # seconds; a date is not waited for
            problem = Refused(
                f"{self.url} answered {status} ({quoted}): look at the server's log, or lower {keys}concurrency"
            )
            return _TryAgain(problem, float(wait) if wait.isdecimal() else 0.0)
        if status in (401, 403):
            remedy = (
                f"{keys}key_variable=null sends no key, name the environment variable that holds it"
                if variable is None
                else f"the key in the environment variable {variable} is not accepted, put the right one there"
            )
            return ConfigError(f"{self.url} answered {status} ({quoted}): {remedy}")
        if status == 404:
            served = f"{self.endpoint.model_key}={self.model}"
            return ConfigError(f"{self.url} answered 404 ({quoted}) for {served}: {self._known_models()}")
        return Refused(
            f"{self.url} refused the request with {status} ({quoted}): send less or something else"
            f" ({keys}num_frames, {keys}frame_size, {keys}video), or leave the clip out"
        )

    def _known_models(self) -> str:
        """The end of a sentence about an unknown name."""
        import openai

        try:
            response = self._openai.models.with_raw_response.list(extra_headers=self._headers)
            names = [entry["id"] for entry in json.loads(response.content)["data"]]
        except (openai.OpenAIError, ValueError, KeyError, TypeError, RecursionError):
            return "give the name under which it serves the model, and an address that ends where its interface begins"
        return f"it serves {', '.join(map(str, names)) or 'no model'}; name one of these"

    def _quote(self, text: str) -> str:
        """A server's own words, short, on one line, and without the key, which some servers repeat."""
        if self._key:
            text = text.replace(self._key, "…")
        words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return words if len(words) <= MAX_QUOTED else f"{words[:MAX_QUOTED]} …"


def _completion(answer: Any) -> Completion:
    text = answer["choices"][0]["message"]["content"]
    if text is not None and not isinstance(text, str):
        raise TypeError(f"the content is a {type(text).__name__}")
    usage = answer.get("usage")  # not all servers count
    counts = usage if isinstance(usage, dict) else {}
    tokens, prompt_tokens = (
        count if isinstance(count := counts.get(name), int) else None for name in ("completion_tokens", "prompt_tokens")
    )
    model = answer.get("model")
    return Completion(
        text=_encodable(text or "").strip(),
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        model=_encodable(model) if isinstance(model, str) else "",
    )


def _encodable(text: str) -> str:
    """`text` without lone surrogates, which JSON can spell, and which cannot be written to a file."""
    return text.encode(errors="replace").decode()


# ---------------------------------------------------------------- many requests


def each(
    tasks: Iterable[Task], ask: Callable[[Task], Answer], concurrency: int
) -> Iterator[tuple[Task, Answer | Refused]]:
    """Every task with what `ask` returns for it, or the Refused it raises, as they are done.

    `ask` is called from `concurrency` threads; whatever else it raises is raised here. Tasks, none of which may be
    None, are taken as they are needed. Whoever ends early, by leaving the loop or by an exception, has to close the
    client too: a request under way cannot be called off, only its pauses can.
    """
    rest = iter(tasks)
    todo: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Task, Answer | Exception]] = queue.SimpleQueue()

    def work() -> None:
        while (task := todo.get()) is not None:
            try:
                done.put((task, ask(task)))
            except Exception as error:  # raised again where the answers are taken
                done.put((task, error))

    # Not ThreadPoolExecutor, which joins its threads at exit: Ctrl-C would wait for the server's answers.
    for _ in range(concurrency):
        threading.Thread(target=work, daemon=True).start()
    num_waiting = 0
    try:
        # Twice as many as are worked on, so that no thread waits for a task.
        for task in islice(rest, 2 * concurrency):
            todo.put(task)
            num_waiting += 1
        while num_waiting:
            task, outcome = done.get()
            num_waiting -= 1
            for following in islice(rest, 1):
                todo.put(following)
                num_waiting += 1
            if isinstance(outcome, Exception) and not isinstance(outcome, Refused):
                raise outcome
            yield task, outcome
    finally:
        for _ in range(concurrency):
            todo.put(None)


class CircuitBreaker:
    """Gives up where the first MAX_FIRST_REFUSALS requests are all refused."""

    def __init__(self) -> None:
        self.num_refused, self.answered = 0, False

    def refused(self, reason: Refused) -> None:
        """Counts a refusal. Raises ConfigError where it is one too many."""
        self.num_refused += 1
        if not self.answered and self.num_refused >= MAX_FIRST_REFUSALS:
            raise ConfigError(f"the first {self.num_refused} requests all failed, the last because {reason}")

"""Client of an OpenAI-compatible server, such as vLLM: POST <url>/chat/completions with

    {"model": …, "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}},      one a frame, or
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,…"}},      all frames as a silent video (vLLM)
        {"type": "input_audio", "input_audio": {"data": "…", "format": "wav"}},
        {"type": "text", "text": …}]}], "max_tokens": …, "temperature": …}

What is worth another attempt (no connection, a timeout, 408, 429, 5xx, an answer that is no JSON) gets a bounded number
of them with growing pauses. What concerns one request is Refused; what concerns all of them is a ConfigError: the
server is down, refuses the key, or does not have the model.

The API key is read from an environment variable, sent, and kept out of every message.
"""

import base64
import io
import logging
import os
import queue
import random
import struct
import tempfile
import threading
import wave
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np

from affect.config import ConfigError
from affect.config.endpoint import Endpoint, lacking
from affect.data.media import SAMPLING_RATE, Clip, write_clip

LONGEST_PAUSE = 60.0
"""Seconds between two attempts at the most, also where the server asks for more."""

CONNECT_SECONDS = 10.0
"""For a connection to be made, at the most: a machine that is not there would else be waited for as long as an
answer."""

QUOTED = 300
"""Characters of a server's own words that are repeated in a message."""

HOPELESS_AFTER = 20
"""Requests that are refused one after the other, from the first one on, before all others are spared the same."""

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A server's answer."""

    text: str
    """Without the white space around it; it may be empty."""
    tokens: int | None
    """Tokens of the answer; None where the server does not count them."""


class Refused(Exception):
    """One request that has no answer. The message says why."""


class Closed(Exception):
    """The client was closed while this request waited for its next attempt."""


class _Again(Exception):
    """Another attempt may get an answer. `problem` is what to raise where it was the last, `wait` are the seconds that
    the server asks for."""

    def __init__(self, problem: Exception, wait: float = 0.0) -> None:
        super().__init__(problem, wait)
        self.problem, self.wait = problem, wait


class Client:
    """Asks one model of one server. Safe to use from many threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        """`endpoint` has to be one without `serving.problems`. Raises ConfigError for what is `serving.lacking`."""
        if sentences := list(lacking(endpoint)):
            raise ConfigError("\n".join(sentences))
        assert endpoint.url is not None and endpoint.model is not None
        self.endpoint, self.url, self.model = endpoint, endpoint.url.rstrip("/"), endpoint.model
        self._key = None if endpoint.key_variable is None else os.environ[endpoint.key_variable].strip()
        headers = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
        limits = httpx.Limits(max_connections=endpoint.concurrency)
        patience = httpx.Timeout(endpoint.timeout, connect=min(endpoint.timeout, CONNECT_SECONDS))
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for every request
        self._http = httpx.Client(timeout=patience, headers=headers, limits=limits)
        self._closed = threading.Event()

    def close(self) -> None:
        """Ends pauses between attempts with Closed, and closes the connections."""
        self._closed.set()
        self._http.close()

    def complete(
        self, messages: list[dict], *, max_tokens: int, temperature: float, seed: int | None = None
    ) -> Completion:
        """The answer to a conversation; `seed` is for temperatures above 0.

        Raises Refused where this request cannot be answered, ConfigError where none could, Closed after `close`.
        """
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        if seed is not None:
            asked["seed"] = seed
        for attempt in range(self.endpoint.retries + 1):
            try:
                return self._attempt(asked)
            except _Again as again:
                if attempt == self.endpoint.retries:
                    raise again.problem from again.__cause__
                wait = again.wait
            # Half of it by chance, so that the requests that were turned away together do not come back together.
            pause = self.endpoint.backoff * 2**attempt * (0.5 + random.random() / 2)
            if self._closed.wait(min(LONGEST_PAUSE, max(pause, wait))):
                raise Closed
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, asked: dict[str, Any]) -> Completion:
        """Raises _Again, or what no further attempt can mend."""
        keys, endpoint = self.endpoint.keys, self.endpoint
        try:
            response = self._http.post(f"{self.url}/chat/completions", json=asked)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            sentence = (
                f"{keys}url={self.url} does not answer ({self._quote(str(error))}): start the server, or correct the"
                " address; what has been done is kept"
            )
            raise _Again(ConfigError(sentence)) from error
        except httpx.TimeoutException as error:
            sentence = (
                f"{self.url} did not answer within {keys}timeout={endpoint.timeout:g} s: raise it, or lower"
                f" {keys}concurrency"
            )
            raise _Again(Refused(sentence)) from error
        except httpx.HTTPError as error:
            sentence = (
                f"the connection to {self.url} broke ({self._quote(str(error))}): look at the server's log and run it"
                " again"
            )
            raise _Again(Refused(sentence)) from error
        except RuntimeError as error:  # httpx says so of a client that another thread has closed
            if self._closed.is_set():
                raise Closed from error
            raise
        status, words = response.status_code, self._quote(response.text)
        if status in (408, 429) or status >= 500:
            sentence = f"{self.url} answered {status} ({words}): look at the server's log, or lower {keys}concurrency"
            raise _Again(Refused(sentence), _retry_after(response))
        self._refuse(status, words)
        try:
            return _completion(response.json())
        except (ValueError, RecursionError) as error:  # no JSON, nested without end, or not even text
            sentence = (
                f"{self.url} answered with something that is not JSON ({words}): is this where an OpenAI-compatible"
                " interface begins (…/v1)?"
            )
            raise _Again(Refused(sentence)) from error
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise Refused(
                f"{self.url} answered with JSON that is no chat completion ({words}): is this where an"
                " OpenAI-compatible interface begins (…/v1)?"
            ) from error

    def _refuse(self, status: int, words: str) -> None:
        """Raises what a status says that another attempt would only say again."""
        keys, variable = self.endpoint.keys, self.endpoint.key_variable
        if status in (401, 403):
            remedy = (
                f"{keys}key_variable=null sends no key, name the environment variable that holds it"
                if variable is None
                else f"the key in the environment variable {variable} is not accepted, put the right one there"
            )
            raise ConfigError(f"{self.url} answered {status} ({words}): {remedy}")
        if status == 404:
            named = f"{self.endpoint.model_key}={self.model}"
            raise ConfigError(f"{self.url} answered 404 ({words}) for {named}: {self._served()}")
        if status >= 300:
            raise Refused(
                f"{self.url} refused the request with {status} ({words}): send less or something else"
                f" ({keys}num_frames, {keys}frame_size, {keys}video), or leave the clip out"
            )

    def _served(self) -> str:
        """What to do about an unknown name: the end of a sentence."""
        try:
            names = [entry["id"] for entry in self._http.get(f"{self.url}/models").json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError):
            return "give the name under which it serves the model, and an address that ends where its interface begins"
        return f"it serves {', '.join(map(str, names)) or 'no model'}; name one of these"

    def _quote(self, text: str) -> str:
        """A server's own words, short, on one line, and without the key, which some servers repeat."""
        if self._key:
            text = text.replace(self._key, "…")
        words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return words if len(words) <= QUOTED else f"{words[:QUOTED]} …"


def _completion(answer: Any) -> Completion:
    text = answer["choices"][0]["message"]["content"]
    if text is not None and not isinstance(text, str):
        raise TypeError(f"the content is a {type(text).__name__}")
    usage = answer.get("usage")  # not all servers count
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    # Half of a pair of surrogates, which JSON can spell, is no character and cannot be written to a file.
    text = (text or "").encode(errors="replace").decode().strip()
    return Completion(text=text, tokens=tokens if isinstance(tokens, int) else None)


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait; 0 where it does not, or names a date instead."""
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() else 0.0


# ---------------------------------------------------------------- many requests


def each(
    tasks: Iterable[Task], ask: Callable[[Task], Answer], at_a_time: int
) -> Iterator[tuple[Task, Answer | Refused]]:
    """Every task with what `ask` gives for it, or the Refused it raises, as they are done; `ask` is called from
    `at_a_time` threads. Raises what else `ask` raises. Tasks, none of which is None, are taken as they are needed.

    Whoever ends early, by leaving the loop or by an exception, has to close the client too: a request that is under way
    cannot be called off, only its pauses can.
    """
    rest = iter(tasks)
    todo: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Task, Answer | Exception]] = queue.SimpleQueue()

    def work() -> None:
        while (task := todo.get()) is not None:
            try:
                done.put((task, ask(task)))
            except Exception as error:  # it is raised again where the answers are taken
                done.put((task, error))

    # Daemons, since a thread that waits for a server cannot be called off: Ctrl-C would wait for the timeout.
    for _ in range(at_a_time):
        threading.Thread(target=work, daemon=True).start()
    waiting = 0
    try:
        # As many again as are worked on, so that no thread waits.
        for task in islice(rest, 2 * at_a_time):
            todo.put(task)
            waiting += 1
        while waiting:
            task, outcome = done.get()
            waiting -= 1
            for following in islice(rest, 1):
                todo.put(following)
                waiting += 1
            if isinstance(outcome, Exception) and not isinstance(outcome, Refused):
                raise outcome
            yield task, outcome
    finally:
        for _ in range(at_a_time):
            todo.put(None)


class Hope:
    """Given up where the first HOPELESS_AFTER requests are all refused."""

    def __init__(self) -> None:
        self.num_refused, self.answered = 0, False

    def refused(self, why: Refused) -> None:
        """Raises ConfigError where it is given up."""
        self.num_refused += 1
        if not self.answered and self.num_refused >= HOPELESS_AFTER:
            raise ConfigError(f"the first {self.num_refused} requests all failed, the last because {why}")


# ---------------------------------------------------------------- media


def parts(messages: list[dict], clip: Clip, *, as_video: bool) -> list[dict]:
    """The chat messages of affect as the interface has them: in the place of a part that refers to audio or video, the
    clip's own. as_video: all frames as one video, instead of a picture each."""
    made = []
    for message in messages:
        content: list[dict] = []
        for part in message["content"]:
            if part["type"] == "text":
                content.append(part)
            elif part["type"] == "audio":
                assert clip.waveform is not None, "a part is audio and the clip has none"
                sound = {"data": _base64(wav(clip.waveform)), "format": "wav"}
                content.append({"type": "input_audio", "input_audio": sound})
            else:
                assert clip.frames is not None, "a part is video and the clip has none"
                if as_video:
                    url = f"data:video/mp4;base64,{_base64(mp4(clip.frames, clip.seconds))}"
                    content.append({"type": "video_url", "video_url": {"url": url}})
                else:
                    urls = [f"data:image/png;base64,{_base64(png(frame))}" for frame in clip.frames]
                    content += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        made.append({"role": message["role"], "content": content})
    return made


def wav(waveform: np.ndarray) -> bytes:
    """A RIFF file of 16 bits a sample, of float32[samples] in [-1, 1] at SAMPLING_RATE."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        # 2**15 is what media.decode divides by, so sound that was decoded from 16 bits goes out as it came.
        file.writeframes(np.clip(np.rint(waveform * 32768), -32768, 32767).astype("<i2").tobytes())
    return out.getvalue()


def png(frame: np.ndarray) -> bytes:
    """A PNG file, without loss, of uint8[height, width, 3] (W3C, Portable Network Graphics, third edition, 2025)."""
    height, width, _ = frame.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # Each row begins with the number of its filter: 0 is none, 2 stores the difference to the row above, which
    # shrinks photographs.
    rows = frame.reshape(height, -1)
    above = np.vstack([np.zeros((1, width * 3), np.uint8), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])
    # 8 bits a sample, colour type 2 (RGB), the only compression and filter method, not interlaced.
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(filtered.tobytes())) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def mp4(frames: np.ndarray, seconds: float) -> bytes:
    """A silent video of uint8[num_frames, height, width, 3] that lasts `seconds`; sides lose a pixel where they are
    odd, which H.264 does not have."""
    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with tempfile.TemporaryDirectory(prefix="affect-video-") as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, frames=even, fps=len(frames) / seconds, waveform=None, sampling_rate=SAMPLING_RATE)
        return path.read_bytes()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

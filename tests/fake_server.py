"""A real HTTP server that speaks OpenAI's protocol and behaves as it is told. As a process of its own,

    python fake_server.py

it prints its address and tells from what it is sent which label a clip of tiny_models.tiny_manifest has.
"""

import base64
import io
import json
import re
import socket
import threading
import wave
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np

Behaviour = Callable[[int, dict], tuple[int, dict[str, str], bytes]]
"""(number of the request from 0, its body) to status, headers, answer; it may also sleep."""

KEY = "sk-Tr0ub4dor"


def answer(text: str | None = "A low, slow voice.", **usage: int) -> tuple[int, dict[str, str], bytes]:
    made = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    return 200, {}, json.dumps(made | ({"usage": usage} if usage else {})).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fake: Fake = self.server  # type: ignore[assignment]
        with fake.lock:
            number = len(fake.requests)
            fake.requests.append((self.path, self.headers["Authorization"], body))
            fake.headers.append(dict(self.headers))
            fake.now += 1
            fake.most_at_once = max(fake.most_at_once, fake.now)
        try:
            status, headers, content = fake.behaviour(number, body)
        finally:
            with fake.lock:
                fake.now -= 1
        if status == 0:  # the connection is cut
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.reply(status, headers, content)

    def do_GET(self) -> None:
        self.reply(200, {}, json.dumps({"object": "list", "data": [{"id": "omni-7b"}, {"id": "omni-3b"}]}).encode())

    def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on the screen."""


class Fake(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a request that hangs would keep the test from ending

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour: Behaviour = lambda number, body: answer()
        self.requests: list[tuple[str, str | None, dict]] = []
        self.headers: list[dict[str, str]] = []
        self.lock, self.now, self.most_at_once = threading.Lock(), 0, 0
        self.over = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that gives up is what is tested here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


# ---------------------------------------------------------------- a model that can hear, see and read

LABELS = ("joy", "anger", "sadness")
"""Those of tiny_models, whose import would cost this process ten seconds."""


def perceived(body: dict) -> str:
    """The label of the clip in a request, or what its modalities make of it where they do not agree."""
    parts = body["messages"][-1]["content"]
    found = set()
    for part in parts:
        if part["type"] == "input_audio":
            found.add(_heard(base64.b64decode(part["input_audio"]["data"])))
        elif part["type"] in ("image_url", "video_url"):
            found.add(_seen(base64.b64decode(part[part["type"]]["url"].split(",")[1])))
        elif said := re.search('They say: "(.*)"', part["text"]):
            found.add(0 if said[1] == "well" else 2 if said[1].endswith("then") else 1)
    return " or ".join(LABELS[which] for which in sorted(found))


def _heard(data: bytes) -> int:
    with wave.open(io.BytesIO(data)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        pitch = np.abs(np.fft.rfft(samples)).argmax() * file.getframerate() / len(samples)
    return round(float(np.log2(pitch / 150)))


def _seen(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as file:
        brightness = np.mean([frame.to_ndarray(format="gray") for frame in file.decode(video=0)])
    return round((float(brightness) - 40) / 80)


if __name__ == "__main__":
    server = Fake()
    server.behaviour = lambda number, body: answer(f" {perceived(body)}\n")
    print(server.url, flush=True)
    server.serve_forever()

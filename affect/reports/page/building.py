"""Blocks of data and the page's code to one HTML file, or to a folder where that would be large."""

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from affect.config import ConfigError, WriteError
from affect.data.files import write_atomic

Blocks = Mapping[str, Callable[[], Any]]
"""By name (letters, digits, `-`, `_` and `/`), what makes the JSON value of a block. It is called when the block is
needed, so that no two large ones are in memory at a time."""

SCRIPTS = (
    *("page.js", "table.js", "drawing.js", "overview.js", "charts.js", "confusion.js", "runs.js"),
    *(f"clips/{name}.js" for name in ("data", "marks", "player", "list", "detail", "clips")),
    "start.js",
)
"""In the order in which they are loaded."""

STYLES = ("page.css", "clips/clips.css")

LARGEST_FILE = 50 * 2**20
"""Bytes from which on the page becomes a folder, its blocks files of their own."""


def write(blocks: Blocks, title: str, path: Path) -> list[Path]:
    """Writes the page to `path`. Where the blocks need more than LARGEST_FILE, it is `index.html` in a folder named as
    `path` without its suffix, with the blocks beside it. Gives the page, and the folder where there is one.
    Raises ConfigError where the place cannot be written."""
    packed = {name: pack(make()) for name, make in blocks.items()}
    try:
        if sum(map(len, packed.values())) <= LARGEST_FILE:
            write_atomic(path, render(packed, title).encode())
            return [path]
        folder = path.with_suffix("")
        (folder / "data").mkdir(parents=True, exist_ok=True)
        files = {name: f"data/{number}.js" for number, name in enumerate(packed, 1)}
        for name, address in files.items():
            write_atomic(folder / address, _call(name, packed[name]).encode())
        # Browsers accept no hash of a script in a file beside the page. This word is a hash of all data, so that nobody
        # who wrote some of it can have known it.
        word = _sha256("".join(packed.values()))
        write_atomic(folder / "index.html", render({}, title, files=files, nonce=word).encode())
        return [folder / "index.html", folder]
    except (OSError, WriteError) as error:
        raise ConfigError(f"{path} cannot be written ({error}): name a file in a folder that can") from error


def _call(name: str, packed: str) -> str:
    return f"affect.deliver({json.dumps(name)}, {json.dumps(packed)});\n"


def pack(value: Any) -> str:
    """A JSON value, compressed, in the letters of base64, of which none means anything to HTML. NaN and infinity, which
    JSON does not have, become the words that say so."""
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_in_words(value), separators=(",", ":"), allow_nan=False)
    return packed(text.encode())


def packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()


def _in_words(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _in_words(each) for key, each in value.items()}
    return [_in_words(each) for each in value] if isinstance(value, list | tuple) else value


def render(
    packed: Mapping[str, str],
    title: str,
    *,
    files: Mapping[str, str] | None = None,
    nonce: str | None = None,
    live: bool = False,
) -> str:
    """The HTML of the page. `packed` are blocks that are in it, `files` the addresses of others, relative to the page,
    which are run for having the word `nonce`; with `live` the page asks the server it came from for its blocks."""
    scripts = [_source(name) for name in SCRIPTS]
    hashes = [f"'sha256-{_sha256(text)}'" for text in (*scripts, plotly())]
    policy = {
        "default-src": "'none'",
        "script-src": " ".join([*hashes, *([f"'nonce-{nonce}'"] if nonce else [])]),
        # plotly sets styles. None is made of data, and none can reach a network.
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "media-src": "'self' file: data: blob:",
        "connect-src": "'self'" if live else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return _template().render(
        title=title,
        policy="; ".join(f"{key} {value}" for key, value in policy.items()),
        styles=[_source(name) for name in STYLES],
        scripts=scripts,
        plotly=packed_plotly(),
        packed=packed,
        files=files or {},
        nonce=nonce,
        live=live,
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _source(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


@cache
def plotly() -> str:
    """The library for charts, as the package plotly brings it."""
    file = resources.files("plotly") / "package_data" / "plotly.min.js"
    return file.read_bytes().decode("utf-8").replace("\r\n", "\n")


@cache
def packed_plotly() -> str:
    return packed(plotly().encode())


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_source("page.html.j2"))

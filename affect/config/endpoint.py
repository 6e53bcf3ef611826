"""Connection settings of a model server and their checks. Nothing is sent. A secret in an address is refused before
anything writes it down."""

import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from affect.config.knowledge import KnowledgeConfig
    from affect.config.model import ServerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Address, model and timeouts. The attributes mean what they mean in the configuration."""

    keys: str
    """Prefix of their names there, such as `knowledge.server_`."""
    model_key: str
    """Name of `model` there, such as `knowledge.server_model`."""
    url: str | None
    model: str | None
    key_variable: str | None
    concurrency: int
    timeout: float
    retries: int
    backoff: float


def of_model(config: "ServerConfig") -> Endpoint:
    """The connection of the family `server`."""
    return _endpoint(config, "model.", "served")


def of_knowledge(config: "KnowledgeConfig") -> Endpoint:
    """The connection of the knowledge source `server`."""
    return _endpoint(config, "knowledge.server_", "model")


def _endpoint(config: Any, keys: str, model: str) -> Endpoint:
    prefix = keys.split(".")[1]
    shared = ("url", "key_variable", "concurrency", "timeout", "retries", "backoff")
    values = {name: getattr(config, f"{prefix}{name}") for name in shared}
    return Endpoint(keys=keys, model_key=f"{keys}{model}", model=getattr(config, f"{prefix}{model}"), **values)


def problems(endpoint: Endpoint) -> Iterator[str]:
    """A sentence for each invalid value, without anything that may be a secret."""
    keys = endpoint.keys
    if endpoint.url is not None:
        yield from _address_problems(endpoint.url, keys)
    if endpoint.key_variable is not None and not endpoint.key_variable.isidentifier():
        # Probably the key itself, which must not be printed.
        yield (
            f"{keys}key_variable is not the name of an environment variable: export the key in one, and give that one's"
            " name"
        )


def _address_problems(url: str, keys: str) -> Iterator[str]:
    if any(sign in url for sign in "@?#"):
        # Any of these may hold a key.
        yield (
            f"{keys}url has a user, a password, a query or a fragment in it, and the configuration is written to run"
            f" folders: put the key into an environment variable and name that, {keys}key_variable=…"
        )
    elif not _is_address(url):
        yield f"{keys}url={url} is no address: it looks like http://localhost:8000/v1"


def _is_address(url: str) -> bool:
    if not (url.isascii() and url.isprintable()) or " " in url:
        return False  # urlsplit would silently drop such characters
    try:
        parsed = urlsplit(url)
        host, port = parsed.hostname or "", parsed.port
        if ":" in host or re.fullmatch(r"[\d.]+", host):
            ipaddress.ip_address(host)
    except ValueError:
        return False
    return parsed.scheme in ("http", "https") and bool(re.fullmatch(r"[\w.:%-]+", host)) and port != 0


def unnamed(endpoint: Endpoint) -> Iterator[str]:
    """A sentence where the model has no name."""
    if not endpoint.model:
        yield f"{endpoint.model_key} is not set: give the name under which the server has the model"


def lacking(endpoint: Endpoint) -> Iterator[str]:
    """A sentence for each setting that is missing before a request can be sent. Reads the environment."""
    keys, variable = endpoint.keys, endpoint.key_variable
    yield from unnamed(endpoint)
    if endpoint.url is None:
        yield f"{keys}url is not set: give the address, {keys}url=http://localhost:8000/v1"
    if variable is None or not variable.isidentifier():  # which `problems` reports
        return
    if variable not in os.environ:
        yield (
            f"the environment variable {variable}, which {keys}key_variable names, is not set: export it with the key,"
            f" or set {keys}key_variable=null where none is needed"
        )
        return
    key = os.environ[variable].strip()
    # An invalid header would be quoted in the error message.
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        yield (
            f"the environment variable {variable} holds no key, but"
            f" {'characters that no key has' if key else 'nothing'}: put the key there, or set"
            f" {keys}key_variable=null where none is needed"
        )

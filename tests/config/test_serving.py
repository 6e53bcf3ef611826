"""Settings of servers: what cannot be used is refused before anything is asked, and before a secret is written."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from affect.config import Config, ConfigError, KnowledgeConfig, ServerConfig, to_yaml
from affect.config import endpoint as serving
from affect.data import files

SECRET = "sk-Tr0ub4dor"
MODEL = ("model=server", "evaluation=generate", "model.url=http://localhost:1/v1", "model.served=omni-7b")
KNOWLEDGE = ("modalities=t", "knowledge=server", "knowledge.server_model=omni-7b")


def asked(**settings: object) -> ServerConfig:
    return ServerConfig(name="server", modalities="tav", **settings)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "https://gpu-7.example.org/v1/",
        "http://10.0.0.1/v1",
        "http://[::1]:8000/v1",
        "http://node_17:8000",
    ],
)
def test_addresses(url: str) -> None:
    assert not list(serving.problems(serving.of_model(asked(url=url))))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "localhost:8000/v1",
        "/v1",
        "http://",
        "http:///v1",
        "ftp://h/v1",
        "http://h:99999999/v1",
        "http://h:x/v1",
        "http://h:0/v1",
        "http://1.2.3.999/v1",
        "http://[::1/v1",
        "http://[nowhere]/v1",
        "http://a b/v1",
        "http://h\n/v1",
        "http://h,h/v1",
    ],
)
def test_what_is_no_address(url: str) -> None:
    [sentence] = serving.problems(serving.of_model(asked(url=url)))
    assert sentence == f"model.url={url} is no address: it looks like http://localhost:8000/v1"


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{SECRET}@h/v1",
        f"http://{SECRET}@h/v1",
        f"http://me:{SECRET}@h:bad/v1",
        f"http://h/v1?key={SECRET}",
        f"http://h/v1#{SECRET}",
        f"me:{SECRET}@h",
    ],
)
def test_an_address_with_a_secret_is_not_repeated(url: str) -> None:
    [sentence] = serving.problems(serving.of_model(asked(url=url)))
    assert sentence.startswith(
        "model.url has a user, a password, a query or a fragment in it, and the configuration is"
    )
    assert SECRET not in sentence and "model.key_variable=…" in sentence


def test_both_configurations_make_an_endpoint() -> None:
    """Every setting arrives under its own name, and messages name its key."""
    values = {"url": "http://h/v1", "key_variable": "K", "concurrency": 2, "timeout": 3.0, "retries": 4, "backoff": 5.0}
    one = serving.of_model(asked(served="m", **values))
    other = serving.of_knowledge(KnowledgeConfig(server_model="m", **{f"server_{k}": v for k, v in values.items()}))
    for endpoint in (one, other):
        assert {key: getattr(endpoint, key) for key in values} == values and endpoint.model == "m"
    assert (one.keys, one.model_key) == ("model.", "model.served")
    assert (other.keys, other.model_key) == ("knowledge.server_", "knowledge.server_model")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "the environment variable OMNI_KEY, which model.key_variable names, is not set: export it with the key"),
        (" ", "OMNI_KEY holds no key, but nothing: put the key there, or set model.key_variable=null"),
        (f"{SECRET} 2", "OMNI_KEY holds no key, but characters that no key has"),
    ],
)
def test_a_key_that_lacks(monkeypatch: pytest.MonkeyPatch, value: str | None, words: str) -> None:
    if value is not None:
        monkeypatch.setenv("OMNI_KEY", value)
    sentences = list(serving.lacking(serving.of_model(asked(url="http://h/v1", served="m", key_variable="OMNI_KEY"))))
    assert len(sentences) == 1 and words in sentences[0] and SECRET not in sentences[0]


# ---------------------------------------------------------------- rules

BROKEN = [
    ([*MODEL, f"model.url='http://me:{SECRET}@h/v1'"], "model.url has a user, a password, a query or a fragment"),
    ([*MODEL, "model.url=null"], "model.url is not set: give the address, model.url=http://localhost:8000/v1"),
    ([*MODEL, "model.served=null"], "model.served is not set: give the name under which the server has the model"),
    ([*MODEL, f"model.key_variable={SECRET}"], "model.key_variable is not the name of an environment variable"),
    ([*MODEL, "model.key_variable=ABSENT"], "the environment variable ABSENT, which model.key_variable names, is not"),
    ([*MODEL, "model.concurrency=0"], "model.concurrency=0 has to be at least 1"),
    ([*MODEL, "model.timeout=nan"], "model.timeout=nan has to be a finite number"),
    ([*MODEL, "model.retries=-1"], "model.retries=-1 must not be below 0"),
    ([*MODEL, "model.backoff=-0.5"], "model.backoff=-0.5 must not be below 0"),
    ([*MODEL, "model.num_frames=0"], "model.num_frames=0 has to be at least 1"),
    (
        [*MODEL, "evaluation=score"],
        "evaluation.readout=score compares likelihoods, but model=server answers in words and does not tell them: set"
        " evaluation.readout=generate",
    ),
    (
        [*MODEL, "datasets.demo.tasks=[sentiment]", "evaluation.intensity_readout=expectation"],
        "evaluation.intensity_readout=expectation compares likelihoods, but model=server answers in words",
    ),
    ([*MODEL, "evaluation.logit_adjustment=1"], "but evaluation.readout=generate has none"),
    (
        [*MODEL, "model.concurrency=32"],
        "model.concurrency=32 requests at a time are more than a batch has, evaluation.batch_size=16: raise that",
    ),
    ([*MODEL, "trainer.devices=2"], "trainer.devices=2 processes share what a model computes, but model=server"),
    ([*MODEL, "model.precision=bfloat16"], "model.precision is about weights that affect loads, but those of"),
    ([*MODEL, "model.gradient_checkpointing=true"], "model.gradient_checkpointing is about weights that affect loads"),
    ([*KNOWLEDGE, f"knowledge.server_url='http://h/v1?k={SECRET}'"], "knowledge.server_url has a user, a password, a"),
    ([*KNOWLEDGE, "knowledge.server_url=localhost:8000"], "knowledge.server_url=localhost:8000 is no address"),
    ([*KNOWLEDGE, "knowledge.server_model=null"], "knowledge.server_model is not set: give the name under which"),
    ([*KNOWLEDGE, f"knowledge.server_key_variable={SECRET}"], "knowledge.server_key_variable is not the name of an"),
    ([*KNOWLEDGE, "knowledge.server_concurrency=0"], "knowledge.server_concurrency=0 has to be at least 1"),
    ([*KNOWLEDGE, "knowledge.server_timeout=0"], "knowledge.server_timeout=0.0 has to be above 0"),
    ([*KNOWLEDGE, "knowledge.server_retries=-1"], "knowledge.server_retries=-1 must not be below 0"),
    ([*KNOWLEDGE, "knowledge.server_num_frames=0"], "knowledge.server_num_frames=0 has to be at least 1"),
    ([*KNOWLEDGE, "knowledge.server_max_seconds=0"], "knowledge.server_max_seconds=0.0 has to be above 0"),
    # One that is not asked: the configuration is written all the same.
    (
        ["modalities=t", f"knowledge.server_url='http://me:{SECRET}@h/v1'"],
        "knowledge.server_url has a user, a password",
    ),
    (
        ["modalities=t", "knowledge=cues", "knowledge.also=[server]"],
        "knowledge.server_model is not set: give the name",
    ),
    (
        ["modalities=t", "knowledge=mllm", "model@knowledge.mllm_models.main=server"],
        "knowledge.mllm_models.main=server, but knowledge=mllm loads the weights of its models: for descriptions"
        " by a server, choose knowledge=server",
    ),
    (
        ["modalities=t", "knowledge=cues", "knowledge.cues_audio=[picth]"],
        "knowledge.cues_audio names 'picth', which is not",
    ),
]


@pytest.mark.parametrize(
    ("words", "sentence"), BROKEN, ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else ""
)
def test_what_is_refused_before_anything_is_written(
    configure: Callable[..., Config], words: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)) as refusal:
        configure(*words, program="evaluate")
    assert SECRET not in str(refusal.value)


def test_what_is_sound(configure: Callable[..., Config]) -> None:
    assert isinstance(configure(*MODEL, program="evaluate").model, ServerConfig)
    # What the model alone is asked for needs neither an address nor a readout that a server has.
    configure("model=server", program="show")
    configure("model=server", "knowledge=cues", program="knowledge")
    # All that is asked for is found in the store, and where it would have to be made is said then.
    configure(*KNOWLEDGE, program="evaluate")
    configure(*KNOWLEDGE, "knowledge.server_key_variable=ABSENT", program="evaluate")


def test_a_server_is_not_trained(configure: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError) as refusal:
        configure("model=server")
    assert str(refusal.value) == (
        "model=server has no weights here that could be trained: train a model that affect loads,"
        " model=qwen2_5_omni_7b, or evaluate what is served, python evaluate.py"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path


@pytest.mark.parametrize("key", ["model.url", "knowledge.server_url"])
@pytest.mark.parametrize("multirun", [False, True])
def test_a_refused_secret_is_in_no_file(
    command: Callable[..., tuple[list[Config], str]],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    key: str,
    multirun: bool,
) -> None:
    words = [*MODEL, "modalities=t", f"{key}='http://me:{SECRET}@h/v1'"]
    called, said = command(*(["-m", "seed=1,2"] if multirun else []), *words, program="evaluate")
    shown = capsys.readouterr()
    assert not called and f"{key} has a user, a password" in said
    assert SECRET not in said + shown.out + shown.err
    assert not [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_where_a_server_is_stays_free_beside_a_run(
    configure: Callable[..., Config], command: Callable[..., tuple[list[Config], str]], folder: Path
) -> None:
    """What was described by it is found by the model's name and revision: those are the run's."""
    files.write_atomic(folder / "config.yaml", to_yaml(configure(*KNOWLEDGE, "knowledge.server_url=http://old/v1")))
    files.write_json(folder / "status.json", {"state": "finished"})
    moved = ("knowledge.server_url=http://new/v1", "knowledge.server_key_variable=K", "knowledge.server_retries=0")
    [cfg], said = command(f"run={folder}", *moved, program="evaluate")
    assert not said and cfg.knowledge.server_model == "omni-7b"
    assert (cfg.knowledge.server_url, cfg.knowledge.server_key_variable) == ("http://new/v1", "K")
    called, said = command(f"run={folder}", "knowledge.server_model=other", program="evaluate")
    assert not called and "knowledge.server_model cannot be given beside run=" in said

"""`model=server` through evaluate.py itself, against a real HTTP server that can hear, see and read what it is sent."""

import base64
import csv
import io
import json
import logging
import os
import pickle
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_server import KEY, LABELS, Fake, answer, perceived
from tiny_models import TINY_LABELS, tiny_manifest

import evaluate
from affect import models
from affect.cli import show
from affect.cli.report import main as report
from affect.config import ConfigError, ServerConfig, ServerVideo
from affect.data import Prediction
from affect.data.media import SAMPLING_RATE
from affect.models import Conversation, Unanswered
from affect.models.endpoint import MAX_FIRST_REFUSALS
from affect.models.server import BYTES_PER_TOKEN, Served, ServerEncoder
from affect.runs import inherit, run_results

QUICK = ("model.num_frames=2", "model.frame_size=32", "model.backoff=0.01", "trainer.check_workers=1")
MODEL = ("model=server", "model.served=omni-7b", "evaluation=generate", "modalities=t", *QUICK)
Start = Callable[..., Path]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_manifest(tmp_path_factory.mktemp("manifest"))


@pytest.fixture
def start(tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """`start(*words)` runs evaluate.py in this process and gives the folder it made, also where it failed."""
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "outputs"

    def started(*words: str, program: Callable[[], None] = evaluate.main) -> Path:
        before = set(output.glob("*/"))
        data = ("dataset=manifest", f"datasets.manifest.root={table}")
        places = (f"cache_root={tmp_path / 'cache'}", "trainer.progress=false")
        given = [word for word in (*data, *places) if not any(word.startswith("run=") for word in words)]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *(given or places), *words])
        monkeypatch.delenv("AFFECT_STAMP", raising=False)
        program()
        [made] = set(output.glob("*/")) - before
        return made

    return started


def numbers(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["tasks"]["manifest.label"]


def by_id(folder: Path) -> dict[str, Prediction]:
    return {prediction.id: prediction for prediction in run_results.read_predictions(folder)}


@pytest.fixture(scope="module")
def process() -> Iterator[str]:
    """The address of a server that is a process of its own."""
    file = Path(__file__).parents[1] / "fake_server.py"
    started = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    try:
        yield started.stdout.readline().strip()
    finally:
        started.terminate()
        started.wait()
        started.stdout.close()


def test_the_servers_labels_are_those_of_the_clips() -> None:
    assert LABELS == TINY_LABELS


@pytest.mark.parametrize(
    "words",
    [
        ["modalities=t"],
        ["modalities=a"],
        ["modalities=v"],
        ["modalities=v", "model.video=video"],
        ["modalities=tav"],
        ["modalities=av", "trainer.num_workers=1"],
    ],
    ids=" ".join,
)
def test_what_a_clip_holds_arrives_and_comes_back_as_numbers(
    start: Start, process: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """Every clip is perceived for what it is, through every way there is to the server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = start(*MODEL, *words, f"model.url={process}")
    found = numbers(folder)
    assert (found["n_scored"], found["expected"], found["used"], found["readout"]) == (6, 6, 6, "generate")
    assert found["lenient"]["accuracy"] == found["exact"]["accuracy"] == 1.0 and found["value"] == 1.0
    assert {p.answer for p in by_id(folder).values()} == set(TINY_LABELS)
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    said = capsys.readouterr()
    assert "1 server omni-7b, " in said.out
    # httpx2 has a line for every request.
    assert "HTTP Request" not in said.out + said.err + (folder / "log" / "run.log").read_text(encoding="utf-8")
    assert not (folder / "checkpoints").exists()


def test_the_numbers_are_those_of_the_answers(fake: Fake, start: Start) -> None:
    """joy for every clip, of which a third are: accuracy 1/3, F1 of joy 2 · 1/3 / (1/3 + 1), which a third weighs."""
    fake.behaviour = lambda number, body: answer("I think that it is joy.")
    found = numbers(start(*MODEL, f"model.url={fake.url}"))
    assert found["lenient"]["accuracy"] == pytest.approx(1 / 3)
    assert found["lenient"]["weighted_f1"] == pytest.approx(1 / 6)
    assert found["exact"]["accuracy"] == 0.0  # a sentence is not a label
    assert (found["n_readable_lenient"], found["n_readable_exact"]) == (6, 0)


def test_what_is_sent(fake: Fake, start: Start) -> None:
    fake.behaviour = lambda number, body: answer(perceived(body))
    start(*MODEL, f"model.url={fake.url}/", "modalities=tav", "evaluation.max_new_tokens=5")
    assert len(fake.requests) == 6
    path, authorization, body = fake.requests[0]
    assert (path, authorization) == ("/v1/chat/completions", None)
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("omni-7b", 0.0, 5)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert [part["type"] for part in body["messages"][1]["content"]] == ["image_url"] * 2 + ["input_audio", "text"]
    assert "Answer with one" in body["messages"][1]["content"][-1]["text"]
    words = [part["text"] for part in body["messages"][0]["content"]]
    assert words == ["You judge how people feel in short clips."]
    assert len(base64.b64decode(body["messages"][1]["content"][2]["input_audio"]["data"])) > SAMPLING_RATE


def test_requests_at_a_time(fake: Fake, start: Start) -> None:
    def behaviour(number: int, body: dict) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.1)
        return answer(perceived(body))

    fake.behaviour = behaviour
    start(*MODEL, f"model.url={fake.url}", "model.concurrency=3")
    assert fake.most_at_once == 3


def test_what_passes_is_tried_again(fake: Fake, start: Start) -> None:
    troubles = [(500, {}, b"CUDA error"), (429, {"Retry-After": "0"}, b"slow down"), (0, {}, b""), (200, {}, b"<html>")]
    fake.behaviour = lambda number, body: troubles[number] if number < len(troubles) else answer(perceived(body))
    found = numbers(start(*MODEL, f"model.url={fake.url}", "modalities=a"))
    assert found["lenient"]["accuracy"] == 1.0 and not found["errors"]
    assert len(fake.requests) == 6 + len(troubles)


# ---------------------------------------------------------------- clips and servers that fail


def is_of(body: dict, transcript: str) -> bool:
    return f'"{transcript}"' in body["messages"][-1]["content"][-1]["text"]


def test_a_clip_that_is_refused_is_an_error_and_the_rest_goes_on(
    fake: Fake, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second test clip ("well number 1", anger) is refused: five of six are right."""
    trouble = (400, {}, b'{"message": "At most 0 audio may be provided"}')
    fake.behaviour = lambda n, body: trouble if is_of(body, "well number 1") else answer(perceived(body))
    folder = start(*MODEL, f"model.url={fake.url}")
    found = numbers(folder)
    [failed] = [p for p in by_id(folder).values() if p.outcome == "error"]
    assert (failed.target, failed.answer, failed.exact, failed.lenient) == ("anger", None, None, None)
    reason = (
        f'{fake.url} refused the request with 400 ({{"message": "At most 0 audio may be provided"}}): send less or'
        " something else (model.num_frames, model.frame_size, model.video), or leave the clip out"
    )
    assert failed.error == reason
    assert found["errors"] == {reason: 1} and found["outcomes"]["error"] == 1
    assert found["n_scored"] == 6 and found["n_readable_lenient"] == 5
    assert found["lenient"]["accuracy"] == pytest.approx(5 / 6)
    said = capsys.readouterr().out
    assert f"{failed.id} has no answer for label: {reason}" in said
    assert f"1 manifest.label: 1 of 6 clips have no answer: {reason}" in said
    assert reason in (folder / "log" / "run.log").read_text(encoding="utf-8")


def test_an_empty_answer_is_one_that_cannot_be_read(fake: Fake, start: Start) -> None:
    fake.behaviour = lambda number, body: answer(None)
    folder = start(*MODEL, f"model.url={fake.url}")
    assert {p.outcome for p in by_id(folder).values()} == {"empty"} and not numbers(folder)["errors"]


def refused(start: Start, *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        start(*words)
    return str(end.value.code)


def test_server_down(start: Start, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        said = refused(start, *MODEL, f"model.url={url}", "model.retries=1")
    assert f"model.url={url} does not answer (" in said
    assert "start the server, or correct the address; what has been done is kept" in said
    [folder] = (tmp_path / "outputs").glob("*/")
    assert json.loads((folder / "status.json").read_text())["state"] == "failed"
    assert not (folder / "predictions.jsonl").exists()


def test_unknown_model(fake: Fake, start: Start) -> None:
    fake.behaviour = lambda number, body: (404, {}, b'{"message": "The model `omni-7b` does not exist."}')
    said = refused(start, *MODEL, f"model.url={fake.url}")
    assert "for model.served=omni-7b: it serves omni-7b, omni-3b; name one of these" in said


def test_the_key_is_sent_and_written_nowhere(
    fake: Fake, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMNI_KEY", KEY + "\n")
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("affect"), "propagate", True)  # to where it is looked for below
    fake.behaviour = lambda number, body: answer(perceived(body))
    words = (*MODEL, f"model.url={fake.url}", "model.key_variable=OMNI_KEY")
    folder = start(*words)
    assert {authorization for _, authorization, _ in fake.requests} == {f"Bearer {KEY}"}
    assert "key_variable: OMNI_KEY" in (folder / "config.yaml").read_text()
    fake.behaviour = lambda number, body: (401, {}, f"Incorrect API key provided: {KEY}.".encode())
    said = refused(start, *words)
    assert "answered 401 (Incorrect API key provided: ….): the key in the environment variable OMNI_KEY is not" in said
    assert KEY not in said + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10 and not [path for path in files if KEY.encode() in path.read_bytes()]


def test_nothing_is_sent_of_the_variables_that_openai_s_client_reads(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key for another server stays here; so do the organisation and the project."""
    variables = {
        "OPENAI_API_KEY": "sk-elsewhere",
        "OPENAI_ADMIN_KEY": "sk-elsewhere-admin",
        "OPENAI_ORG_ID": "org-elsewhere",
        "OPENAI_PROJECT_ID": "project-elsewhere",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/elsewhere",
        "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer sk-elsewhere-header",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMNI_KEY", KEY)
    for key_variable in (None, "OMNI_KEY"):
        served(fake, tmp_path, key_variable=key_variable).generate({"conversations": [said(str(key_variable))]}, 8)
    assert [authorization for _, authorization, _ in fake.requests] == [None, f"Bearer {KEY}"]
    assert len(fake.headers) == 2 and "elsewhere" not in str(fake.headers)


def test_when_the_first_requests_all_fail_the_rest_is_spared(fake: Fake, tmp_path: Path) -> None:
    fake.behaviour = lambda number, body: (400, {}, b"no audio here")
    model = served(fake, tmp_path, concurrency=2)
    batches = [[said(f"{batch} {i}") for i in range(8)] for batch in range(4)]
    for batch in batches[:2]:
        assert all(isinstance(one, Unanswered) for one in model.generate({"conversations": batch}, 8))
    with pytest.raises(
        ConfigError, match=rf"the first {MAX_FIRST_REFUSALS} requests all failed, the last because .*no audio"
    ):
        model.generate({"conversations": batches[2]}, 8)
    assert len(fake.requests) < 24


# ---------------------------------------------------------------- what is kept of a run that does not end


def test_what_was_answered_before_the_server_went_down_is_not_asked_again(
    fake: Fake, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*MODEL, f"model.url={fake.url}", "modalities=a", "evaluation.batch_size=2", "model.concurrency=1")
    down = (401, {}, b"account suspended")
    fake.behaviour = lambda number, body: answer(perceived(body)) if number < 3 else down
    assert "answered 401 (account suspended)" in refused(start, *words)
    before = list(fake.requests)
    assert len(before) >= 4
    fake.behaviour = lambda number, body: answer(perceived(body))
    capsys.readouterr()
    folder = start(*words)
    shown = capsys.readouterr().out
    assert "what omni-7b answered in a run that did not end is taken over where the request is the same, from" in shown
    assert "3 answers were taken over from a run that did not end" in shown
    assert len(fake.requests) == len(before) + 3
    sent = [json.dumps(body) for _, _, body in [*before[:3], *fake.requests[len(before) :]]]
    assert len(set(sent)) == 6
    assert numbers(folder)["lenient"]["accuracy"] == 1.0
    assert not kept(folder.parent.parent / "cache")
    # It has ended: whoever evaluates again wants to know what the server answers now.
    start(*words)
    assert len(fake.requests) == len(before) + 3 + 6
    assert "taken over" not in capsys.readouterr().out


def served(fake: Fake, root: Path, **settings: Any) -> Served:
    given = {"url": fake.url, "served": "omni-7b", "backoff": 0.01, "concurrency": 4, **settings}
    config = ServerConfig(name="server", modalities="tav", **given)
    model, _ = models.load(config, modalities="tav", cache_root=root)
    assert isinstance(model, Served)
    return model


def said(text: str, **media: Any) -> Conversation:
    kinds = [{"type": kind} for kind, key in (("video", "frames"), ("audio", "waveform")) if key in media]
    return Conversation(messages=[{"role": "user", "content": [*kinds, {"type": "text", "text": text}]}], **media)


def test_another_request_is_asked(fake: Fake, tmp_path: Path) -> None:
    """Whatever an answer depends on makes another request; where the server is, and how it is asked, does not."""
    wave, frames = np.zeros(1600, np.float32), np.zeros((2, 4, 4, 3), np.uint8)
    plain = said("a", waveform=wave, frames=frames, seconds=0.1)

    def asked(conversation: Conversation = plain, tokens: int = 8, **settings: Any) -> int:
        before = len(fake.requests)
        assert served(fake, tmp_path, **settings).generate({"conversations": [conversation]}, tokens) == [[111, 107]]
        return len(fake.requests) - before

    fake.behaviour = lambda number, body: answer("ok")
    assert asked() == 1
    assert asked() == asked(concurrency=2) == asked(timeout=9.0) == asked(url=f"{fake.url}/") == 0
    assert asked(tokens=9) == 1
    assert asked(said("b", waveform=wave, frames=frames, seconds=0.1)) == 1
    assert asked(said("a", waveform=wave + 0.5, frames=frames, seconds=0.1)) == 1
    assert asked(said("a", waveform=wave, frames=frames + 9, seconds=0.1)) == 1
    assert asked(said("a", waveform=wave, frames=frames, seconds=0.2)) == 1
    assert asked(said("a", waveform=wave)) == asked(said("a")) == 1
    for settings in ({"served": "omni-3b"}, {"revision": "r2"}, {"video": ServerVideo.video}):
        assert asked(**settings) == 1, settings


def test_one_request_for_conversations_that_are_alike(fake: Fake, tmp_path: Path) -> None:
    fake.behaviour = lambda number, body: answer(f"answer {number}")
    model, encoder = served(fake, tmp_path, concurrency=1), ServerEncoder(2)
    batch = {"conversations": [said("a"), said("b"), said("a")]}
    first = [encoder.decode(ids) for ids in model.generate(batch, 8)]
    assert len(fake.requests) == 2 and first[0] == first[2] != first[1]
    assert [encoder.decode(ids) for ids in model.generate(batch, 8)] == first and len(fake.requests) == 2
    assert model.answers.num_taken_over == 0  # they are this run's own
    other = served(fake, tmp_path)
    other.generate(batch, 8)
    assert (len(fake.requests), other.answers.num_taken_over) == (2, 2)
    models.settle(model)  # what another run has taken over is that one's
    assert served(fake, tmp_path).generate(batch, 8) and len(fake.requests) == 2


def test_a_damaged_file_of_answers(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"nonsense " * 1000)
    with pytest.raises(Exception, match=r"answers.sqlite is damaged \(.*\): delete it"):
        served(fake, tmp_path).generate({"conversations": [said("a")]}, 8)


def kept(root: Path) -> int:
    with closing(sqlite3.connect(root / "answers.sqlite")) as database:
        return database.execute("SELECT COUNT(*) FROM answers").fetchone()[0]


def test_stopping_does_not_wait_for_the_server(fake: Fake, tmp_path: Path) -> None:
    fake.behaviour = lambda number, body: answer("ok") if number == 0 else (fake.over.wait(), answer())[1]
    model = served(fake, tmp_path, concurrency=1, timeout=100.0)

    def interrupt() -> None:
        while len(fake.requests) < 2 or not kept(tmp_path):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    # Which a process in the background of a shell ignores otherwise.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        model.generate({"conversations": [said("a"), said("b")]}, 8)
    signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - begin < 60
    assert model.client is None
    fake.behaviour = lambda number, body: answer("fine")
    assert [bytes(ids) for ids in model.generate({"conversations": [said("a"), said("b")]}, 8)] == [b"ok", b"fine"]


# ---------------------------------------------------------------- prompts


def test_text_comes_back_as_it_was(fake: Fake, tmp_path: Path) -> None:
    encoder = pickle.loads(pickle.dumps(ServerEncoder(2)))  # workers have a copy
    model = served(fake, tmp_path)
    for text in ("喜悦 😊 é", "", 'a "b"\nc'):
        fake.behaviour = lambda number, body, text=text: answer(f" {text} ")
        [ids] = model.generate({"conversations": [said(f"say {text}")]}, 8)
        assert encoder.decode(ids) == text
    # Half of a pair of surrogates could not be written to predictions.jsonl.
    broken = json.dumps({"choices": [{"message": {"content": "joy \ud83d"}}]}).encode()
    fake.behaviour = lambda number, body: (200, {}, broken)
    [ids] = model.generate({"conversations": [said("again")]}, 8)
    assert encoder.decode(ids) == "joy ?"


def test_a_transcript_cannot_end_its_turn(fake: Fake, tmp_path: Path) -> None:
    served(fake, tmp_path).generate({"conversations": [said("so <|im_end|>\x00 <end_of_turn> <b>what</b>")]}, 8)
    [part] = fake.requests[0][2]["messages"][0]["content"]
    assert part["text"] == "so < |im_end|>  < end_of_turn> <b>what</b>"


SPECIAL = (
    *("<|im_end|>", "<|im_start|>", "<|eot_id|>", "<|end|>", "<|endoftext|>", "<|vision_start|>", "<|audio_bos|>"),
    *("<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "<end_of_turn>", "<start_of_turn>", "<end_of_utterance>"),
    *("<image>", "<audio>", "<video>", "<image_soft_token>", "<SPECIAL_12>", "<extra_id_0>", "<unused94>"),
    *("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[AUDIO]", "[IMG_END]", "<<SYS>>", "<</SYS>>", "]~b]", "[e~["),
    *(
        "<think>",
        "</think>",
        "<tool_call>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "<|channel>",
        "<|im_\u200cend|>",
    ),
)
HARMLESS = ("I <3 you", "a < b > c", "[1] [laughs] [A]", "<b>so</b> <br/>", "x|y", "می\u200cخواهم")


def sent_texts(fake: Fake, root: Path, conversations: list[Conversation]) -> list[str]:
    """What the server gets of each conversation, whose requests arrive in order."""
    served(fake, root, concurrency=1).generate({"conversations": conversations}, 8)
    return [body["messages"][0]["content"][0]["text"] for _, _, body in fake.requests]


def test_whatever_looks_like_a_special_token_is_broken(fake: Fake, tmp_path: Path) -> None:
    """Also within another one, and as it is shown in the run folder."""
    conversations = [said(f"so {token} joy <{token}>") for token in SPECIAL]
    texts = sent_texts(fake, tmp_path, conversations)
    for token, conversation, text in zip(SPECIAL, conversations, texts, strict=True):
        bare = token.replace("\u200c", "")
        assert bare not in text.replace("\u200c", ""), token
        assert text.startswith("so ") and text.replace(" ", "") == f"so{bare}joy<{bare}>", token
        assert text in ServerEncoder(2).render(conversation.messages), token


def test_what_is_no_special_token_is_sent_as_it_is(fake: Fake, tmp_path: Path) -> None:
    assert sent_texts(fake, tmp_path, [said(text) for text in HARMLESS]) == list(HARMLESS)


def test_an_answer_that_is_nested_without_end_is_refused(fake: Fake, tmp_path: Path) -> None:
    fake.behaviour = lambda number, body: (200, {}, b"[" * 100_000)
    [one] = served(fake, tmp_path, retries=0).generate({"conversations": [said("so")]}, 8)
    assert isinstance(one, Unanswered) and "answered with something that is not JSON" in one.reason


def test_the_estimate_of_tokens() -> None:
    encoder = ServerEncoder(2)
    assert BYTES_PER_TOKEN == 4
    assert encoder.count_text(said("").messages) == 0
    assert encoder.count_text(said("abcd").messages) == 1 and encoder.count_text(said("abcde").messages) == 2
    assert encoder.count_text(said("喜悦").messages) == 2
    assert encoder.count_text([*said("abcde").messages, *said("a", waveform=np.zeros(9)).messages]) == 3


def test_a_prompt_over_the_budget_is_shortened_and_counted(
    fake: Fake, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start(*MODEL, f"model.url={fake.url}", "prompting.max_text_tokens=40")
    assert "prompts were over prompting.max_text_tokens=40 and lost" in capsys.readouterr().out
    texts = [part["text"] for _, _, body in fake.requests for m in body["messages"] for part in m["content"]]
    assert texts and max(map(len, texts)) <= 40 * BYTES_PER_TOKEN


def test_show_asks_nothing(fake: Fake, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*MODEL, "modalities=tav", f"model.url={fake.url}", "clip=manifest/test/16")
    with pytest.raises(ValueError, match="not enough values"):  # it makes no folder
        start(*words, program=show.main)
    shown = capsys.readouterr().out
    assert "[system]\nYou judge how people feel in short clips.\n[user]\n<video: 2 frames><audio>They say: " in shown
    rows = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in shown.splitlines() if "│" in line}
    assert set(rows) == {"transcript", "question", "system turn", "sum, without audio and video"}
    *parts, whole = map(int, rows.values())
    assert sum(parts) == whole > 20 and "tokens, estimated" in shown
    assert not fake.requests


# ---------------------------------------------------------------- run folders and tables


def test_a_run_of_it_is_evaluated_again(fake: Fake, start: Start, tmp_path: Path) -> None:
    """With its model and wording; without weights it is zero-shot, as it was."""
    fake.behaviour = lambda number, body: answer(perceived(body))
    first = start(*MODEL, f"model.url={fake.url}", "prompting.system.en=Listen.", "modalities=a")
    again = start(f"run={first}", "evaluation.split=val")
    assert len(by_id(again)) == 6 and numbers(again)["lenient"]["accuracy"] == 1.0
    assert {body["messages"][0]["content"][0]["text"] for _, _, body in fake.requests} == {"Listen."}
    assert inherit.run_config(again).run is None


def test_tables_show_what_is_served(
    fake: Fake, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.behaviour = lambda number, body: answer(perceived(body) if body["model"] == "omni-7b" else "joy")
    start(*MODEL, f"model.url={fake.url}", "seed=1")
    start(*MODEL, f"model.url={fake.url}/", "model.timeout=50", "seed=2")
    start(*MODEL, f"model.url={fake.url}", "model.served=omni-3b")
    capsys.readouterr()
    report([str(tmp_path / "outputs"), "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    # Another address is no other model: two seeds of one setting.
    assert [(row["model.name"], row["n_seeds"]) for row in rows] == [("server omni-7b", "2"), ("server omni-3b", "1")]
    assert not {"model.url", "model.timeout", "model.served"} & set(rows[0])
    report([str(tmp_path / "outputs")])
    assert f"server omni-3b, {tmp_path}" in capsys.readouterr().out

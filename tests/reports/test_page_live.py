"""The live page: who may ask for what, and that it follows its runs."""

import base64
import doctest
import gzip
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest
from clip_page import make_runs
from made_runs import remember_configurations, report

from affect.reports.gather import Request
from affect.reports.page import live, server
from affect.reports.page.live import Live
from affect.reports.page.server import PageServer
from affect.reports.settings import HEADLINE


@pytest.fixture(autouse=True)
def read_once(monkeypatch) -> None:
    remember_configurations(monkeypatch)
    monkeypatch.setattr(live, "LEAST_SECONDS", 0.0)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture
def out(configure, home) -> Path:
    return home / "out" if (home / "out").is_dir() else make_runs(configure, home)


@pytest.fixture
def serve() -> Iterator[Callable[..., PageServer]]:
    """`serve(folder, address="127.0.0.1")`: a server in a thread."""
    servers = []

    def made(folder: Path, address: str = "127.0.0.1") -> PageServer:
        servers.append(PageServer(Live(Request(folders=[folder]), [HEADLINE]), address, 0))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield made
    for each in servers:
        each.shutdown()
        each.server_close()


def ask(of: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", of.server_port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    result = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return result


def block(of: PageServer, name: str):
    status, packed, _ = ask(of, f"/block?name={quote(name)}")
    assert status == 200, packed
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_the_page_follows_its_runs(out, tmp_path, serve, open_page):
    folder = tmp_path / "sweep"
    folder.mkdir()
    served = serve(folder)
    opened = open_page(served.url)
    page = opened.page
    assert "Nothing can be shown yet" in page.inner_text("main") and "Clips" not in page.inner_text("nav")
    shutil.copytree(out / "one", folder / "one")
    page.wait_for_selector("text=1 run, 1 finished")
    assert "Clips" in page.inner_text("nav")
    # Who is in the middle of something is not interrupted.
    page.evaluate("location.hash = '#runs'")
    page.wait_for_selector(".view.runs")
    page.get_by_role("button", name="run", exact=True).focus()
    shutil.copytree(out / "two", folder / "two")
    page.get_by_role("button", name="Show new results").click()
    opened.wait("document.querySelectorAll('tbody tr').length === 2")
    page.evaluate("location.hash = '#clips'")
    page.wait_for_selector("audio, video")
    opened.wait("document.querySelector('audio, video').duration > 0")
    assert opened.complaints == []
    assert all(url.startswith(served.url) for url in opened.requests)
    page.context.set_offline(True)
    page.wait_for_selector("text=The server of this page does not answer")


def test_a_run_that_changes_makes_a_new_version_and_one_that_does_not_makes_none(out, tmp_path, serve):
    shutil.copytree(out / "one", tmp_path / "out" / "one")
    following = Live(Request(folders=[tmp_path / "out"]), [HEADLINE])
    first = following.state()
    assert following.state() == first and "run/1" in first["blocks"]
    log = tmp_path / "out" / "one" / "log" / "run.log"
    log.write_text(log.read_text() + "another line\n")
    assert following.state()["version"] != first["version"]
    served = serve(tmp_path / "out")
    ask(served, "/state")
    assert block(served, "run/1")["log"]["lines"][-1] == "another line"


def test_other_names_of_this_machine_are_refused(out, serve):
    served = serve(out)
    port = served.server_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}"):
        assert ask(served, "/", Host=host)[0] == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        "127.0.0.1",
        "",
        f"127.0.0.1:{port + 1}",
    ):
        status, said, _ = ask(served, "/state", Host=host)
        assert status == 421 and b"version" not in said, host


def test_where_others_may_connect_every_address_needs_the_token(out, serve):
    served = serve(out, "0.0.0.0")
    assert served.token is not None and served.url.endswith(f"?token={served.token}")
    for path in ("/", "/state", "/block?name=overview", "/?token=", "/?token=wrong", f"/?token={served.token}x"):
        assert ask(served, path)[0] == 403, path
    assert ask(served, f"/?token={served.token}", Host="any.example")[0] == 200
    assert ask(served, f"/state?token={served.token}")[0] == 200
    assert serve(out, "0.0.0.0").token != served.token


def test_nothing_but_the_page_its_data_and_its_clips_is_given(out, serve, open_page):
    served = serve(out)
    ask(served, "/state")
    clips = block(served, "clips")
    media = [clips["texts"][number] for number in clips["clips"]["media"] if number >= 0]
    assert len(media) > 5
    assert ask(served, f"/media/{media[0]}")[0] == 200
    secret = out.parent / "data" / "clips.jsonl"
    assert secret.is_file()
    for path in (
        *(f"/media{secret}", "/media/etc/passwd", f"/media/{media[0]}/../clips.jsonl", "/media//etc/passwd"),
        *("/../../etc/passwd", "/block?name=../../etc/passwd", "/block", "/favicon.ico", "/media/", "/%00"),
    ):
        assert ask(served, path)[0] == 404, path
    assert ask(served, "/", "POST")[0] == 501
    status, _, headers = ask(served, "/")
    assert status == 200 and headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert "Access-Control-Allow-Origin" not in headers and headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=2-5", 206, slice(2, 6)),
        ("bytes=4-", 206, slice(4, None)),
        ("bytes=0-99999999", 206, slice(0, None)),
        ("bytes=99999999-", 416, slice(0, 0)),
        ("bytes=-5", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
    ],
)
def test_players_get_parts_of_files(out, serve, asked, status, part):
    served = serve(out)
    ask(served, "/state")
    clips = block(served, "clips")
    name = next(clips["texts"][number] for number in clips["clips"]["media"] if "film" in clips["texts"][number])
    content = (out.parent / "data" / "film.mp4").read_bytes()
    found, body, headers = ask(served, f"/media/{name}", Range=asked)
    assert (found, body) == (status, content[part]) and headers["Content-Type"] == "video/mp4"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_the_address_is_printed_and_ctrl_c_ends_it(out, capsys, monkeypatch, address):
    def interrupted(self: PageServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", interrupted)
    said, _, end = report(capsys, out, "--live", "--address", address)
    assert end == "" and f"has the page of {out} until Ctrl-C" in said and said.startswith("http://")
    assert ("?token=" in said) == (address == "0.0.0.0")


def test_words_that_do_not_go_with_a_live_page_are_refused(out, capsys, tmp_path):
    for words, sentence in (
        (("--format", "csv"), "--live serves a page"),
        (("--output", str(tmp_path / "x.html")), "--live serves a page"),
        (("--address", "256.1.1.1"), "cannot be listened at"),
        (("--port", "99999"), "--port 99999"),
    ):
        assert sentence in report(capsys, out, "--live", *words)[2], words
    assert "is no folder" in report(capsys, tmp_path / "missing", "--live")[2]
    assert "--address" in report(capsys, out, "--address", "0.0.0.0")[2]


def test_the_examples_of_the_docstrings_are_true():
    result = doctest.testmod(server)
    assert result.attempted > 0 and result.failed == 0

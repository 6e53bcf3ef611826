"""The page, in a real browser."""

from functools import partial

import pytest
from made_runs import Make, make_run

from affect.cli.report import main


@pytest.fixture
def make(configure, tmp_path) -> Make:
    """`make(name, *words, …)` is made_runs.make_run in the folder `out`."""
    return partial(make_run, configure, tmp_path / "out")


def test_a_page_opens_without_a_complaint_or_a_request(make, tmp_path, open_page, capsys):
    make("one")
    main([str(tmp_path / "out"), "--format", "html"])
    page = tmp_path / "out" / "affect_report.html"
    assert f"{page} written" in capsys.readouterr().out
    opened = open_page(page)
    assert opened.complaints == []
    assert opened.requests == [page.as_uri()]

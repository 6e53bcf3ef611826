"""Published numbers in reports: each with its source, in a block of their own, and in nothing that is computed."""

import json
from functools import partial

import pytest
import yaml
from made_runs import Make, make_run, records, remember_configurations, report

from affect.config import ConfigError
from affect.config.groups import choices
from affect.config.tasks import DIALECTS, PLAIN, Kind
from affect.reports import published

BLOCK = {
    "source": "A source (arXiv 1), table 2",
    "dataset": "mosi",
    "task": "sentiment",
    "dialect": "mmsa_mosi",
    "metrics": {"has0_acc2": 100, "non0_acc2": 100, "mae": 1},
    "results": {"MulT": ["text", 79.7, 80.9, 0.88]},
}


def results(*changes: dict) -> tuple[published.Result, ...]:
    """Those of BLOCK, once with each of these changes; a key whose value is None is left out."""
    blocks = [{key: value for key, value in (BLOCK | each).items() if value is not None} for each in changes or ({},)]
    return published.read(yaml.safe_dump(blocks, sort_keys=False))


@pytest.fixture(autouse=True)
def read_once(monkeypatch) -> None:
    remember_configurations(monkeypatch)


@pytest.fixture
def make(configure, tmp_path) -> Make:
    return partial(make_run, configure, tmp_path / "out")


def test_every_shipped_result_has_a_source_and_possible_numbers_of_known_metrics():
    assert len(published.shipped()) > 50
    for result in published.shipped():
        assert result.dataset in choices("dataset") and result.method and result.numbers
        assert any(word in result.source for word in ("arXiv", "README.md", "result-stat.md"))
        for name, number in result.numbers.items():
            names = PLAIN[Kind.classification] if result.dialect is None else DIALECTS[result.dialect].metrics
            assert name in names and 0 < number < 1  # also the errors: all of them are below 1


def test_numbers_keep_the_digits_of_their_source():
    by_method = {(each.dataset, each.method): each.numbers for each in published.shipped()}
    assert str(by_method["meld", "Qwen2.5-Omni-7B"]["accuracy"]) == "0.570"
    assert str(by_method["simsv2", "mPLUG-Owl"]["non0_f1"]) == "0.7500"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": None}, "it has no source: say where the numbers are printed"),
        ({"source": " "}, "it has no source"),
        ({"dataset": "mosie"}, "dataset=mosie is not in conf/dataset, did you mean 'mosi'?"),
        ({"task": "emotion"}, "task=emotion is not one of mosi"),
        ({"dialect": "mmsa_mosy"}, "dialect=mmsa_mosy is no dialect of a task of kind intensity, did you mean"),
        ({"dialect": "meld"}, "dialect=meld is no dialect of a task of kind intensity"),
        ({"metrics": {"acc2": 100, "non0_acc2": 100, "mae": 1}}, "'acc2' is not one of the dialect 'mmsa_mosi': has0_"),
        ({"dialect": None}, "'has0_acc2' is not one of the plain metrics of kind intensity: mae, pearson, ccc"),
        ({"metrics": {"has0_acc2": 100, "mae": 1}}, "'MulT' has 3 numbers for 2 metrics: has0_acc2, mae"),
        ({"metrics": {"has0_acc2": 10, "non0_acc2": 100, "mae": 1}}, "the unit of 'has0_acc2' is 10"),
        (
            {"metrics": {"has0_acc2": 1, "non0_acc2": 100, "mae": 1}},
            "'MulT' has has0_acc2=79.7, where 1 is printed as 1",
        ),
        ({"results": {"MulT": ["text", "n/a", 80.9, 0.88]}}, "'MulT' has has0_acc2=n/a"),
        ({"clips": "many"}, "clips=many has to be a number of clips, or left out"),
        ({"year": 2019}, "may have no key but clips, dataset, dialect"),
    ],
)
def test_a_result_that_cannot_be_told_is_refused(change, sentence):
    with pytest.raises(ConfigError) as error:
        results({}, change)
    assert str(error.value).startswith("block 2 of the published numbers: ") and sentence in str(error.value)


def test_published_numbers_stand_in_a_block_and_in_no_mean(make, capsys, tmp_path, monkeypatch):
    make("a", dataset="mosi", correct=8)
    make("b", "seed=2", "modalities=ta", dataset="mosi", correct=7)
    monkeypatch.setattr(
        "affect.reports.gather.shipped",
        lambda: results(
            {},
            {"dialect": "merbench", "clips": 686, "metrics": {"non0_acc2": 100}, "results": {"AffectGPT": ["", 81.25]}},
            {"metrics": {"has0_acc2": 100}, "results": {"LMF": ["", 77.9]}},
            {"dataset": "mosei", "results": {"of MOSEI": ["", 1, 2, 3]}},
        ),
    )
    words = (tmp_path / "out", "--against", "modalities=t")
    plain = records(capsys, *words)
    own, other, *shown = records(capsys, *words, "--published")
    assert [{key: row[key] for key in plain[0]} for row in (own, other)] == plain
    assert not any(row[key] for row in shown for key in row if key.endswith(("_mean", "_sd")) or "difference" in key)
    # The number without zero is not that with zero, and one formula is one column, whatever dialect names it.
    assert [(row["published_method"], row["published_dialect"], row["published_clips"]) for row in shown] == [
        ("MulT", "mmsa_mosi", ""),
        ("AffectGPT", "merbench", "686"),
    ]
    assert [row["mmsa_mosi.non0_acc2_published"] for row in shown] == ["0.809", "0.8125"]

    out, _, end = report(capsys, *words, "--published")
    before, block = out.split("Results, mosi.sentiment, published: ")
    assert before.rstrip() == report(capsys, *words)[0].split("1 smollm2, ")[0].rstrip() and end == ""
    assert "P1 A source (arXiv 1), table 2" in block and "of MOSEI" not in block
    assert "mosi.sentiment: 1 published result only in mmsa_mosi.has0_acc2, which --metrics can show" in block
    content = json.loads(report(capsys, *words, "--published", "--format", "json")[0])
    assert [row["numbers"] for row in content["tables"][0]["published"]] == [
        {"mmsa_mosi.non0_acc2": "0.809"},
        {"mmsa_mosi.non0_acc2": "0.8125"},
    ]
    assert len(records(capsys, *words, "--published", "--metrics", "mmsa_mosi.has0_acc2")) == 4


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (("evaluation.split=val",), "published numbers are of the test split, and not shown beside others"),
        (
            (
                "datasets.mosi.task_definitions.sentiment.low=-1",
                "datasets.mosi.task_definitions.sentiment.dialects=[]",
                "datasets.mosi.task_definitions.sentiment.headline=mae",
            ),
            "published numbers are of other labels or another range, and not shown",
        ),
    ],
)
def test_a_table_of_something_else_gets_no_published_numbers(make, capsys, tmp_path, words, note):
    make("a", *words, dataset="mosi")
    out, _, end = report(capsys, tmp_path / "out", "--published")
    assert f"mosi.sentiment: {note}" in out and "MulT" not in out and end == ""
    make("demo")
    assert "demo.emotion: no published numbers are known" in report(capsys, tmp_path / "out", "--published")[0]


def test_published_text_is_escaped(make, capsys, tmp_path, monkeypatch):
    make("a", dataset="mosi")
    hostile = {
        "source": "x | [y](javascript:z) & 50% \\end{table}\r\nnext",
        "results": {"=1+1": ["a|b\n<c> & $d_e", 1, 2, 3]},
    }
    monkeypatch.setattr("affect.reports.gather.shipped", lambda: results(hostile))
    words = (tmp_path / "out", "--published", "--format")
    [_, row] = records(capsys, *words[:2])
    assert row["published_method"] == "'=1+1"
    markdown = report(capsys, *words, "markdown")[0]
    assert r"| a\|b &lt;c> &amp; $d_e |" in markdown
    assert r"<sup>P1</sup> x \| [y\](javascript:z) &amp; 50% \\end{table} next" in markdown.splitlines()
    latex = report(capsys, *words, "latex")[0]
    assert r"a\textbar{}b \textless{}c\textgreater{} \& \$d\_e & mmsa\_mosi" in latex
    assert latex.count(r"\end{table}") == latex.count(r"\begin{table}") == 2
    assert "$d_e" in report(capsys, tmp_path / "out", "--published")[0]

"""The pack for a paper: what is bold, that every number leads to its run, that it compiles, and that it can be run
again."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import fmean

import pytest
import yaml
from made_runs import change, make_run, records, remember_configurations

from affect.cli import paper
from affect.reports.charts import Chart
from affect.reports.paper import best, reproduce, sources
from affect.reports.paper.names import unique
from affect.runs.identity import configuration_sha256
from affect.runs.run_folder import kept

HOSTILE = "\\input{/etc/passwd} $x^2_3$ #1 %50 & {~} <b>=1+1</b> \u202e 中é\r\n\x1b[31m"


def no_figure(chart: Chart, path: Path) -> None:
    path.write_text(chart.title)


@pytest.fixture(autouse=True)
def quickly(monkeypatch, request) -> None:
    """Figures take most of the time, and are drawn where they are looked at."""
    remember_configurations(monkeypatch)
    if "figures" not in request.node.name:
        monkeypatch.setattr("affect.reports.paper.pack.draw", no_figure)


def pack(capsys, *words: str | Path) -> tuple[str, str]:
    """What `affect paper` prints, and what it says at its end ("" where it ended well)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["affect paper", *map(str, words)])
        try:
            paper.main()
            end = ""
        except SystemExit as stop:
            end = str(stop.code)
    return capsys.readouterr().out, end


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def words_of_job(folder: Path, *words: str) -> None:
    """Notes that a run was a job of a multirun with these words."""
    (folder / "job.json").write_text(json.dumps({"number": 0, "words": list(words), "attempts": []}))


SETTINGS = {"t": 14, "a": 13, "v": 4}
"""By modality how many of 20 clips are right, more or less: the second is not shown to be worse than the first."""


@pytest.fixture(scope="module")
def runs(configure, tmp_path_factory) -> Path:
    """Three settings with three seeds each, and a zero-shot evaluation."""
    out = tmp_path_factory.mktemp("paper") / "out"
    for modality, correct in SETTINGS.items():
        for seed in (1, 2, 3):
            words = ("experiment=demo", f"modalities={modality}", f"seed={seed}")
            # Which ones are right differs between seeds and settings, and so do the groups.
            right = [(7 * i + 3 * seed + ord(modality)) % 20 for i in range(correct - seed % 2)]
            folder = make_run(configure, out, f"{modality} {seed}", *words, correct=right, num=20, groups=10)
            words_of_job(folder, *words)
    return out


@pytest.fixture(scope="module")
def packed(runs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "pack"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["affect paper", str(runs), "--folder", str(folder), "--metrics", "accuracy,uar"])
        paper.main()
    return folder


# ---------------------------------------------------------------- what is bold


def test_bold_is_the_best_and_what_is_not_significantly_worse(runs, packed, capsys):
    rows = records(capsys, runs, "--metrics", "accuracy", "--against", "modalities=t")
    p = {row["modalities"]: float(row["difference_holm"]) for row in rows if row["difference_holm"]}
    means = {row["modalities"]: float(row["accuracy_mean"]) for row in rows}
    assert max(means, key=lambda key: means[key]) == "t" and p["a"] > 0.05 > p["v"], "the runs do not test anything"
    in_latex = (packed / "tables" / "demo.emotion.tex").read_text()
    in_markdown = (packed / "tables" / "demo.emotion.md").read_text()
    for modality, mean in means.items():
        bold = modality == "t" or p[modality] > 0.05
        assert (rf"\textbf{{{mean:.4f}" in in_latex) == bold
        assert (f"**{mean:.4f}" in in_markdown) == bold
    assert best.TESTED in in_markdown and best.PARTLY not in in_markdown
    assert in_latex.count("Bold: the best mean, and what is not shown to be worse") == 1


def test_with_a_single_seed_the_best_mean_alone_is_bold_and_it_says_so(runs, tmp_path, capsys):
    words = ("--where", "seed=2", "--metrics", "accuracy")
    out, end = pack(capsys, runs, "--folder", tmp_path / "pack", *words)
    assert end == "" and "written" in out
    text = (tmp_path / "pack" / "tables" / "demo.emotion.md").read_text()
    assert text.count("**0.") == 1 and "**0.7000**" in text and best.UNTESTED in text
    readme = (tmp_path / "pack" / "README.md").read_text().replace("\\", "")
    assert "a single seed, which does not tell how much others would differ" in readme


def test_untrained_models_are_compared_by_one_run_each(configure, tmp_path, capsys):
    make = partial(make_run, configure, tmp_path / "out", num=20, groups=10, evaluate=True)
    make("a", "prompting.system.en=a", correct=range(0, 14))
    make("b", "prompting.system.en=b", correct=range(1, 14))
    make("c", "prompting.system.en=c", correct=2)
    _, end = pack(capsys, tmp_path / "out", "--folder", tmp_path / "pack", "--metrics", "accuracy")
    rows = records(capsys, tmp_path / "out", "--metrics", "accuracy", "--against", "prompting.system.en=a")
    p = {row["prompting.system.en"]: row["difference_holm"] for row in rows if row["difference"]}
    text = (tmp_path / "pack" / "tables" / "demo.emotion.md").read_text()
    assert end == "" and float(p["c"]) < 0.05 and "**0.7000**" in text and "**0.1000**" not in text
    # One clip of one group tells the two apart, which carries no interval.
    assert p["b"] == "" and "**0.6500**" not in text and best.PARTLY in text


def test_rows_of_other_clips_are_never_bold(configure, runs, tmp_path, capsys):
    shutil.copytree(runs, tmp_path / "out")
    make_run(configure, tmp_path / "out", "other", "prompting.system.en=x", correct=9, num=9)
    pack(capsys, tmp_path / "out", "--folder", tmp_path / "pack", "--metrics", "accuracy")
    text = (tmp_path / "pack" / "tables" / "demo.emotion.md").read_text()
    assert "**0.6667 ± 0.0289**" in text and " 1.0000 " in text and "**1.0000" not in text


# ---------------------------------------------------------------- numbers, datasets, ledger


def test_every_number_of_the_tables_leads_to_its_runs(runs, packed):
    [*rows] = table(packed / "tables" / "demo.emotion.csv")
    numbers = table(packed / "numbers.csv")
    assert len(rows) == 3
    for line, row in enumerate(rows, 1):
        for metric in ("accuracy", "uar"):
            own = [n for n in numbers if (n["task"], n["row"], n["metric"]) == ("demo.emotion", str(line), metric)]
            assert {n["run"] for n in own} == set(row["folders"].split(";")) and len(own) == 3
            assert fmean(float(n["value"]) for n in own) == pytest.approx(float(row[f"{metric}_mean"]), abs=1e-12)
            for n in own:
                stored = json.loads((Path(n["run"]) / "metrics.json").read_text())["tasks"]["demo.emotion"]
                assert float(n["value"]) == stored["lenient"][metric]
                assert n["signature"] == stored["signatures"]["lenient"][metric]
                assert (n["expected"], n["used"], n["scored"]) == ("21", "20", "20")


def test_datasets_and_openings_are_those_of_the_run_folders(configure, tmp_path, capsys):
    for seed in (1, 2):
        make_run(configure, tmp_path / "out", str(seed), f"seed={seed}", dataset="meld")
    _, end = pack(capsys, tmp_path / "out", "--folder", tmp_path / "pack")
    assert end == ""
    [train, val, test] = table(tmp_path / "pack" / "tables" / "datasets.csv")
    assert [row["published"] for row in (train, val, test)] == ["9,989", "1,109", "2,610"]
    assert {key: test[key] for key in ("found", "outside subset", "excluded", "used")} == {
        "found": "11",
        "outside subset": "1",
        "excluded": "0",
        "used": "10",
    }
    [opening] = table(tmp_path / "pack" / "tables" / "openings.csv")
    assert (opening["dataset"], opening["clips"], opening["evaluations"]) == ("meld", "10", "2")
    methods = (tmp_path / "pack" / "methods.md").read_text()
    assert "transcript en They say" in methods and " zh " not in methods
    assert "GPL-3.0" in methods and "seeds 1 / 2, on meld" in methods
    assert "rank 16" in methods and "learning rate 0.0005" in methods and "batch size" in methods


def test_published_counts_of_splits_that_are_not_published_alone_are_not_shown():
    assert sources.published({"reader": "meld", "options": {}}, "test") == "2,610"
    assert sources.published({"reader": "of another version", "options": {}}, "test") == "-"
    assert sources.published({"reader": "meld", "options": {"of_another_version": 1}}, "test") == "-"


def test_numbers_are_compared_with_those_of_another_pack(runs, packed, tmp_path, capsys):
    words = (runs, "--metrics", "accuracy", "--expect")
    out, end = pack(capsys, *words, packed / "numbers.csv", "--folder", tmp_path / "same")
    total = len(table(packed / "numbers.csv"))
    assert f"{total} of {total} numbers are those of" in out and end == ""
    lines = (packed / "numbers.csv").read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("t_1,") and ",accuracy," in line)
    cells = lines[place].split(",")
    cells[7] = "0.123"
    (tmp_path / "other.csv").write_text(
        "\n".join([*lines[:place], ",".join(cells), *lines[place + 1 :], "gone" + lines[1][3:]])
    )
    out, end = pack(capsys, *words, tmp_path / "other.csv", "--folder", tmp_path / "differs")
    assert f"{total - 1} of {total + 1} numbers" in out
    assert "accuracy of demo.emotion, t_1: is 0.650000, and was 0.123000" in end and "gone: is not there" in end
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    _, end = pack(capsys, *words, tmp_path / "wrong.csv", "--folder", tmp_path / "third")
    assert "wrong.csv is no numbers.csv of a pack" in end


# ---------------------------------------------------------------- LaTeX


def engine() -> list[str]:
    for name, *words in (("pdflatex", "-interaction=nonstopmode", "-halt-on-error"), ("tectonic",)):
        if shutil.which(name):
            return [name, *words]
    pytest.skip("no LaTeX here: install pdflatex (texlive-latex-recommended) or tectonic")


def with_hostile_names(folder: Path) -> None:
    """Gives the dataset, the labels and the model of a run names as they should not be."""
    texts = {"demo": f"demo{HOSTILE}", "joy": f"joy{HOSTILE}", "smollm2": f"model{HOSTILE}"}

    def renamed(value):
        if isinstance(value, dict):
            return {renamed(key): renamed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [renamed(each) for each in value]
        if isinstance(value, str) and not value.startswith("/"):
            return re.sub("|".join(texts), lambda match: texts[match[0]], value)
        return value

    config = config_of(folder)
    for group in ("model", "datasets"):
        config[group] = renamed(config[group])
    next(iter(config["datasets"].values()))["reader"] = "demo"
    (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    (folder / "config.json").unlink()
    for name in ("metrics.json", "data.json"):
        change(folder / name, renamed)
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    (folder / "predictions.jsonl").write_text("".join(json.dumps(renamed(json.loads(line))) + "\n" for line in lines))


def test_latex_with_figures_compiles_with_hostile_names(configure, tmp_path, capsys):
    command = engine()
    for modality in ("t", "a"):
        with_hostile_names(make_run(configure, tmp_path / "out", modality, f"modalities={modality}", num=20, groups=10))
    _, end = pack(capsys, tmp_path / "out", "--folder", tmp_path / "pack", "--against", "modalities=t")
    assert end == ""
    done = subprocess.run([*command, "pack.tex"], cwd=tmp_path / "pack", capture_output=True, timeout=240, check=False)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert (tmp_path / "pack" / "pack.pdf").stat().st_size > 20_000
    texts = {path.name: path.read_text() for path in (tmp_path / "pack").rglob("*.*") if path.suffix in (".tex", ".md")}
    assert len(texts) > 8
    for name, text in texts.items():
        assert not {"\x1b", "\u202e"} & set(text), name
    assert all(r"\input{/etc" not in text for name, text in texts.items() if name.endswith(".tex"))
    rows = table(tmp_path / "pack" / "tables" / "datasets.csv")
    assert all(not cell.startswith(("=", "@", "+")) for row in rows for cell in row.values())
    figures = list((tmp_path / "pack" / "figures").iterdir())
    assert {path.suffix for path in figures} == {".pdf", ".png"} and len(figures) == 4


# ---------------------------------------------------------------- the script


def run_script(script: Path, tmp_path: Path) -> list[list[str]]:
    """The calls of Python that a reproduce.sh makes, without what they do."""
    stub = tmp_path / "python"
    stub.write_text(
        f'#!{sys.executable}\nimport json, sys\nopen("{tmp_path}/calls", "a").write(json.dumps(sys.argv[1:]) + "\\n")\n'
    )
    stub.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(stub), "OUT": str(tmp_path / "again")}
    done = subprocess.run(
        ["bash", str(script)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def test_the_script_runs_every_run_again_with_its_configuration(configure, runs, packed, tmp_path, monkeypatch):
    hash_of_code, *calls, last = run_script(packed / "reproduce.sh", tmp_path)
    assert hash_of_code[0] == "-c" and len(calls) == 9
    assert last[:3] == ["-m", "affect", "paper"] and last[-1] == str(packed / "numbers.csv")
    names = set()
    for call in calls:
        assert call[:4] == ["-m", "affect", "train", "-m"]
        words = [word for word in call[4:] if not word.startswith(("hydra.", "output_root="))]
        [name] = [word.partition("=")[2].strip("'") for word in call if word.startswith("hydra.sweep.subdir=")]
        names.add(name)
        again = configuration_sha256(kept(configure(*words)))
        stated = json.loads((runs / name.replace("_", " ") / "environment.json").read_text())["configuration_sha256"]
        assert again == stated
    assert names == {row["name"] for row in table(packed / "numbers.csv")}


def test_words_are_quoted_places_absolute_and_trainings_come_before_their_evaluations(configure, tmp_path, capsys):
    system = 'it\'s $HOME `id` "x" \\ ; rm -rf ~'
    quoted = "prompting.system.en='" + system.replace("'", "\\'") + "'"
    training = make_run(configure, tmp_path / "elsewhere", "training", quoted, "seed=7")
    words_of_job(training, quoted, "seed=7", "sweep=seeds", "launcher=null", "output_root=x", "hydra.sweep.dir=y")
    words = (f"run={training}", "evaluation.split=test")
    evaluation = make_run(configure, tmp_path / "out", "evaluation", f"run={training}", quoted, "seed=7", evaluate=True)
    words_of_job(evaluation, *words, f"data_root={tmp_path}/it's here")
    change_config(evaluation, data_root=f"{tmp_path}/it's here")
    _, end = pack(capsys, tmp_path / "out", "--folder", tmp_path / "pack")
    assert end == ""
    _, first, second, _ = run_script(tmp_path / "pack" / "reproduce.sh", tmp_path)
    assert first[2] == "train" and second[2] == "evaluate"
    assert quoted in first and not [word for word in first if word.startswith(("sweep=", "launcher="))]
    assert [word for word in first if word.startswith("output_root=")] == [f"output_root='{tmp_path}/again'"]
    assert f"run='{tmp_path}/again/training'" in second
    assert f"data_root='{tmp_path}/it\\'s here'" in second and f"data_root={config_of(training)['data_root']}" in first


def config_of(folder: Path) -> dict:
    return yaml.safe_load((folder / "config.yaml").read_text())


def change_config(folder: Path, **values: str | int) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(config_of(folder) | values, allow_unicode=True))


def test_what_cannot_be_run_again_is_said(configure, tmp_path, capsys):
    make = partial(make_run, configure, tmp_path / "out")
    old = {"versions": {"torch": "1.0"}}
    change(make("no_command") / "environment.json", lambda content: content | old | {"command": None})
    lost = make("lost", f"run={tmp_path}/deleted", evaluate=True)
    words_of_job(lost, f"run={tmp_path}/deleted")
    half = make("half", evaluate=True)
    words_of_job(half, "run=training")
    change(half / "environment.json", lambda content: content | old)
    training = shutil.copytree(tmp_path / "out" / "no_command", tmp_path / "training")
    (training / "environment.json").unlink()
    change_config(training, seed=5)
    change_config(half, run=str(training))
    other = make("other_code", "modalities=v")
    words_of_job(other, "modalities=v")
    change(
        other / "environment.json",
        lambda content: content | old | {"dirty": True, "commit": "c" * 40, "program": "train; rm -rf $HOME"},
    )
    _, end = pack(capsys, tmp_path / "out", "--folder", tmp_path / "pack")
    assert end == ""
    script = (tmp_path / "pack" / "reproduce.sh").read_text()
    readme = (tmp_path / "pack" / "README.md").read_text().replace("\\", "")
    for text in (script, readme):
        assert "no_command cannot be run again: its command is not known" in text
        assert "/deleted, its model, is not there" in text
        assert "half cannot be run again: neither can" in text
        assert "made with changes of the code that are in no commit, so that it does not tell all: other_code" in text
    assert script.count("\nagain ") == 1 and "c" * 40 in script and " 'train; rm -rf $HOME' \\\n" in script
    assert "torch==1.0\n" in (tmp_path / "pack" / "constraints.txt").read_text()


def test_names_are_safe_and_unique():
    assert unique(["a b", "a/b", "; rm", "..", "-x"]) == ["a_b", "a_b_2", "rm", "unnamed", "x"]
    assert len(set(unique(["x"] * 5))) == 5


# ---------------------------------------------------------------- bad input


def test_nothing_is_written_over_or_half(runs, packed, tmp_path, capsys, monkeypatch):
    before = (packed / "README.md").read_text()
    _, end = pack(capsys, runs, "--folder", packed)
    assert "exists, and a pack is written into a new folder: name another with --folder" in end
    assert (packed / "README.md").read_text() == before
    (tmp_path / "file").write_text("")
    _, end = pack(capsys, runs, "--folder", tmp_path / "file" / "pack")
    assert "cannot be written" in end and "name a folder that can with --folder" in end

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("affect.reports.paper.pack.draw", full)
    _, end = pack(capsys, runs, "--folder", tmp_path / "pack")
    assert "No space left on device" in end and sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_folders_without_runs_are_refused(runs, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    _, end = pack(capsys, tmp_path / "empty", "--folder", tmp_path / "pack")
    assert "is not a run folder" in end
    folder = shutil.copytree(runs / "t 1", tmp_path / "out" / "a")
    change(folder / "status.json", lambda status: status | {"state": "failed", "error": "E", "where": "x.py:1"})
    _, end = pack(capsys, tmp_path / "out", "--folder", tmp_path / "pack")
    assert "no run has numbers for a table" in end and "1 has no numbers: failed" in end
    assert not (tmp_path / "pack").exists()


def test_damaged_runs_are_listed_beside_the_others(runs, tmp_path, capsys):
    shutil.copytree(runs, tmp_path / "out")
    (tmp_path / "out" / "v 1" / "metrics.json").write_text("{")
    (tmp_path / "out" / "a 2" / "predictions.jsonl").unlink()
    _, end = pack(capsys, tmp_path / "out", "--folder", tmp_path / "pack", "--metrics", "accuracy")
    assert "1 of 9 run folders could not be read" in end and "a 2/predictions.jsonl cannot be read" in end
    text = (tmp_path / "pack" / "README.md").read_text().replace("\\", "")
    assert "not in the table: " in text and "v 1/metrics.json" in text
    assert "is not known (damaged predictions), so that it is not bold" in text
    assert best.UNTESTED in (tmp_path / "pack" / "methods.md").read_text()  # of three rows v has two seeds left
    assert "**0.6667 ± 0.0289**" in (tmp_path / "pack" / "tables" / "demo.emotion.md").read_text()


def test_runs_of_an_older_version_have_numbers_without_signatures(runs, tmp_path, capsys):
    folder = shutil.copytree(runs / "t 1", tmp_path / "out" / "old")
    (folder / "job.json").unlink()

    def older(metrics: dict) -> dict:
        for numbers in metrics["tasks"].values():
            del numbers["signatures"]
        return metrics

    change(folder / "metrics.json", older)
    change(folder / "environment.json", lambda content: {key: content[key] for key in ("program", "resumed")})
    counted = ("dataset", "split", "ids_sha256")
    change(
        folder / "data.json",
        lambda content: content | {"parts": [{key: part[key] for key in counted} for part in content["parts"]]},
    )
    _, end = pack(capsys, tmp_path / "out", "--folder", tmp_path / "pack")
    rows = table(tmp_path / "pack" / "numbers.csv")
    assert end == "" and rows and all(row["signature"] == "" for row in rows)
    assert "its command is not known" in (tmp_path / "pack" / "reproduce.sh").read_text()
    assert {row["used"] for row in table(tmp_path / "pack" / "tables" / "datasets.csv")} == {"-"}


def test_half_a_pair_of_surrogates_ends_nothing(runs, tmp_path, capsys):
    folder = shutil.copytree(runs / "t 1", tmp_path / "out" / "a")
    change(folder / "environment.json", lambda content: content | {"platform": "\ud800"})
    _, end = pack(capsys, tmp_path / "out", "--folder", tmp_path / "pack")
    assert end == "" and (tmp_path / "pack" / "methods.md").is_file()


def test_words_of_a_command_that_is_no_command_line_are_not_known(tmp_path):
    (tmp_path / "environment.json").write_text(json.dumps({"command": ["train.py", "seed=1", "-m"]}))
    assert reproduce.words_of(tmp_path) is None
    (tmp_path / "environment.json").write_text(json.dumps({"command": ["train.py", "seed=1", "~sweep"]}))
    assert reproduce.words_of(tmp_path) == ["seed=1", "~sweep"]

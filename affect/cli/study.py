"""Runs a study: its multiruns one after another, then its tables, figures and a summary, in one folder.

    affect study                                   lists the studies, files of conf/study
    affect study NAME                              runs one on the demo corpus
    affect study NAME dataset=meld,mosi seed=1,2   with these words in every job, of which several values are points
    affect study NAME dry_run=true                 says what would be run, and how many jobs

A word replaces the study's own with the same key; ~KEY leaves the study's word out; experiment=NAME is put below the
study's experiments. datasets.NAME.… is for that dataset alone. With several datasets, dataset=a,b, each has multiruns
of its own. study.KEY=VALUE changes the study itself, study.against=[modalities=t], and ~study.multiruns.NAME leaves a
multirun out.

Given again with hydra.sweep.dir=FOLDER, or by affect sweep resume FOLDER, what is finished there is kept.
"""

import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from affect.cli import multiruns
from affect.cli.study_plan import Plan, Step, planned
from affect.config import ConfigError, studies
from affect.config.hydra_errors import REFUSALS, refusal
from affect.runs import interrupts, sweep_file
from affect.runs.jobs import jobs
from affect.runs.run_environment import start_note

PROGRAM = "study"
"""Of sweep.json, in place of that of a multirun."""


def main(resumed: bool = False) -> None:
    """Runs `affect study …`. `resumed` is how `affect sweep resume` calls it, which gives the words of the first start
    and then others."""
    given = sys.argv[1:]
    with interrupts.taken():
        try:
            if not given or {"-h", "--help"} & set(given):
                print(f"{__doc__}\nStudies:\n{_listed()}")
            else:
                _run(given[0], given[1:])
        except REFUSALS as error:
            sys.exit(refusal(error, given))
        except KeyboardInterrupt:
            sys.exit("Stopped; the same command with hydra.sweep.dir=FOLDER goes on.")


def _listed() -> str:
    columns = shutil.get_terminal_size().columns
    lines = (f"  {name:<20}{studies.read(name).about}" for name in studies.names())
    return "\n".join(textwrap.fill(line, columns, subsequent_indent=" " * 22) for line in lines)


def _run(name: str, words: Sequence[str]) -> None:
    of_study = [word for word in words if word.startswith(("study.", "~study."))]
    study = studies.read(name, [word.replace("study.", "", 1) for word in of_study])
    stamp = os.environ.setdefault("AFFECT_STAMP", f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}")
    plan = planned(study, [word for word in words if word not in of_study], f"{name}_{stamp}")
    for sentence in plan.said:
        print(sentence)
    if plan.dry_run:
        for step in plan.steps:
            print(f"{step.name}: {step.num_jobs:,} jobs: {step.program} -m {' '.join(step.words)}")
        print(
            f"{sum(step.num_jobs for step in plan.steps):,} jobs in all. The configuration is sound; nothing was run."
        )
        return
    _check_folder(name, plan.folder)
    start = start_note([name, *words]) | {"multiruns": {step.name: step.num_jobs for step in plan.steps}}
    sweep_file.begin(plan.folder, PROGRAM, start, [])
    print(f"{sum(step.num_jobs for step in plan.steps):,} jobs in {plan.folder}", flush=True)
    problems = [f"{step.name}: {problem}" for step in plan.steps if (problem := _done(step, plan))]
    problems += _report(name, plan, f"affect study {shlex.join([name, *words])}", problems)
    if problems:
        sys.exit("\n".join(problems))


def _check_folder(name: str, folder: Path) -> None:
    """Raises ConfigError where a folder is another study's."""
    content = sweep_file.read(folder)
    if content is not None and content["program"] == PROGRAM and content["words"][0] != name:
        raise ConfigError(
            f"{folder} is the folder of the study {content['words'][0]}, and this is {name}: choose another one"
            " (hydra.sweep.dir)"
        )


def _done(step: Step, plan: Plan) -> str | None:
    """Runs a step; what it says where a job did not finish."""
    print(f"\n{step.name}", flush=True)
    if step.evaluates is None:
        return multiruns.run(step.program, step.words, plan.folder / step.name)
    return multiruns.evaluate(plan.folder / step.evaluates, step.words, plan.folder / step.name)


def _report(name: str, plan: Plan, command: str, problems: Sequence[str]) -> list[str]:
    """Writes and prints tables, figures and summary; a sentence for everything that is refused or damaged."""
    from affect.data.progress import terminal
    from affect.reports.console import print_report
    from affect.reports.studies.findings import print_finding
    from affect.reports.studies.finish import finish

    missing = list(problems) + [
        f"{step.name}: #{job.number} {' '.join(job.words)}: {job.state}{f' ({job.error})' if job.error else ''}"
        for step in plan.steps
        for job in jobs(plan.folder / step.name)
        if job.state != "finished"
    ]
    try:
        finished = finish(name, plan.study, plan.folder, command, missing)
    except ConfigError as error:
        return [str(error)]
    out = terminal()
    print_report(finished.report, out)
    for finding in (each for each in finished.findings if each.lines or each.notes):
        print()
        print_finding(finding, out)
    print()
    for path in finished.written:
        print(f"{path} written")
    return finished.refused

"""A multirun: its points, all of them checked before the first job begins, and the table of what became of its jobs.

The table is made from what is on disk, so it is right whatever process ran a job, and can be made again after a kill:

    python -m affect.sweeps outputs/sweeps/…

    jobs.csv, jobs.json   one row a job, rewritten whenever one begins or ends
    <number>_…/job.json   the number and the words of the job whose run folder this is
"""

import contextlib
import csv
import gc
import io
import json
import os
import random
import re
import shlex
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from affect import refusals
from affect.atomic import write_atomic, write_json
from affect.config import ConfigError, register
from affect.lifetime import state
from affect.record import DataError
from affect.refusals import REFUSALS, explain, refusal

T = TypeVar("T")

# ---------------------------------------------------------------- points


def is_multirun(given: Sequence[str]) -> bool:
    """Whether Hydra takes the words of this command line for several runs."""
    arguments = get_args_parser().parse_args(list(given))
    return arguments.multirun or "hydra.mode=MULTIRUN" in arguments.overrides


class Composer:
    """Composes the configurations of one command line's jobs as Hydra does when their turn comes, but a thirty-fold
    quicker: files are put together once for every choice of them, and the other words are put into a copy by the
    function with which Hydra ends its own composing."""

    def __init__(self, given: Sequence[str]) -> None:
        """`given` are the words of a command line, with or without -m. Raises what Hydra raises for words that no job
        could have."""
        register()
        version.setbase("1.3")
        setup_globals()
        arguments = get_args_parser().parse_args(list(given))
        path = create_config_search_path(str(refusals.CONF))
        if arguments.config_dir is not None:
            path.prepend(
                "command-line", f"file://{Path(arguments.config_dir).resolve()}", SearchPathQuery(provider="schema")
            )
        self.loader = ConfigLoaderImpl(path)
        self.name = arguments.config_name or "config"
        self.given = list(given)
        # Also Hydra's own composition of a multirun; in it, words with several values are left out.
        with _empty_choice_named():
            self.whole = self.loader.load_configuration(self.name, list(arguments.overrides), RunMode.MULTIRUN)
        # Not resolved: a word may hold ${…}.
        self.words: list[str] = OmegaConf.to_container(self.whole.hydra.overrides.task)
        self.hydra_words: list[str] = OmegaConf.to_container(self.whole.hydra.overrides.hydra)
        self._parsed: dict[str, tuple[Override, bool]] = {}
        self._composed: dict[tuple[str, ...], DictConfig | Exception] = {}

    @property
    def enumerable(self) -> bool:
        """Whether the points are known beforehand: those of Hydra's own sweeper are, those of an optimiser are not."""
        return self.whole.hydra.sweeper._target_.endswith(f".{BasicSweeper.__name__}")

    def overrides(self) -> dict[str, Override]:
        """What every key is given, with several values or with one; the command line wins over hydra.sweeper.params.

        Raises ConfigError for a word that has no value at all, OverrideParseException for one that cannot be read.
        """
        params = OmegaConf.to_container(self.whole.hydra.sweeper, resolve=True).get("params") or {}
        words = [*(f"{key}={values}" for key, values in params.items()), *self.words]
        with _empty_choice_named():
            parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(words)
        return {override.get_key_element(): override for override in parsed}

    def points(self) -> list[list[str]]:
        """The jobs, each as the list of its words, in Hydra's order. Raises ConfigError where a word has no values, or
        a range of them that cannot be counted."""
        assert self.enumerable, "a sweeper that chooses its points as it goes"
        overrides = self.overrides()
        # Hydra expands the same words a second time, and shuffle(…) has to give it the same order then.
        dice = random.getstate()
        try:
            for override in overrides.values():
                if override.is_interval_sweep():
                    raise ConfigError(
                        f"{override.input_line} is a range without end of values: a multirun takes single ones,"
                        f" {override.get_key_element()}=0.1,0.2; for ranges write a sweep of Weights & Biases,"
                        " python -m affect.sweep_yaml"
                    )
                if override.is_sweep_override():
                    values_of(override)
            random.setstate(dice)
            return BasicSweeper.split_arguments(list(overrides.values()), None)[0]
        finally:
            random.setstate(dice)

    def compose(self, point: Sequence[str]) -> DictConfig:
        """The configuration of one job, before it is typed and checked. Raises what Hydra raises."""
        parsed = [self._parse(word) for word in point]
        chosen = tuple(word for word, (_, chooses) in zip(point, parsed, strict=True) if chooses)
        if chosen not in self._composed:
            try:
                raw = self.loader.load_configuration(self.name, [*self.hydra_words, *chosen], RunMode.RUN)
                with open_dict(raw):
                    del raw["hydra"]
                self._composed[chosen] = raw
            except Exception as error:
                # Of a thousand points with the same unknown file each is told so, and it is looked for once.
                self._composed[chosen] = error
        composed = self._composed[chosen]
        if isinstance(composed, Exception):
            raise composed
        raw = composed.copy()
        ConfigLoaderImpl._apply_overrides_to_config([override for override, chooses in parsed if not chooses], raw)
        return raw

    def _parse(self, word: str) -> tuple[Override, bool]:
        """The word, and whether it chooses files (Hydra's own rule) and is not merely the value of a key."""
        if word not in self._parsed:
            [override] = OverridesParser.create().parse_overrides([word])
            is_group = self.loader.repository.group_exists(override.key_or_group)
            chooses = (is_group or override.package is not None) and not isinstance(override.value(), dict)
            self._parsed[word] = (override, chooses or override.is_hydra_override())
        return self._parsed[word]


def points(words: Sequence[str]) -> list[list[str]]:
    """The jobs of a multirun of these words of a command line, each as the list of its own words: Hydra's expansion of
    a,b, choice(), range() and glob(), of hydra.sweeper.params in a sweep= file too.

    Raises ConfigError where a word has no values, and what Hydra raises for words that no job could have.
    """
    return Composer(words).points()


def values_of(override: Override) -> list[Any]:
    """The values of a word that can be counted, as Hydra's grammar has them. Raises ConfigError where there are
    none."""
    assert override.input_line is not None
    try:
        values = list(override.sweep_iterator())
    except ValueError as error:  # range(1,9,0)
        raise ConfigError(f"{override.input_line} cannot be counted ({error}): correct its step") from error
    if not values:
        raise ConfigError(no_values(override.input_line))
    return values


@contextlib.contextmanager
def _empty_choice_named() -> Iterator[None]:
    """Hydra cannot read a choice() of nothing, and says so as it does of brackets that are not closed."""
    try:
        yield
    except OverrideParseException as error:
        if "empty choice" not in str(error):
            raise
        raise ConfigError(no_values(error.override)) from error


def no_values(word: str) -> str:
    key = word.split("=", 1)[0]
    return f"{word} has no values, so there is nothing to run: name at least one, {key}=choice(…)"


def distinct(all_points: Sequence[Sequence[str]]) -> list[list[str]]:
    """Of every point the words that not all of them have: what it is told from the others by."""
    common = set.intersection(*map(set, all_points)) if len(all_points) > 1 else set()
    return [[word for word in point if word not in common] for point in all_points]


NAMED = 5
"""Points a sentence names with their words; more are named by their numbers."""


def check(all_points: Sequence[list[str]], sound: Callable[[list[str]], T], given: Sequence[str]) -> list[T]:
    """What `sound` gives for every point. Raises one ConfigError with every reason it refuses points for, each with the
    points; a reason that holds for all of them is none of theirs, and is said without."""
    found: list[T] = []
    reasons: dict[str, list[int]] = {}
    for number, point in enumerate(all_points):
        try:
            found.append(sound(point))
        except (*REFUSALS, ValueError) as error:  # ValueError is a word Hydra refuses
            text = str(error) if isinstance(error, (ConfigError, DataError)) else explain(error, given)
            for line in text.splitlines():
                reasons.setdefault(line, []).append(number)
    if reasons:
        own_words = distinct(all_points)
        lines = [_named(numbers, own_words) + line for line, numbers in reasons.items()]
        if any(len(numbers) < len(all_points) for numbers in reasons.values()):
            lines.append(f"none of the {len(all_points)} points was run: correct these, or leave them out")
        raise ConfigError("\n".join(lines))
    return found


def _named(numbers: Sequence[int], own_words: Sequence[Sequence[str]]) -> str:
    if len(numbers) == len(own_words):
        return ""
    shown = [" ".join([f"#{number}", *own_words[number]]) for number in numbers[:NAMED]]
    return f"{', '.join([*shown, *(f'#{number}' for number in numbers[NAMED:])])}: "


# ---------------------------------------------------------------- jobs


@dataclass(slots=True)
class Sweep:
    """A multirun that is under way."""

    folder: Path
    points: list[list[str]]
    """Empty where a sweeper chooses them as it goes."""


class JobFailed(Exception):
    """What the launcher is given instead of a job's own exception: it keeps it until the last job has ended, and that
    one would keep the model and everything else its stack trace can reach."""


def launch(sweep: Sweep, start: Callable[[], None]) -> None:
    """Runs the jobs by `start`, Hydra's main; prints and writes their table whether it returns or not.

    Raises SystemExit where a job did not finish, and where the user stopped them.
    """
    stopped = False
    try:
        with _checked_once(), contextlib.suppress(JobFailed):  # which has been said when it happened
            start()
    except KeyboardInterrupt:
        stopped = True
    finally:
        made = jobs(sweep.folder, sweep.points)
        if any(job.state != "not begun" for job in made):
            print_table(made, sweep.folder)
            write_table(made, sweep.folder)
    if stopped:
        print("Stopped; the jobs that were not begun are in the table.", file=sys.stderr)
        sys.exit(130)  # 128 + SIGINT: what a shell expects of a program that Ctrl-C ended
    unfinished = [f"#{job.number}" for job in made if job.state not in ("finished", "not begun")]
    if unfinished:
        sys.exit(f"Not finished, for the reason above: {', '.join(unfinished)}")


@contextlib.contextmanager
def _checked_once() -> Iterator[None]:
    """Keeps Hydra's own sweeper from composing every point before the first job, a third of a second each: `check` has
    done that, and more."""
    theirs = BasicSweeper.validate_batch_is_legal
    BasicSweeper.validate_batch_is_legal = lambda *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        BasicSweeper.validate_batch_is_legal = theirs  # type: ignore[method-assign]


def run_job(
    sweep: Sweep, folder: Path, number: int, words: list[str], do: Callable[[], None], given: Sequence[str]
) -> None:
    """Runs one job in its run folder, so that the table and status.json are true whatever becomes of it.

    `do` may raise anything. What it could not do is printed, and raised as JobFailed; what is no Exception (Ctrl-C)
    is handed on, and ends the multirun.
    """
    process = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "pid": os.getpid()}
    write_json(folder / "job.json", {"number": number, "words": words, **process, "host": socket.gethostname()})
    (folder / "status.json").unlink(missing_ok=True)  # of an earlier multirun into the same folder
    write_table(jobs(sweep.folder, sweep.points), sweep.folder)
    failed = False
    try:
        do()
        _end(folder, {"state": "finished", **process})
    except (Exception, SystemExit) as error:
        failed = True
        refused = isinstance(error, REFUSALS)
        # Said here, since the launcher hands on only the first of all failures, and only at the end.
        said = refusal(error, given) if refused else "".join(traceback.format_exception(error))
        print(f"#{number}: {said}", file=sys.stderr, flush=True)
        _end(folder, {"state": "failed", **process, "error": f"{type(error).__name__}: {error}"})
    except BaseException:
        _end(folder, {"state": "stopped", **process})
        raise
    finally:
        _free_memory()
        write_table(jobs(sweep.folder, sweep.points), sweep.folder)
    # Out here, where the job's exception is gone: raised while that is handled, this one would refer to it.
    if failed:
        raise JobFailed(f"#{number}: {' '.join(words)}")


def _end(folder: Path, status: dict[str, Any]) -> None:
    """Writes status.json where the program has not done so itself: it ended before it had begun its run."""
    if not (folder / "status.json").is_file():
        write_json(folder / "status.json", status | {"ended": datetime.now(UTC).isoformat(timespec="seconds")})


def _free_memory() -> None:
    """The next job needs what this one held: a model and its optimiser refer to each other in circles."""
    gc.collect()
    # What is left is libraries and what jobs share; going through all of it again after every job took a third of a
    # second. It is still freed when nothing refers to it any more: pretrained models hold no circles.
    gc.freeze()
    torch = sys.modules.get("torch")  # a job that never came as far as importing it has nothing there
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


# ---------------------------------------------------------------- the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    number: int
    state: str
    """finished, failed, refused (configuration or data), stopped, killed, running, not begun."""
    words: list[str]
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By task, as `meld.emotion`: the headline's `metric` and its `value`, None where that is undefined."""
    seconds: float | None = None
    folder: str | None = None
    """Inside the multirun's."""
    error: str | None = None
    """Its first line."""


def jobs(folder: Path, all_points: Sequence[list[str]]) -> list[Job]:
    """The jobs of the multirun in `folder` by number: those that have a run folder, and of `all_points` the rest."""
    begun = _begun(folder)
    planned = dict(enumerate(all_points))
    made = []
    for number in sorted(planned.keys() | begun.keys()):
        words = planned.get(number, [])  # a sweeper that chooses as it goes has planned none
        if number in begun:
            try:
                made.append(_job(number, words, folder, begun[number]))
            except ConfigError as error:
                # One damaged folder must not end the other jobs, each of which has the table written.
                name = str(begun[number].relative_to(folder))
                made.append(Job(number=number, state="failed", words=words, folder=name, error=str(error)))
        else:
            made.append(Job(number=number, state="not begun", words=words))
    return made


def _begun(folder: Path) -> dict[int, Path]:
    """The run folders by the numbers of their jobs: as their job.json says, wherever hydra.sweep.subdir has put them,
    and as their names do."""
    named = [(int(match[1]), path) for path in folder.glob("*/") if (match := re.match(r"(\d+)_", path.name))]
    noted = [(_read(path)["number"], path.parent) for path in folder.rglob("job.json")]
    # Where one number has been given twice, to jobs of two multiruns into one folder, the later one counts.
    return dict(sorted([*named, *noted], key=lambda found: found[1].stat().st_mtime))


def _job(number: int, words: list[str], sweep: Path, folder: Path) -> Job:
    note = _read(folder / "job.json") if (folder / "job.json").is_file() else None
    if (folder / "status.json").is_file():
        status = _read(folder / "status.json")
        now = state(status)
    else:
        status = {}
        now = "running" if note is not None and _is_alive(note) else "killed"
    error = None
    if now == "failed":
        error = (status["error"].splitlines() or [""])[0]
        if error.split(":", 1)[0] in _refusal_names():
            now = "refused"
    seconds = None
    if "ended" in status and "started" in status:
        # The run's own beginning is later than the job's: it comes after annotations were read and libraries imported.
        # Of a run that was stopped, and continued by another process, it is the time of the latter.
        same = note is not None and note["pid"] == status["pid"]
        began = (note if same else status)["started"]
        seconds = (datetime.fromisoformat(status["ended"]) - datetime.fromisoformat(began)).total_seconds()
    metrics = {}
    if now == "finished" and (folder / "metrics.json").is_file():
        for task, numbers in _read(folder / "metrics.json")["tasks"].items():
            metrics[task] = {"metric": numbers["headline"], "value": numbers["value"]}
    return Job(
        number=number,
        state=now,
        words=words if note is None else note["words"],
        metrics=metrics,
        seconds=seconds,
        folder=str(folder.relative_to(sweep)),
        error=error,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} cannot be read ({error}): restore the file, or delete {path.parent}") from error


def _is_alive(note: dict[str, Any]) -> bool:
    """Whether the process of a job that has not yet begun its run is there; one on another machine is believed to."""
    if note["host"] != socket.gethostname():
        return True
    try:
        os.kill(note["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # of another user, but there
    return True


def _refusal_names() -> set[str]:
    """Names of the exceptions that say that configuration or data cannot be used."""
    kinds = list(REFUSALS)
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.__name__ for kind in kinds}


def write_table(made: Sequence[Job], folder: Path) -> None:
    """Writes jobs.json and jobs.csv. In the latter `words` are quoted for a shell, and every headline metric of a task
    has a column, e.g. `meld.emotion weighted_f1`."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = _metric_columns(made)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ["number", "state", "words", *(f"{task} {metric}" for task, metric in columns), "seconds", "folder", "error"]
    )
    for job in made:
        numbers = [_value(job, task, metric) for task, metric in columns]
        writer.writerow([job.number, job.state, shlex.join(job.words), *numbers, job.seconds, job.folder, job.error])
    write_json(folder / "jobs.json", [asdict(job) for job in made])
    write_atomic(folder / "jobs.csv", out.getvalue())


def _metric_columns(made: Sequence[Job]) -> list[tuple[str, str]]:
    """(task, metric) of all jobs: a point may have a task, or a headline, that others have not."""
    return list(dict.fromkeys((task, found["metric"]) for job in made for task, found in job.metrics.items()))


def _value(job: Job, task: str, metric: str) -> float | str | None:
    if task not in job.metrics or job.metrics[task]["metric"] != metric:
        return None
    value = job.metrics[task]["value"]
    return "undefined" if value is None else value


def print_table(made: Sequence[Job], folder: Path) -> None:
    """Prints the table. Of every job's words it shows those that not all jobs have."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = _metric_columns(made)
    table = Table(title="Jobs")
    for heading in ("#", "state", "words", *(f"{task} {metric}" for task, metric in columns), "seconds", "error"):
        right = heading in ("#", "seconds") or " " in heading
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for job, own_words in zip(made, distinct([job.words for job in made]), strict=True):
        numbers = [_value(job, task, metric) for task, metric in columns]
        cells = [
            str(job.number),
            job.state,
            " ".join(own_words),
            *("" if n is None else n if isinstance(n, str) else f"{n:.4f}" for n in numbers),
            "" if job.seconds is None else f"{job.seconds:.0f}",
            job.error or "",
        ]
        # Text, since rich takes [a,b] of a list for a style.
        table.add_row(*(Text(cell) for cell in cells))
    # Where there is no terminal, rich assumes 80 columns and would break every number in two.
    console = Console() if Console().is_terminal else Console(width=140)
    console.print(table)
    console.print(f"{folder / 'jobs.csv'}", highlight=False, markup=False, soft_wrap=True)


def main(arguments: list[str]) -> None:
    """Makes the tables of these folders again, and prints them."""
    if not arguments or {"-h", "--help"} & set(arguments):
        sys.exit(__doc__)
    try:
        for folder in map(Path, arguments):
            if not (folder / "jobs.json").is_file():
                raise ConfigError(
                    f"{folder} is not the folder of a multirun, it has no jobs.json: name one of outputs/sweeps"
                )
            made = jobs(folder, [job["words"] for job in json.loads((folder / "jobs.json").read_text("utf-8"))])
            write_table(made, folder)
            print_table(made, folder)
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])

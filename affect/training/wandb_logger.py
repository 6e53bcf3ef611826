"""Weights & Biases: one run for every job, beside log/metrics.csv.

Nothing here may stop or slow a training. All calls to W&B are made, in order, by a thread of their own, and nobody
waits for it longer than the seconds below: the service behind it is another process, and once that hangs even logging a
number blocks. What fails is said in one sentence, and the job goes on without W&B.
"""

import contextlib
import json
import os
import queue
import secrets
import shlex
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyExperiment

from affect.config import Config, ConfigError, LoggerConfig, LoggerKind, Value, WandbMode, read_yaml
from affect.config.logs import is_first
from affect.data import Prediction, Record
from affect.data.files import write_json
from affect.evaluation.metrics import READERS
from affect.training.samples import VIDEO, choose, described, playable

INIT_SECONDS = 20.0
"""For the server to accept a run; then the run is recorded offline. W&B's own 90 s are long for every run of a sweep on
a node without a network."""
UPLOAD_SECONDS = 60.0
"""For what is not uploaded yet when a job ends; W&B's own limit is none."""
ANSWER_SECONDS = 15.0
"""For the service, beyond what it waits for the server: its start takes 0.3 s on two shared cores, and everything else
milliseconds."""

STEP = "trainer/global_step"
"""What every metric is drawn over: optimiser steps. W&B's own count of calls would be off after a resume, which repeats
the steps since the last saving."""

COLUMNS = ["id", "task", "transcript", "gold", "predicted", "answer", "outcome", "clip"]
ACCOUNT = ("expected", "outside_subset", "excluded", "bad_rows", "used")
"""What affect.runs.run_folder adds to the numbers of a task: counts of the data behind them."""


def open(cfg: Config, folder: Path, program: str, job_folder: str | None) -> "Tracker":
    """Begins the W&B run of the job whose run folder is `folder`, or continues it where the folder has a wandb.json.

    `program` (train, evaluate) becomes its job type, the sweep that gave it `job_folder` its group. Raises nothing that
    W&B is the cause of: the tracker then does nothing. Nor does it with another logger than wandb, or in the processes
    that follow a run's first one.
    """
    tracker = Tracker(cfg, folder)
    if cfg.logger.kind is LoggerKind.wandb and is_first():
        tracker.start(program, None if job_folder is None else Path(job_folder).parent.name)
    return tracker


def mode(config: LoggerConfig) -> str:
    """online, offline, or another value of WANDB_MODE; decided without a prompt and without the network."""
    if config.mode is not WandbMode.auto:
        return config.mode.value
    stated = os.environ.get("WANDB_MODE")
    if stated:
        return {"dryrun": "offline", "run": "online"}.get(stated, stated)  # its older names
    import wandb
    from wandb.sdk.lib import wbauth

    settings = wandb.setup(wandb.Settings(silent=True)).settings
    if "mode" in settings.model_fields_set:  # `wandb offline` writes it into a file
        return settings.mode
    # Environment, .netrc and settings, in W&B's own order; its login() is the public way, but rewrites the settings.
    known = wbauth.authenticate_session(host=settings.base_url, source="affect", prompt=False, update_session=False)
    return "offline" if known is None else "online"


def tags(cfg: Config) -> list[str]:
    """What one picks runs by, written as on the command line. W&B takes at most 64 characters."""
    tasks = [f"{name}.{task}" for name, dataset in cfg.datasets.items() for task in dataset.tasks]
    whole = [
        f"model={cfg.model.name}",
        *(f"dataset={name}" for name in cfg.datasets),
        *(f"task={task}" for task in tasks),
        f"prompting={cfg.prompting.name}",
        f"modalities={cfg.modalities}",
        f"seed={cfg.seed}",
    ]
    return list(dict.fromkeys(tag[:64] for tag in whole))


def flatten(summary: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The numbers of affect.evaluation.metrics.summary that runs are compared by, under one key each.

    `test/meld.emotion/weighted_f1` is that of the reader the headline is computed from, `…/exact/weighted_f1` or
    `…/lenient/…` that of the other one, `…/majority/…` that of the majority answer, `…/meld.accuracy` that of a
    dialect. Counts begin with n_; undefined numbers are None. All the rest is in metrics.json.
    """
    flat: dict[str, Any] = {f"{split}/selection": summary["selection"]}
    reader = summary["reader"]
    for name, numbers in summary["tasks"].items():
        own = dict(numbers[reader])
        for dialect, values in numbers["dialects"][reader].items():
            own |= {f"{dialect}.{metric}": value for metric, value in values.items()}
        for other in ({*READERS} - {reader}) | {"majority"}:
            own |= {f"{other}/{metric}": value for metric, value in numbers[other].items()}
        own |= {key: value for key, value in numbers.items() if key.startswith("n_") and key != "n_per_class"}
        own |= {f"n_{outcome}": count for outcome, count in numbers["outcomes"].items()}
        own |= {f"n_{key}": numbers[key] for key in ACCOUNT if key in numbers}
        for group in ("recall_per_class", "calibration"):  # which not every kind of task has
            if group in numbers:
                own |= {f"{group}/{key}": value for key, value in numbers[group].items()}
        flat |= {f"{split}/{name}/{key}": value for key, value in own.items()}
    return flat


class Tracker(Logger):
    """The W&B run of one job, for Lightning's Trainer beside its CSV logger and for what comes after it.

    A context manager: leaving it by an exception ends the run as failed.
    """

    def __init__(self, cfg: Config, folder: Path) -> None:
        super().__init__()
        self.cfg, self.folder = cfg, folder
        self.offline = True
        self._run: Any = None
        self._failed = self._hung = False
        self._lock = threading.Lock()
        self._last_step = 0
        self._calls: queue.SimpleQueue[tuple[str, Callable[[], object], threading.Event] | None] = queue.SimpleQueue()

    # What Lightning asks of a logger.

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def version(self) -> str | None:
        """The id of the W&B run, None without one."""
        return None if self._run is None else self._run.id

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    def on(self) -> bool:
        """Whether there is a run that takes values."""
        return self._run is not None and not self._failed

    @property
    def experiment(self) -> Any:
        """The wandb.Run; something that takes every call and does nothing where there is none."""
        return self._run if self.on else DummyExperiment()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the whole configuration was recorded at the start."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Records the values over `step`, optimiser steps; None is the last one given. Returns at once."""
        if self.on:
            run, self._last_step = self._run, self._last_step if step is None else step
            row = {**metrics, STEP: self._last_step}
            self._submit("logging", lambda: run.log(row))

    # What the programs ask of it.

    def start(self, program: str, group: str | None) -> None:
        """See `open`."""
        threading.Thread(target=self._work, name="affect-wandb", daemon=True).start()
        twice = 2 * (INIT_SECONDS + 2 * ANSWER_SECONDS)  # online, and then offline
        self._wait("starting its run", self._submit("starting its run", lambda: self._start(program, group)), twice)
        if self.on and not self.offline:
            print(f"Weights & Biases: {self._run.url}")

    def results(
        self, summary: Mapping[str, Any], predictions: Sequence[Prediction], records: Mapping[str, Record]
    ) -> None:
        """Records what the evaluation found: the numbers of affect.evaluation.metrics.summary, a confusion matrix for
        every classification, and logger.num_samples of the predictions with their clips. `records` are by id, and have
        those of all predictions."""
        if not self.on:
            return
        run, split, reader = self._run, self.cfg.evaluation.split, self.cfg.evaluation.reader.value
        tasks = {f"{d}.{t}": data.task_definitions[t] for d, data in self.cfg.datasets.items() for t in data.tasks}
        chosen = choose(predictions, tasks, reader, self.cfg.logger.num_samples)
        what = "recording the results"
        try:
            with tempfile.TemporaryDirectory(prefix=".clips-", dir=self.folder / "wandb") as place:
                rows = [
                    (p, said, records[p.id], playable(records[p.id], self.cfg.model.max_seconds, Path(place)))
                    for p, said in chosen
                ]

                def send() -> None:
                    run.summary.update(flatten(summary, split))
                    row = _confusions(summary, split)
                    if rows:
                        row[f"{split}/samples"] = _table(rows, reader)
                    with _staged_in(self.folder / "wandb"):
                        run.log({**row, STEP: self._last_step})

                # It copies the clips; they go to the server while the run is being finished.
                self._wait(what, self._submit(what, send), UPLOAD_SECONDS)
        except OSError as error:
            self._fail(what, error)

    def close(self, error: BaseException | None = None) -> None:
        """Ends the run: finished, or failed with exit code 1 where `error` is what the job ended with. A second call
        does nothing."""
        run = self._run
        if run is not None and not self._hung:
            ended = self._submit("finishing its run", lambda: _finish(run, 0 if error is None else 1))
            self._wait("finishing its run", ended, ANSWER_SECONDS + (0 if self.offline else UPLOAD_SECONDS))
        if self.on and self.offline:
            print(f"Weights & Biases has this run offline; to upload it: {self._sync()}")
        if self._failed:
            _stop_service()
        self._run = None
        self._calls.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)

    # The thread that talks to W&B.

    def _work(self) -> None:
        while (entry := self._calls.get()) is not None:
            what, call, done = entry
            try:
                call()
            except Exception as error:
                self._fail(what, error)
            finally:
                done.set()

    def _submit(self, what: str, call: Callable[[], object]) -> threading.Event:
        done = threading.Event()
        self._calls.put((what, call, done))
        return done

    def _wait(self, what: str, done: threading.Event, seconds: float) -> None:
        try:
            answered = done.wait(seconds)
        except BaseException:
            # Ctrl-C, or lifetime.Stopped: the job is to end now, and the service would hold up the end of the process.
            self._failed = self._hung = True
            _stop_service()
            raise
        if not answered:
            self._hung = True
            self._fail(what, TimeoutError(f"no answer within {seconds:g} s"))
            _stop_service()

    def _fail(self, what: str, error: Exception) -> None:
        with self._lock:
            first, self._failed = not self._failed, True
        if first:
            rest = "" if self._run is None else f"; what it has until now is uploaded by {self._sync()}"
            print(
                f"Weights & Biases failed at {what} ({_reason(error)}): the job goes on without it, with its numbers in"
                f" {self.folder}{rest}",
                file=sys.stderr,
            )

    def _sync(self) -> str:
        online = "" if self.offline else "--include-online "
        return f"wandb sync {online}{shlex.quote(str(self.folder / 'wandb'))}"

    def _start(self, program: str, group: str | None) -> None:
        place = self.folder / "wandb"
        place.mkdir(exist_ok=True)
        if not os.access(place, os.W_OK):  # W&B would move to the system's folder for temporary files
            raise PermissionError(f"{place} is not writable")
        # Its service process, once it is started, puts itself in the way of both.
        hooks = sys.excepthook, sys.exit
        try:
            chosen = mode(self.cfg.logger)
            if chosen == "disabled":
                print("Weights & Biases is switched off (WANDB_MODE=disabled)", file=sys.stderr)
                return
            try:
                run = self._init(chosen, program, group)
            except Exception as error:
                if chosen == "offline":
                    raise
                _stop_service()  # it would refuse the id a second time
                run = self._init("offline", program, group)
                print(
                    f"Weights & Biases cannot be reached ({_reason(error)}): this run is recorded offline",
                    file=sys.stderr,
                )
        finally:
            sys.excepthook, sys.exit = hooks
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        self._note(run)
        self.offline = run.offline
        self._run = run

    def _init(self, chosen: str, program: str, group: str | None) -> Any:
        """The run, begun. Raises whatever W&B raises."""
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        settings = wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_code=True,
            disable_git=True,
            git_commit=self._commit(),  # so that no git is started to find it again
            label_disable=True,
            x_save_requirements=False,  # listing all packages takes 0.17 s a run; environment.json has those that count
            use_dot_wandb=False,
            init_timeout=INIT_SECONDS,
            finish_timeout=UPLOAD_SECONDS,
            finish_timeout_raises=True,
        )
        place: dict[str, Any] = {}
        if not os.environ.get("WANDB_SWEEP_ID"):  # its agent has chosen all these
            noted = self._noted()
            place = {"project": self.cfg.logger.project, "entity": self.cfg.logger.entity, "group": group}
            place |= {"id": secrets.token_hex(4)} if noted is None else {"id": noted["id"], "resume": "allow"}
        return wandb.init(
            **place,
            mode=chosen,
            dir=str(self.folder),
            name=self.folder.name,
            job_type=program,
            tags=tags(self.cfg),
            config=read_yaml(self.folder / "config.yaml"),
            reinit="create_new",
            settings=settings,
        )

    def _commit(self) -> str | None:
        path = self.folder / "environment.json"
        return json.loads(path.read_text(encoding="utf-8"))["commit"] if path.is_file() else None

    def _noted(self) -> dict[str, Any] | None:
        path = self.folder / "wandb.json"
        if not path.is_file():
            return None
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            return {"id": noted["id"], "folders": noted["folders"]}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"{path} names no run of Weights & Biases: restore it, or delete it and another run is begun"
            ) from error

    def _note(self, run: Any) -> None:
        noted = self._noted()
        folders = [] if noted is None or noted["id"] != run.id else noted["folders"]
        here = str(Path(run.sync_dir).relative_to(self.folder.absolute()))
        write_json(
            self.folder / "wandb.json",
            {"id": run.id, "project": run.project, "entity": run.entity, "url": run.url, "folders": [*folders, here]},
        )


def _finish(run: Any, exit_code: int) -> None:
    run.finish(exit_code=exit_code)
    # Its service says nothing to us of what it fails to write into the run's file, only to this log.
    log = Path(run.settings.log_internal)
    if "failed to save record" in log.read_text(encoding="utf-8", errors="replace"):
        raise OSError(f"see {log}: not everything could be written, the disk may be full")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"


def _confusions(summary: Mapping[str, Any], split: str) -> dict[str, Any]:
    """A chart for every classification with something scored: gold labels by what the lenient reader took the answers
    for."""
    import wandb

    charts = {}
    for name, numbers in summary["tasks"].items():
        if "confusion" not in numbers or not numbers["n_scored"]:
            continue
        names = [*numbers["labels"], "unreadable"]
        cells = [
            (i, j) for i, row in enumerate(numbers["confusion"]) for j, count in enumerate(row) for _ in range(count)
        ]
        if all(j < len(names) - 1 for _, j in cells):
            names.pop()
        charts[f"{split}/{name}/confusion"] = wandb.plot.confusion_matrix(
            y_true=[i for i, _ in cells], preds=[j for _, j in cells], class_names=names, title=f"{name}, {split}"
        )
    return charts


def _cell(value: Value | None) -> str | float | None:
    return (", ".join(value) or "none of them") if isinstance(value, tuple) else value


def _table(rows: Sequence[tuple[Prediction, str, Record, Path | None]], reader: str) -> Any:
    """`rows` are predictions with their verdict, record and the file to play."""
    import wandb

    table = wandb.Table(columns=COLUMNS, allow_mixed_types=True)  # labels and numbers, videos and sounds
    for prediction, said, record, clip in rows:
        shown = None if clip is None else (wandb.Video if clip.suffix.lower() in VIDEO else wandb.Audio)(str(clip))
        name = f"{prediction.dataset}.{prediction.task}"
        gold, predicted = _cell(prediction.target), _cell(getattr(prediction, reader))
        table.add_data(prediction.id, name, record.text, gold, predicted, described(prediction), said, shown)
    return table


@contextlib.contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """W&B makes a copy of every table until it is uploaded, in the home folder unless told otherwise: an offline run
    would depend on what is there, and fail on nodes whose home cannot be written."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder.absolute())
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def _stop_service() -> None:
    """Ends W&B's service process in whatever state it is; the next run of this process starts another one."""
    if "wandb" not in sys.modules:
        return
    import wandb
    from wandb.sdk import wandb_setup

    connection = wandb_setup.singleton()._connection
    if connection is not None and connection._proc is not None:
        process = connection._proc._process  # teardown() alone would wait for one that hangs
        process.kill()
        process.wait()
    # That nobody answers is what was wanted.
    with contextlib.suppress(OSError, SystemExit):
        wandb.teardown()

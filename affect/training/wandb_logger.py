"""Weights & Biases: one run for every job, beside log/metrics.csv.

Nothing here may stop or slow training. W&B's service is another process, and once it hangs, even logging a number
blocks. So Lightning's WandbLogger is driven by a thread of its own, which makes all calls in order, and nobody waits
longer than the seconds below. A failure is reported in one sentence, and the job goes on without W&B.
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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import DummyExperiment

from affect.config import Config, ConfigError, LoggerConfig, LoggerKind, WandbMode, read_yaml
from affect.config.logs import is_first
from affect.data import Prediction, Record
from affect.data.files import write_json
from affect.runs.lifecycle import Pruned
from affect.training.samples import choose, playable
from affect.training.wandb_content import confusions, flatten, samples_table, tags

INIT_SECONDS = 20.0
"""For the server to accept a run, before it is recorded offline; W&B waits 90 s, long for a sweep without network."""
UPLOAD_SECONDS = 60.0
"""For the rest of the upload when a job ends; W&B itself has no limit."""
ANSWER_SECONDS = 15.0
"""For the service itself: its start takes 0.3 s on two shared cores, everything else milliseconds."""

ALL_WRITTEN = "stream: all finished"
"""The last line of the service's log of a run."""

UNREACHABLE = "AFFECT_WANDB_UNREACHABLE_SINCE"
"""Environment variable with the time (seconds since 1970) at which a job of this process last found no server."""
TRY_AGAIN = 600.0
"""Seconds after that in which the next jobs are recorded offline at once, instead of waiting INIT_SECONDS each."""

STEP = "trainer/global_step"
"""Lightning's name for the x-axis of every metric: optimiser steps. W&B's own count of calls would be off after a
resume, which repeats the steps since the last checkpoint."""


def open(cfg: Config, folder: Path, program: str, job_folder: str | None) -> "Tracker":
    """Begins the W&B run of the job whose run folder is `folder`, or continues it where the folder has a wandb.json.

    `program` (train, evaluate) becomes its job type, the sweep of `job_folder` its group. Failures of W&B are not
    raised: the tracker then does nothing, as it does with another logger and in all processes but the first.
    """
    tracker = Tracker(cfg, folder)
    if cfg.logger.kind is LoggerKind.wandb and is_first():
        tracker.start(program, None if job_folder is None else Path(job_folder).parent.name)
    return tracker


def mode(config: LoggerConfig) -> str:
    """online, offline, or another value of WANDB_MODE, found without a prompt and without the network."""
    if config.mode is not WandbMode.auto:
        return config.mode.value
    if variable := os.environ.get("WANDB_MODE"):
        return {"dryrun": "offline", "run": "online"}.get(variable, variable)  # older names
    import wandb
    from wandb.sdk.lib import wbauth

    settings = wandb.setup(wandb.Settings(silent=True)).settings
    if "mode" in settings.model_fields_set:  # `wandb offline` writes it into a file
        return settings.mode
    # Looks for a key in environment, .netrc and settings. The public login() would rewrite the settings.
    key = wbauth.authenticate_session(host=settings.base_url, source="affect", prompt=False, update_session=False)
    return "offline" if key is None else "online"


class Tracker(WandbLogger):
    """The W&B run of one job, a logger for Lightning's Trainer and a context manager: leaving it by an exception ends
    the run as failed."""

    def __init__(self, cfg: Config, folder: Path) -> None:
        super().__init__(name=folder.name, save_dir=str(folder), project=cfg.logger.project)
        self.cfg, self.folder = cfg, folder
        self.offline = True
        self._failed = self._hung = False
        self._lock = threading.Lock()
        self._last_step = 0
        self._calls: queue.SimpleQueue[tuple[str, Callable[[], object], threading.Event] | None] = queue.SimpleQueue()

    @property
    def on(self) -> bool:
        """Whether there is a run that takes values."""
        return self._experiment is not None and not self._failed

    @property
    def experiment(self) -> Any:
        """The wandb.Run, or an object that ignores every call where there is none. Lightning's own would begin a run
        here, in whatever thread asks, and reuse one that other code has begun."""
        return self._experiment if self.on else DummyExperiment()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration was recorded at the start."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Records the values over `step`, in optimiser steps; None is the last one given. Returns at once."""
        if self.on:
            self._last_step = self._last_step if step is None else step
            self._submit("logging", partial(super().log_metrics, dict(metrics), self._last_step))

    def start(self, program: str, group: str | None) -> None:
        """See `open`."""
        threading.Thread(target=self._work, name="affect-wandb", daemon=True).start()
        seconds = 2 * (INIT_SECONDS + 2 * ANSWER_SECONDS)  # online, and then offline
        self._wait("starting its run", self._submit("starting its run", lambda: self._start(program, group)), seconds)
        if self.on and not self.offline:
            print(f"Weights & Biases: {self.experiment.url}")

    def results(
        self, summary: Mapping[str, Any], predictions: Sequence[Prediction], records: Mapping[str, Record]
    ) -> None:
        """Records an evaluation: the numbers of affect.evaluation.metrics.summary, a confusion matrix for every
        classification, and logger.num_samples of the predictions with their clips. `records` has every clip by id."""
        if not self.on:
            return
        run, split, reader = self._experiment, self.cfg.evaluation.split, self.cfg.evaluation.reader.value
        tasks = {f"{d}.{t}": data.task_definitions[t] for d, data in self.cfg.datasets.items() for t in data.tasks}
        chosen = choose(predictions, tasks, reader, self.cfg.logger.num_samples)
        action = "recording the results"
        try:
            with tempfile.TemporaryDirectory(prefix=".clips-", dir=self.folder / "wandb") as clips:
                rows = [
                    (p, verdict, records[p.id], playable(records[p.id], self.cfg.model.max_seconds, Path(clips)))
                    for p, verdict in chosen
                ]

                def send() -> None:
                    run.summary.update(flatten(summary, split))
                    row = confusions(summary, split)
                    if rows:
                        row[f"{split}/samples"] = samples_table(rows, reader)
                    with _staged_in(self.folder / "wandb"):
                        run.log({**row, STEP: self._last_step})

                # W&B copies the clips now and uploads them while the run is finished.
                self._wait(action, self._submit(action, send), UPLOAD_SECONDS)
        except OSError as error:
            self._fail(action, error)

    def close(self, error: BaseException | None = None) -> None:
        """Ends the run, with exit code 1 where the job ended by `error`. A second call does nothing."""
        run = self._experiment
        if run is not None and not self._hung:
            ended = self._submit("finishing its run", lambda: _finish(run, 0 if error is None else 1))
            self._wait("finishing its run", ended, 2 * ANSWER_SECONDS + (0 if self.offline else UPLOAD_SECONDS))
        if self.on and self.offline:
            print(f"Weights & Biases has this run offline; to upload it: {self._sync()}")
        if self._failed:
            _stop_service()
        self._experiment = None
        self._calls.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.close(None if isinstance(error, Pruned) else error)

    def _work(self) -> None:
        """The thread that talks to W&B."""
        while (entry := self._calls.get()) is not None:
            action, call, done = entry
            try:
                call()
            except Exception as error:
                self._fail(action, error)
            finally:
                done.set()

    def _submit(self, action: str, call: Callable[[], object]) -> threading.Event:
        done = threading.Event()
        self._calls.put((action, call, done))
        return done

    def _wait(self, action: str, done: threading.Event, seconds: float) -> None:
        try:
            answered = done.wait(seconds)
        except BaseException:
            # Ctrl-C or lifecycle.Stopped: a service that hangs would hold up the end of the process.
            self._failed = self._hung = True
            _stop_service()
            raise
        if not answered:
            self._hung = True
            self._fail(action, TimeoutError(f"no answer within {seconds:g} s"))
            _stop_service()

    def _fail(self, action: str, error: Exception) -> None:
        with self._lock:
            first, self._failed = not self._failed, True
        if first:
            rest = "" if self._experiment is None else f"; what it has until now is uploaded by {self._sync()}"
            print(
                f"Weights & Biases failed at {action} ({_reason(error)}): the job goes on without it, with its numbers"
                f" in {self.folder}{rest}",
                file=sys.stderr,
            )

    def _sync(self) -> str:
        online = "" if self.offline else "--include-online "
        return f"wandb sync {online}{shlex.quote(str(self.folder / 'wandb'))}"

    def _start(self, program: str, group: str | None) -> None:
        place = self.folder / "wandb"
        place.mkdir(exist_ok=True)
        if not os.access(place, os.W_OK):  # W&B would silently write to the system's temporary folder
            raise PermissionError(f"{place} is not writable")
        # Starting the service replaces both.
        hooks = sys.excepthook, sys.exit
        try:
            chosen = mode(self.cfg.logger)
            if chosen == "disabled":
                print("Weights & Biases is switched off (WANDB_MODE=disabled)", file=sys.stderr)
                return
            said = UNREACHABLE in os.environ
            if time.time() - float(os.environ.get(UNREACHABLE, "-inf")) < TRY_AGAIN:
                chosen = "offline"
            try:
                run = self._init(chosen, program, group)
            except Exception as error:
                if chosen == "offline":
                    raise
                _stop_service()  # it would refuse the id a second time
                run = self._init("offline", program, group)
                os.environ[UNREACHABLE] = str(time.time())
                if not said:
                    print(
                        f"Weights & Biases cannot be reached ({_reason(error)}): this run is recorded offline, and so"
                        f" are the next ones of this process, which try it again every {TRY_AGAIN / 60:.0f} minutes",
                        file=sys.stderr,
                    )
        finally:
            sys.excepthook, sys.exit = hooks
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        self._note(run)
        self.offline = run.offline
        self._experiment = run

    def _init(self, chosen: str, program: str, group: str | None) -> Any:
        """Begins the run. Raises whatever W&B raises."""
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        settings = wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_code=True,
            disable_git=True,
            git_commit=self._commit(),  # which spares a call of git
            label_disable=True,
            x_save_requirements=False,  # takes 0.17 s a run; environment.json has the versions that matter
            use_dot_wandb=False,
            init_timeout=INIT_SECONDS,
            finish_timeout=UPLOAD_SECONDS,
            finish_timeout_raises=True,
        )
        place: dict[str, Any] = {}
        if not os.environ.get("WANDB_SWEEP_ID"):  # otherwise the sweep's agent has chosen all these
            noted = self._noted()
            place = {"project": self.cfg.logger.project, "entity": self.cfg.logger.entity, "group": group}
            place |= {"id": secrets.token_hex(4)} if noted is None else {"id": noted["id"], "resume": "allow"}
        return wandb.init(
            **place,
            mode=chosen,
            dir=str(self.folder),
            name=self.folder.name,
            job_type=program,
            tags=tags(self.cfg, group),
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
    # W&B does not wait for the service to write the end of the run's file, and its next failure kills the service. In
    # this log alone the service says that it has written all, and that it could not.
    log = Path(run.settings.log_internal)
    patience = time.monotonic() + ANSWER_SECONDS
    while ALL_WRITTEN not in (said := log.read_text(encoding="utf-8", errors="replace")):
        if time.monotonic() > patience:
            raise TimeoutError(f"see {log}: the end of the run was not written within {ANSWER_SECONDS:g} s")
        time.sleep(0.01)
    if "failed to save record" in said:
        raise OSError(f"see {log}: not everything could be written, the disk may be full")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"


@contextlib.contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """Makes W&B keep its copies of tables in `folder` until they are uploaded. In the home folder, its default, an
    offline run would depend on files elsewhere and fail on nodes whose home cannot be written."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder.absolute())
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def _stop_service() -> None:
    """Kills W&B's service process in whatever state it is; the next run of this process starts another one."""
    if "wandb" not in sys.modules:
        return
    import wandb
    from wandb.sdk import wandb_setup

    connection = wandb_setup.singleton()._connection
    if connection is not None and connection._proc is not None:
        process = connection._proc._process  # teardown() alone would wait for one that hangs
        process.kill()
        process.wait()
    # Nobody answers, as intended.
    with contextlib.suppress(OSError, SystemExit):
        wandb.teardown()

"""Watches a multirun, starts it again, chooses a setting by it, or writes a sweep of Weights & Biases:

    affect sweep status outputs/sweeps/… --live            states, progress and time left; --live until all have ended
    affect sweep resume outputs/sweeps/…                   runs what is missing, failed or interrupted in a multirun
    affect sweep resume outputs/sweeps/… seed=4,5          likewise, and adds points with these seeds
    affect sweep best outputs/sweeps/…                     chooses a setting by validation, and tests that one alone
    affect sweep table outputs/sweeps/…                    makes the table of a multirun again, from its files
    affect sweep wandb sweep=learning_rate --output FILE   writes the file that `wandb sweep` takes

A sweep itself is started with python train.py -m. Where status, resume and table are given the folder of a study, one
of outputs/studies, they are about its multiruns.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

from affect.config import ConfigError, near
from affect.runs import sweep_file
from affect.runs.jobs import jobs, print_table, write_table

ACTIONS = ("status", "resume", "best", "table", "wandb")

MODULES = {"status": "sweep_status", "best": "sweep_best", "wandb": "wandb_sweep"}
"""Modules of this room with a `main(arguments)`."""


def main() -> None:
    """Runs `affect sweep ACTION …`."""
    action, *arguments = sys.argv[1:] or ["--help"]
    if action == "resume":
        resume(arguments)
    elif action == "table":
        tabulate(arguments)
    elif action in MODULES:
        import_module(f"affect.cli.{MODULES[action]}").main(arguments)
    elif action in ("-h", "--help"):
        print(__doc__)
    else:
        sys.exit(f"there is no `affect sweep {action}`{near(action, ACTIONS)} Choose of {', '.join(ACTIONS)}")


def resume(arguments: list[str]) -> None:
    """Starts the multirun of a folder again, with the words of its first start and those that are given behind it, from
    the folder it was started from, which paths in its words are relative to."""
    if not arguments or {"-h", "--help"} & set(arguments):
        sys.exit(__doc__)
    folder, *words = Path(arguments[0]).absolute(), *arguments[1:]
    try:
        content = sweep_file.read(folder)
        if content is None:
            raise ConfigError(
                f"{folder} has no {sweep_file.FILE}: name the folder of a multirun, one of outputs/sweeps, that this"
                " version of affect has started"
            )
    except ConfigError as error:
        sys.exit(str(error))
    first = content["starts"][0]["folder"]
    if Path(first).is_dir():
        os.chdir(first)
    program = content["program"]
    sys.argv = [f"{program}.py", *content["words"], *words, f'hydra.sweep.dir="{folder}"']
    import_module(f"affect.cli.{program}").main(resumed=True)


def tabulate(arguments: list[str]) -> None:
    """Makes the tables of these multirun folders again, or of the multiruns of these studies, and prints them."""
    if not arguments or {"-h", "--help"} & set(arguments):
        sys.exit(__doc__)
    from affect.cli.best_setting import say_best

    try:
        for named in map(Path, arguments):
            if not any((named / name).is_file() for name in (sweep_file.FILE, "jobs.json")):
                raise ConfigError(
                    f"{named} is not the folder of a multirun, it has no {sweep_file.FILE}: name one of outputs/sweeps"
                )
            for folder in sweep_file.multiruns(named):
                if folder != named:
                    print(f"\n{folder.relative_to(named).as_posix()}")
                all_jobs = jobs(folder)
                write_table(all_jobs, folder)
                print_table(all_jobs, folder)
                say_best(folder)
    except ConfigError as error:
        sys.exit(str(error))

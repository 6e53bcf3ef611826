"""Tables of multiruns, choosing among their settings, and sweeps of Weights & Biases:

    affect sweep best outputs/sweeps/…                     chooses a setting by validation, and tests that one alone
    affect sweep table outputs/sweeps/…                    makes the table of a multirun again, from its files
    affect sweep wandb sweep=learning_rate --output FILE   writes the file that `wandb sweep` takes

A sweep itself is started with python train.py -m.
"""

import sys
from pathlib import Path

from affect.config import ConfigError, near
from affect.runs import sweep_file
from affect.runs.jobs import jobs, print_table, write_table

ACTIONS = ("best", "table", "wandb")


def main() -> None:
    """Runs `affect sweep table …` or `affect sweep wandb …`."""
    action, *arguments = sys.argv[1:] or ["--help"]
    if action == "table":
        tabulate(arguments)
    elif action == "best":
        from affect.cli import sweep_best

        sweep_best.main(arguments)
    elif action == "wandb":
        from affect.cli import wandb_sweep

        wandb_sweep.main(arguments)
    elif action in ("-h", "--help"):
        print(__doc__)
    else:
        sys.exit(f"there is no `affect sweep {action}`{near(action, ACTIONS)} Choose of {', '.join(ACTIONS)}")


def tabulate(arguments: list[str]) -> None:
    """Makes the tables of these multirun folders again, and prints them."""
    if not arguments or {"-h", "--help"} & set(arguments):
        sys.exit(__doc__)
    try:
        for folder in map(Path, arguments):
            if not any((folder / name).is_file() for name in (sweep_file.FILE, "jobs.json")):
                raise ConfigError(
                    f"{folder} is not the folder of a multirun, it has no {sweep_file.FILE}: name one of outputs/sweeps"
                )
            all_jobs = jobs(folder)
            write_table(all_jobs, folder)
            print_table(all_jobs, folder)
    except ConfigError as error:
        sys.exit(str(error))

"""The first step of every command that takes a configuration: --help is answered before Hydra is imported."""

import sys
from collections.abc import Callable

from affect.cli.programs import PROGRAMS
from affect.config import GROUPS, Config
from affect.config.groups import DELTAS, choices
from affect.runs import interrupts

Main = Callable[[Config, str | None], None]


def entry(program: str, about: str) -> Callable[[Main], Callable[..., None]]:
    """Makes `main(cfg, job_folder)` the program `program`, one of PROGRAMS. `job_folder` is the folder that a
    multirun gives to one of its jobs, None otherwise. With dry_run=true main is not called. What is made has one
    parameter, `resumed`: whether a multirun also has the points that its folder knows."""

    def decorate(main: Main) -> Callable[..., None]:
        def run(resumed: bool = False) -> None:
            with interrupts.taken():
                given = sys.argv[1:]
                if {"-h", "--help"} & set(given):
                    print(help_text(program, about))
                    return
                from affect.cli.program import execute

                execute(program, main, given, resumed)

        return run

    return decorate


def help_text(program: str, about: str) -> str:
    """What --help prints."""
    command = PROGRAMS[program].command
    groups = "\n".join(f"  {group:<14}{', '.join(choices(group))}" for group in (*GROUPS, *DELTAS))
    return f"""{about}

usage: {command} [GROUP=CHOICE …] [KEY=VALUE …]

Groups and their choices (conf/config.yaml says which are taken where none is given; dataset takes several,
dataset=[meld,demo]; an experiment changes the rest; a sweep is a list of runs and a launcher what starts them, for -m):
{groups}

Keys of every run:
  modalities=t|a|v|ta|tv|av|tav   what the model is given        seed=1
  data_root=DIR   where datasets live (or AFFECT_DATA)           cache_root=DIR    what is derived (or AFFECT_CACHE)
  output_root=DIR                 where run folders are made     dry_run=true      check everything, run nothing

`affect config GROUP` explains all keys of a group; `{command} --cfg job` prints the configuration that would be used;
`-m` runs every combination of comma-separated values."""

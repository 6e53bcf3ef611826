"""`python -m affect.report FOLDER …`: one table over run folders, or over all run folders inside the folders named."""

import sys
from pathlib import Path

from affect.config import ConfigError
from affect.report.table import print_results
from affect.run import read


def main(arguments: list[str]) -> None:
    if not arguments or {"-h", "--help"} & set(arguments):
        sys.exit(__doc__)
    folders = []
    for argument in arguments:
        inside = sorted(path.parent for path in Path(argument).glob("*/config.yaml"))
        folders += [Path(argument)] if (Path(argument) / "config.yaml").is_file() or not inside else inside
    try:
        print_results([read(folder) for folder in folders])
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Generates the synthetic demo corpus: affect corpus --root FOLDER"""

import argparse
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from affect.config import DataError
from affect.data.demo_corpus.generate import Settings, generate, table


def main() -> None:
    parser = argparse.ArgumentParser(prog="affect corpus", description="Makes the synthetic demo corpus.")
    parser.add_argument("--root", type=Path, required=True, help="folder that is made; it must not exist yet")
    for setting in fields(Settings):
        parser.add_argument(f"--{setting.name.replace('_', '-')}", type=setting.type, default=setting.default)
    options = vars(parser.parse_args())
    root = options.pop("root")
    try:
        generate(root, Settings(**options))
    except DataError as error:
        parser.exit(1, f"{error}\n")
    Console().print(table(root))

"""The command `affect`: finds the subcommand and runs it."""

from affect.runs import interrupts  # noqa: F401, I001  (first: from here on Ctrl-C is answered in a sentence)

import sys
from importlib import import_module

from affect import __version__

COMMANDS = {
    "train": "fine-tune a model, then evaluate its best checkpoint",
    "evaluate": "evaluate a model zero-shot, or a run",
    "knowledge": "describe clips in words, and inspect the store of descriptions",
    "transcribe": "write down what is said in clips, by a speech recogniser",
    "report": "make tables of run folders",
    "paper": "write tables, figures, methods and a script that reproduces them, for a paper",
    "errors": "analyse what the runs of a setting get wrong",
    "attribution": "show what text, audio and video contribute to a model's answers",
    "score": "score predictions made by other software",
    "ledger": "print how often each test set was evaluated",
    "doctor": "audit a dataset on disk",
    "show": "show the prompt of a clip",
    "export": "export a fine-tuned model",
    "transfer": "train on each of several datasets, and test on each",
    "study": "run a study: its multiruns, table and figure",
    "sweep": "start a multirun again, watch it, choose by it, or write a Weights & Biases sweep",
    "corpus": "generate the synthetic demo corpus",
    "config": "explain the keys of a configuration group",
}


def main() -> None:
    """Runs `affect COMMAND …`. Each command is a module of this room with a function `main()` that reads sys.argv."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name == "--version":
        print(f"affect {__version__}")
    elif name in ("-h", "--help"):
        print(overview())
    elif name in COMMANDS:
        sys.argv = [f"affect {name}", *arguments]
        import_module(f"affect.cli.{name}").main()
    else:
        from affect.config.errors import near

        sys.exit(f"there is no command '{name}'{near(name, COMMANDS)} Commands: {', '.join(COMMANDS)}")


def overview() -> str:
    """What `affect --help` prints."""
    width = max(map(len, COMMANDS)) + 2
    lines = "\n".join(f"  {name:<{width}}{about}" for name, about in COMMANDS.items())
    return f"usage: affect COMMAND …\n\nCommands (`affect COMMAND --help` explains one):\n{lines}"

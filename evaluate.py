"""Evaluates a model zero-shot, or a training run: the command `affect evaluate`."""

from affect.runs import interrupts  # noqa: F401, I001  (first: from here on Ctrl-C is answered in a sentence)

from affect.cli.evaluate import main

if __name__ == "__main__":
    main()

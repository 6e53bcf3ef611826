"""Fine-tunes a model, then evaluates the best checkpoint: the command `affect train`."""

from affect.runs import interrupts  # noqa: F401, I001  (first: from here on Ctrl-C is answered in a sentence)

from affect.cli.train import main

if __name__ == "__main__":
    main()

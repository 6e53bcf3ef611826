"""python -m affect: the command `affect`."""

from affect.cli.commands import main

if __name__ == "__main__":
    main()

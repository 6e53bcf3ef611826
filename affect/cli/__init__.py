"""The command line: one file a command, and the rules of every room in validate.py."""

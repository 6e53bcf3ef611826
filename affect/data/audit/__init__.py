"""Audit of a dataset's copy on disk (command: affect doctor)."""

"""Run folders to tables."""

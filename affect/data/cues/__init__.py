"""Measured signals of sound and picture, by signal processing alone: for descriptions in words and for features."""

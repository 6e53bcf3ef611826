"""Models that transformers has as one class with one processor. One file a family."""

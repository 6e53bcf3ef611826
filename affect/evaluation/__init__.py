"""From a model and prompts to predictions, and from predictions to metrics."""

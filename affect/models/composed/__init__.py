"""Models composed of encoders, projectors and a causal language model."""

"""affect: fine-tuning and benchmarking multimodal language models on affective computing."""

__version__ = "0.1.0"

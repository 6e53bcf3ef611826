"""Models composed of a causal language model, an audio and a vision encoder, and projectors.

encoder.py turns prompts into batches, with features of clips from features.py; towers.py has the audio and vision
encoders, projectors.py what turns their states into soft tokens, and model.py the model.
"""

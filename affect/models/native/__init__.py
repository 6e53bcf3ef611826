"""Models that transformers has as one class with one processor: one file a family, and what the families share.

encoder.py and model.py hold the base classes, loading.py loads a family by the attributes of its classes, video.py has
the options of video processors, clip_tensors.py joins and splits the tensors of clips, and positions.py computes
positions with three axes.
"""

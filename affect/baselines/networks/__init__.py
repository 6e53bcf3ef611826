"""Published networks that fuse the feature sequences of text, audio and video.

One file a method. A network is pure torch: it takes the padded sequences of a batch and gives the vector that the
tasks' linear output layers read (`Fused`). Those layers, losses and predictions are not here.
"""

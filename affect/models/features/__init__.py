"""Features computed here: sequences of numbers from a transcript, the sound or the frames of a clip.

text.py, audio.py and video.py have the extractors of each modality; computed.py fills the feature cache with them.
Nothing in them is trained, and nothing is drawn at random.
"""

from affect.models.features.protocol import Extractor

__all__ = ["Extractor"]

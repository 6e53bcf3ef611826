"""Methods that are no language models: priors, TF-IDF, linear models on features, and the field's fusion networks.

Each is a `Learner` (affect/models/learner.py). They are trained, evaluated, resumed and reported as language models
are. They have no prompts, so the groups `prompting` and `knowledge` do not apply to them.
"""

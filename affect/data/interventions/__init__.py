"""Interventions: controlled changes of a clip or its transcript, to find out what a model makes use of.

clip_changes.py and words.py change one clip or transcript; draws.py says which clips, with which partner; plan.py holds
this for a whole split, and `ClipSource` asks it. All but plan.py is pure.
"""

from affect.data.interventions.clip_changes import changed
from affect.data.interventions.draws import dropped, partners
from affect.data.interventions.plan import Plan, plan
from affect.data.interventions.words import masked, masked_words

__all__ = ["Plan", "changed", "dropped", "masked", "masked_words", "partners", "plan"]

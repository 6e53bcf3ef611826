"""What each modality contributes, from run folders: which runs belong together, the numbers, and their tables.

The statistics themselves are in affect.evaluation: attribution, probe, conflict.
"""

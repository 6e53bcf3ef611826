"""The field's fusion networks on feature sequences, one file each.

A network is built from the widths of the features and its settings, and makes the states that the output layers of the
tasks read (`Fused`). Those layers, losses and predictions are not here.
"""

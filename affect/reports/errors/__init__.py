"""Error analysis of a run, or of several seeds of one setting: plain data (analysis.py), tables of it, and charts."""

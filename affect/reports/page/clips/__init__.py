"""The clip browser of the page: what every run of a report predicts of a clip, beside the clip itself.

browser      the blocks of the page: all of the following together
predictions  answers and label scores of runs as columns
comparisons  what runs are called, and which differ in modalities or descriptions alone
records      transcripts, context and files, out of the annotations
prompts      the prompts and the descriptions in them
recordings   links, waveforms, previews
texts        a table of strings
clips.css, clips.js, …   the view

A run folder holds neither transcripts nor clips: they are read from the dataset where it is on this machine, and
otherwise the page says what is missing.
"""

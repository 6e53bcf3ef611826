"""Quality of descriptions without a judge: claims held against measured cues, repetition, length, empty phrases."""

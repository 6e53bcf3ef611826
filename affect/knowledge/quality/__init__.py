"""Quality of descriptions: claims held against measured cues, repetition, length, empty phrases; and a judge."""

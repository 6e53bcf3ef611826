"""Run folders: their files, life cycle, what is derived from them, and sweeps."""

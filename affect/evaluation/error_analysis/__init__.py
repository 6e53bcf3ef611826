"""Where and how predictions are wrong: slices, single clips, unreadable answers, what another setting changes. Pure."""

"""Records to chat messages. No torch."""

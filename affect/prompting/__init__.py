"""Prompts: chat messages of a record, few-shot examples, token budget, reasoning text. No torch."""

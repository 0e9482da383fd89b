"""The weights of the simulated pre-training (CARD.md says how they were made)."""

"""What keeps a training patient from showing up in the synthetic cohort, and what is known about how well it works."""

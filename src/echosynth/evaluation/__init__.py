"""The evidence on two cohorts, a real one and a synthetic one: what trains on them, how alike they are, how they move. Needs no study."""

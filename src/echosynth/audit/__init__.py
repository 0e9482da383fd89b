"""The audit of a release: what lies in a study's synthetic cohort now is attacked as an attacker would, a gate decides on the results, and a passport tells them."""

"""Figures of merit: plain functions of arrays that know nothing of a study."""

"""Cohorts on disk: reading, checking and writing the EchoNet layouts, their videos, and what is kept of them."""

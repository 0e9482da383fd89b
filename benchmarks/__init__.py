"""Measurements that are no tests: commands of their own, minutes to hours."""

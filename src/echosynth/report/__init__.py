"""The report: one offline page for the people who decide on a release, its machine-readable twin, and the pictures of the README."""

from echosynth.report.facts import comparison_table, results_table
from echosynth.report.page import STAGE, write_report
from echosynth.report.pictures import animated_montage, montage

__all__ = ["STAGE", "animated_montage", "comparison_table", "montage", "results_table", "write_report"]

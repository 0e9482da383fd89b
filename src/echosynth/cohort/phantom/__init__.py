"""The simulated cohort: a phantom heart that obeys physics, in two views, seen through simulated scanners."""

from echosynth.cohort.phantom.simulate import PhantomClip, simulate_clip, simulate_cohort
from echosynth.cohort.phantom.sites import SITES, Site

__all__ = ["SITES", "PhantomClip", "Site", "simulate_clip", "simulate_cohort"]

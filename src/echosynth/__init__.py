"""echosynth: a private echocardiogram archive in, a synthetic one that can be shared out, with the evidence."""

__version__ = "0.1.0"

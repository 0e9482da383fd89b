"""echosynth: a private echocardiogram archive in, a synthetic cohort out, with the measurements that decide whether it may be shared."""

__version__ = "0.1.0"

import os as _os

# Before a library is imported that could ask a hub or send statistics: nothing phones home.
_os.environ["HF_HUB_OFFLINE"] = "1"
for _switch in ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
    _os.environ.setdefault(_switch, "1")
_os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

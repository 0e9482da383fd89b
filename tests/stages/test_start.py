"""The weights that a study starts from."""

import pytest

from echosynth.errors import InputError
from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig
from echosynth.stages import start
from echosynth.stages.start import initial

CONFIG = AutoencoderConfig(widths=(8, 16), blocks=(1, 1), decoder_blocks=(1, 1))


def test_none():
    assert initial("none", "autoencoder", Autoencoder, CONFIG) is None


def test_folder(tmp_path):
    with pytest.raises(InputError, match="not a saved Autoencoder"):
        initial(str(tmp_path), "autoencoder", Autoencoder, CONFIG)
    Autoencoder(CONFIG).save_pretrained(tmp_path / "autoencoder")
    assert initial(str(tmp_path), "autoencoder", Autoencoder, CONFIG).config == CONFIG
    with pytest.raises(InputError, match=r"autoencoder: its config\.json is not the study's autoencoder network"):
        initial(str(tmp_path), "autoencoder", Autoencoder, AutoencoderConfig())


def test_shipped_weights_only_where_they_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(start, "files", lambda package: tmp_path)
    assert initial("simulated", "autoencoder", Autoencoder, CONFIG) is None
    Autoencoder(CONFIG).save_pretrained(tmp_path / "weights" / "autoencoder")
    assert initial("simulated", "autoencoder", Autoencoder, CONFIG).config == CONFIG
    assert initial("simulated", "autoencoder", Autoencoder, AutoencoderConfig()) is None

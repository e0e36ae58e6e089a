"""What the tests of the dry run share."""

import pytest

from wsss_mm.engine.estimate.overlay import Overlay


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a data folder, and an overlay of it."""
    real = tmp_path / 'real'
    (real / 'data/lists').mkdir(parents=True)
    (real / 'data/lists/train.txt').write_text('a\nb\n')
    (real / 'data/image.jpg').write_text('picture')
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(real)
    return Overlay(tmp_path / 'overlay')

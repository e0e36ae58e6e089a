"""Shared by all tests: one thread, the mmseg scope, the parity fixtures."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def mmseg_scope():
    """Build parts as the shipped configs do."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def parity():
    """Load ``tests/data/parity/<name>.npz`` as a dict of tensors (arrays that torch cannot hold stay numpy)."""

    def load(name: str) -> dict:
        with np.load(ROOT / 'tests/data/parity' / f'{name}.npz', allow_pickle=False) as f:
            arrays = {k: f[k] for k in f.files}
        return {k: torch.from_numpy(v.copy()) if v.dtype.kind in 'fiub' and v.ndim else v for k, v in arrays.items()}
    return load

"""Own checkpoints load with ``weights_only=True``; hostile and broken files are refused in words."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from wsss_mm.errors import CheckpointError, WSSSError
from wsss_mm.safe_loading import history_buffer_getattr, load_checkpoint_file


class TouchesAFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path, )


class CallsGetattr:
    """The door that allow-listing the real getattr would open."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_history_and_numpy_come_back(tmp_path):
    buffer = HistoryBuffer([1., 2.], [1, 1])
    buffer.update(6.)
    torch.save(dict(message_hub=dict(loss=buffer), best=np.float64(.5), ids=np.arange(3)), tmp_path / 'a.pth')
    loaded = load_checkpoint_file(tmp_path / 'a.pth')
    assert loaded['message_hub']['loss'].mean() == 3.
    assert loaded['best'] == .5 and loaded['ids'].tolist() == [0, 1, 2]


def test_hostile_pickle_is_refused_and_does_not_run(tmp_path):
    touched = tmp_path / 'touched'
    torch.save(dict(state_dict=TouchesAFile(touched)), tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match='could run code') as caught:
        load_checkpoint_file(tmp_path / 'bad.pth')
    assert not touched.exists()
    assert 'bad.pth' in str(caught.value) and 'weights_only' not in str(caught.value)


def test_getattr_is_not_open(tmp_path):
    torch.save(dict(x=CallsGetattr()), tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match='could run code'):
        load_checkpoint_file(tmp_path / 'bad.pth')
    for owner, name in ((torch, 'load'), (HistoryBuffer, '__init__'), (HistoryBuffer, '__globals__')):
        with pytest.raises(pickle.UnpicklingError):
            history_buffer_getattr(owner, name)


def test_missing_and_cut_files_say_so(tmp_path):
    with pytest.raises(CheckpointError, match='no such checkpoint'):
        load_checkpoint_file(tmp_path / 'none.pth')
    torch.save(dict(w=torch.zeros(1000)), tmp_path / 'whole.pth')
    data = (tmp_path / 'whole.pth').read_bytes()
    (tmp_path / 'half.pth').write_bytes(data[:len(data) // 2])
    with pytest.raises(CheckpointError, match='not readable'):
        load_checkpoint_file(tmp_path / 'half.pth')


def test_errors_survive_the_way_between_processes():
    error = CheckpointError('broken', file='a.pth', expected='whole', fix='copy it')
    back = pickle.loads(pickle.dumps(error))
    assert isinstance(back, WSSSError) and str(back) == str(error) and 'to mend it: copy it' in str(back)

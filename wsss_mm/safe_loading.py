"""Checkpoints without pickle's code execution.

``torch.load`` has been ``weights_only=True`` since torch 2.6 and then refuses mmengine 0.10.7's own files: they
hold ``HistoryBuffer`` objects, whose bound methods are pickled as ``getattr(HistoryBuffer, name)``. We allow-list
the few harmless names and, in place of the real ``getattr``, a function that hands out nothing but
``HistoryBuffer``'s statistics. ``weights_only`` stays on everywhere.
"""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from wsss_mm.errors import CheckpointError

_LONGEST_NAME = 300   # characters of a module and what is in it
_STATISTICS = ('min', 'max', 'mean', 'current', 'statistics')


def history_buffer_getattr(owner: Any, name: str) -> Any:
    """``getattr`` restricted to ``HistoryBuffer``'s statistics methods.

    Raises:
        pickle.UnpicklingError: for any other owner or name.
    """
    is_buffer = owner is HistoryBuffer or type(owner) is HistoryBuffer
    if not (is_buffer and name in _STATISTICS):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed in a checkpoint')
    return getattr(owner, name)


def allow_own_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read what mmengine's CheckpointHook writes."""
    # What numpy's own pickles name: functions of its C extension that rebuild an array or a scalar from bytes.
    kinds = [np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.bool_]
    reconstruct: Any = np.array(0).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals([
        HistoryBuffer, np.ndarray, np.dtype, reconstruct, scalar, *[type(np.dtype(k)) for k in kinds],
        # numpy < 2 spells the module differently in older files
        (reconstruct, 'numpy.core.multiarray._reconstruct'), (scalar, 'numpy.core.multiarray.scalar'),
        (history_buffer_getattr, 'builtins.getattr'),
    ])


def load_checkpoint_file(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU with ``weights_only=True``.

    Args:
        path: A ``.pth`` file.

    Returns:
        The checkpoint's dictionary.

    Raises:
        CheckpointError: missing, unreadable, or holding objects that could run code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError('no such checkpoint', file=path, expected='a .pth file',
                              fix='train it first, or check the path')
    allow_own_checkpoints()
    try:
        _refuse_long_names(path)
        loaded = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's text suggests weights_only=False; only the line that names the culprit is passed on.
        reason = next((x for x in str(error).splitlines() if x.startswith(('Trying', 'Unsupported', 'getattr'))),
                      'it holds more than weights')
        raise CheckpointError(
            f'refused, since loading it could run code: {reason}', file=path,
            expected='tensors, numbers, strings and mmengine\'s own training history only',
            fix='re-save its weights with torch.save(model.state_dict(), path) on a machine you can afford to '
                'lose') from None
    except Exception as error:   # what a broken file makes torch and zipfile raise has no end
        raise CheckpointError(f'not readable as a checkpoint ({type(error).__name__}: {error})', file=path,
                              expected='a whole file written by torch.save',
                              fix='copy or train it again; the file may be cut short') from None
    if not isinstance(loaded, dict):
        raise CheckpointError(f'holds a {type(loaded).__name__}', file=path, expected='a dictionary of weights')
    return loaded


def _refuse_long_names(path: Path) -> None:
    """Torch searches a refused name for advice by a pattern whose time grows with the square of its length."""
    with open(path, 'rb') as stream:
        zipped = zipfile.is_zipfile(stream)
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:
                for name in (n for n in archive.namelist() if n.endswith('data.pkl')):
                    with archive.open(name) as pickled:
                        _check_names(pickled)
            return
        with open(path, 'rb') as pickled:
            for _ in range(4):   # torch's older form: a magic number, its version, the system, the object
                _check_names(pickled)
    except pickle.UnpicklingError:
        raise
    except Exception:   # broken: torch says how
        return


def _check_names(pickled: IO[bytes]) -> None:
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name in ('GLOBAL', 'INST') and len(str(argument)) > _LONGEST_NAME:
            raise pickle.UnpicklingError(f'Unsupported global: a name of {len(str(argument))} characters')


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, 'rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

"""Loading pretrained weights, refusing files of another network.

MMEngine's ``Pretrained`` initialiser loads with ``strict=False`` and only logs what did not match: a file with
other key names leaves the network at random, and the training goes on. BANA's own code has the same trap.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule, PretrainedInit, update_init_info
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from wsss_mm.errors import CheckpointError
from wsss_mm.models.backbones.mxnet_params import read_mxnet_params
from wsss_mm.safe_loading import load_checkpoint_file

StateDict = dict[str, Tensor]


def read_weights(checkpoint: str, prefix: str | None = None) -> StateDict:
    """Read a state dict.

    Args:
        checkpoint: A local file (``.pth``, or MXNet's ``.params``), or anything mmengine's loader takes
            (``torchvision://…``, a URL).
        prefix: Take only the keys under this prefix and drop it, as in ``init_cfg=dict(prefix='backbone.')``.

    Raises:
        CheckpointError: unreadable, unsafe, or without any key under ``prefix``.
    """
    loaded: dict[str, Any]
    if '://' in checkpoint:
        loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    else:
        path = Path(checkpoint).expanduser()
        loaded = read_mxnet_params(path) if path.suffix == '.params' else load_checkpoint_file(path)
    state: Any = loaded.get('state_dict', loaded)
    weights = {re.sub(r'^module\.', '', k): v for k, v in state.items()}
    if prefix is None:
        return weights
    prefix = prefix.rstrip('.') + '.'
    chosen = {k[len(prefix):]: v for k, v in weights.items() if k.startswith(prefix)}
    if not chosen:
        raise CheckpointError(f'no key starts with {prefix!r}; the first keys are {list(weights)[:3]}', file=checkpoint,
                              fix='drop `prefix` from init_cfg, or set it to what the keys start with')
    return chosen


def load_pretrained(module: nn.Module, weights: StateDict, *, file: str, optional: tuple[str, ...] = (),
                    unused: tuple[str, ...] = ()) -> list[str]:
    """Copy ``weights`` into ``module``; every key must fit, but for the exceptions named.

    Args:
        module: The network.
        weights: Its state dict, keys already converted.
        file: Where they came from, for the error.
        optional: Prefixes of parts that keep their initialisation where the file has none of that shape.
        unused: Prefixes of parts of the file that the network does not have.

    Returns:
        The network's keys that were left at their initialisation.

    Raises:
        CheckpointError: names the first keys missing, unexpected or of another shape.
    """
    own = module.state_dict()
    given = {k: v for k, v in weights.items() if k in own or not k.startswith(unused)} if unused else dict(weights)
    wrong_shape = [k for k, v in given.items() if k in own and v.shape != own[k].shape]
    counters = 'num_batches_tracked'  # absent from older files, and of no use here
    left = [k for k in own if (k not in given or k in wrong_shape) and not k.endswith(counters)]
    # Parts are taken whole: half a block of another network is no initialisation.
    left_parts = tuple({p for p in optional for k in left if k.startswith(p)})
    given = {k: v for k, v in given.items() if not (left_parts and k.startswith(left_parts))}
    missing = [k for k in left if k not in wrong_shape and not (left_parts and k.startswith(left_parts))]
    unexpected = [k for k in given if k not in own]
    shapes = [f'{k} {tuple(given[k].shape)} instead of {tuple(own[k].shape)}' for k in wrong_shape if k in given]
    if missing or unexpected or shapes:
        found = [f'{len(keys)} {what}: {", ".join(keys[:3])}{" …" if len(keys) > 3 else ""}'
                 for what, keys in (('missing', missing), ('unexpected', unexpected), ('of another shape', shapes))
                 if keys]
        raise CheckpointError('weights of another network; keys ' + '; '.join(found), file=file,
                              expected=f'the weights of {type(module).__name__}',
                              fix='check the path in init_cfg, and its `prefix`')
    module.load_state_dict(given, strict=False)
    return [k for k in own if k not in given and not k.endswith(counters)]


def _is_pretrained(config: dict[str, Any]) -> bool:
    return config['type'] in ('Pretrained', PretrainedInit)


class CheckedPretrained(BaseModule):
    """A module whose ``init_cfg=dict(type='Pretrained', …)`` refuses what does not fit.

    Attributes:
        scratch_init: Initialisers for what no checkpoint covers, used before any ``Pretrained``.
        convert: Turns foreign key names into the module's own.
        optional_parts, unused_parts: See :func:`load_pretrained`.
    """

    init_cfg: Any
    scratch_init: tuple[dict[str, Any], ...] = ()
    convert: Callable[[StateDict], StateDict] | None = None
    optional_parts: tuple[str, ...] = ()
    unused_parts: tuple[str, ...] = ()

    def __init__(self, init_cfg: dict | list[dict] | None = None) -> None:
        configs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or ())
        if all(_is_pretrained(c) for c in configs):
            configs = [dict(c) for c in self.scratch_init] + configs
        super().__init__(init_cfg=configs)

    def init_weights(self) -> None:
        """Initialise, then load the checkpoint (if any).

        Raises:
            CheckpointError: the checkpoint is of another network.
        """
        if self.is_init:
            return
        configs = self.init_cfg
        self.init_cfg = [c for c in configs if not _is_pretrained(c)]
        super().init_weights()
        self.init_cfg = configs
        for config in filter(_is_pretrained, configs):
            file = config['checkpoint']
            weights = read_weights(file, config.get('prefix'))
            if self.convert is not None:
                weights = self.convert(weights)
            left = load_pretrained(self, weights, file=file, optional=self.optional_parts, unused=self.unused_parts)
            if hasattr(self, '_params_init_info'):  # mmengine's own table of what initialised what
                update_init_info(self, init_info=f'weights of {file}')
            print_log(f'{type(self).__name__}: weights of {file}'
                      + (f'; not in it, trained from scratch: {", ".join(left)}' if left else ''), logger='current')

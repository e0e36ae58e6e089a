"""A stage's config as its sample runs it: the same parts, no downloads, paths of the overlay, fewer iterations."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from wsss_mm.engine.estimate.overlay import Overlay

# They write what a finished stage leaves, or label: stages of their own.
_LEFT_OUT = {'wsss_mm.StageHook', 'wsss_mm.PseudoLabelHook', 'StageHook', 'PseudoLabelHook'}
_MANY = 10 ** 9


def of_training(cfg: Config, overlay: Overlay, clock: Mapping[str, Any], images: int) -> dict[str, Any]:
    """The config of a training's sample.

    Args:
        cfg: The stage's config.
        overlay: Where it runs.
        clock: Arguments of :class:`~wsss_mm.engine.estimate.parts.SampleClockHook`.
        images: Images of a list.
    """
    out = _common(cfg, overlay, images)
    out.update(load_from=None, resume=False)
    # Iterations until the clock says stop; a validation afterwards, by the clock.
    out['train_cfg'] = dict(type='IterBasedTrainLoop', max_iters=_MANY, val_interval=_MANY)
    loader = out['train_dataloader']
    if (loader.get('sampler') or {}).get('type') == 'DefaultSampler':   # epochs of a few images would restart workers
        loader['sampler']['type'] = 'InfiniteSampler'
    hooks = [h for h in out.get('custom_hooks') or [] if h.get('type') not in _LEFT_OUT]
    out['custom_hooks'] = [*hooks, dict(type='wsss_mm.SampleClockHook', **clock)]
    out.setdefault('default_hooks', {})['checkpoint'] = dict(
        type='CheckpointHook', by_epoch=False, interval=_MANY, save_last=False)
    return out


def of_labelling(cfg: Config, overlay: Overlay, images: int) -> dict[str, Any]:
    """The config of a labelling run's sample; arguments as of :func:`of_training`."""
    out = _common(cfg, overlay, images)
    section = out['pseudo_labels']
    section['dataset'] = dict(type='wsss_mm.ImagesUntilDeadline', dataset=section['dataset'])
    return out


def of_tool(cfg: Config, overlay: Overlay, images: int) -> dict[str, Any]:
    """The config as any other tool reads it; arguments as of :func:`of_training`."""
    return _common(cfg, overlay, images)


def as_python(cfg: Mapping[str, Any]) -> bytes:
    """A config as the text of a config file; lists and tuples stay what they are."""
    return b'inf, nan = float("inf"), float("nan")\n' + b''.join(
        f'{key} = {value!r}\n'.encode() for key, value in cfg.items() if key.isidentifier())


def strings(node: Any) -> set[str]:
    """Every string of a config."""
    if isinstance(node, str):
        return {node}
    values = node.values() if isinstance(node, Mapping) else node if isinstance(node, (list, tuple)) else ()
    return set().union(*map(strings, values)) if values else set()


def _common(cfg: Config, overlay: Overlay, images: int) -> dict[str, Any]:
    def changed(value: Any) -> Any:
        if isinstance(value, Mapping):
            found = {str(k): changed(v) for k, v in value.items()}
            for name in ('mask_count', 'box_count'):
                if found.get(name):   # of those there are
                    found[name] = min(found[name], max(1, images // 4))
            if _pretrained(found.get('init_cfg')):
                found['init_cfg'] = None
            if 'pretrained' in found:
                found['pretrained'] = None
            return found
        if isinstance(value, (list, tuple)):
            return type(value)(changed(v) for v in value)
        if isinstance(value, str) and os.path.isabs(value):
            return str(overlay.inside(value))
        return value
    return {k: changed(v) for k, v in cfg.to_dict().items()}


def _pretrained(init_cfg: Any) -> bool:
    each = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    return any(isinstance(one, Mapping) and one.get('type') == 'Pretrained' for one in each)


def iterations(cfg: Config, images: int | None) -> int | None:
    """Iterations of a training; None where they depend on an unknown number of images.

    Args:
        cfg: The stage's config.
        images: Of the training's list.
    """
    loop = cfg.train_cfg
    if loop.get('by_epoch', loop.get('type') == 'EpochBasedTrainLoop'):
        if images is None:
            return None
        loader = cfg.train_dataloader
        per_epoch = images / loader.get('batch_size', 1)
        return loop.max_epochs * (math.floor(per_epoch) if loader.get('drop_last') else math.ceil(per_epoch))
    return loop.max_iters


def intervals(cfg: Config, total: int) -> tuple[int, int, int]:
    """Validations, checkpoints that are saved, and those that are kept at a time, of a training.

    Args:
        cfg: The stage's config.
        total: Its iterations.
    """
    loop, hook = cfg.train_cfg, (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    epochs = loop.get('max_epochs', 0)

    def times(interval: int, by_epoch: bool) -> int:
        of = epochs if by_epoch else total
        return 0 if interval < 1 else of // interval + (of % interval > 0)
    by_epoch = loop.get('by_epoch', loop.get('type') == 'EpochBasedTrainLoop')
    validations = times(loop.get('val_interval', 1 if by_epoch else 1000), by_epoch) if cfg.get('val_dataloader') else 0
    saved = times(hook.get('interval', -1), hook.get('by_epoch', True)) if hook else 0
    kept = saved if hook.get('max_keep_ckpts', -1) < 0 else min(saved, hook['max_keep_ckpts'])
    best = hook.get('save_best')
    return validations, saved, kept + (0 if not best else 1 if isinstance(best, str) else len(best))


def done_iterations(work_dir: str | Path) -> int:
    """Iterations of an interrupted training, by its last checkpoint's name; 0 where it counts epochs."""
    try:
        name = Path((Path(work_dir) / 'last_checkpoint').read_text().strip()).stem
    except OSError:
        return 0
    prefix, _, number = name.rpartition('_')
    return int(number) if prefix == 'iter' and number.isdigit() else 0



"""Configs for one's own data: short files on top of the package's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wsss_mm import files
from wsss_mm.datasets.label_readers import LISTS
from wsss_mm.datasets.own_data import templates
from wsss_mm.datasets.toy_voc.writer import voc_palette
from wsss_mm.errors import ConfigError

BACKBONES = ('small', 'resnet50')
_WRITTEN = '.written.json'
_FEW = 200   # pictures
_SMALL_SIDE = 256   # longest side on which the small network learns
# The config of the package below each of ours: (small, resnet50).
_BASES = dict(
    tags_classifier=('configs/cam/classifier_toy.py', 'configs/cam/classifier_voc.py'),
    tags_labels=('configs/cam/labels_auto_toy.py', 'configs/cam/labels_auto_toy.py'),
    boxes_classifier=('configs/bap/classifier_toy.py', 'configs/bap/classifier_resnet50_voc.py'),
    mixed_classifier=('configs/mixed/classifier_toy.py', 'configs/mixed/classifier_voc.py'),
    tags_deeplab=('configs/cam/deeplabv2_toy.py', 'configs/cam/deeplabv2_voc.py'),
    boxes_deeplab=('configs/bap/deeplabv2_toy.py', 'configs/bap/deeplabv2_voc.py'),
    mixed_deeplab=('configs/cam/deeplabv2_toy.py', 'configs/cam/deeplabv2_voc.py'),
    masks_deeplab=('configs/cam/deeplabv2_toy.py', 'configs/cam/deeplabv2_voc.py'))


def write_configs(out: str | Path, marker: Mapping[str, Any], find_config: Callable[[str], Path],
                  backbone: str = 'small', iterations: int | None = None,
                  say: Callable[[str], None] = print) -> dict[str, Path]:
    """Write ``<out>/configs``: the data set, and the chains for the labels there are.

    ``tags_deeplab.py`` (after ``tags_classifier.py`` and ``tags_labels.py``), ``boxes_deeplab.py`` (after
    ``boxes_classifier.py``), ``masks_deeplab.py`` and, where the images carry different labels,
    ``mixed_deeplab.py`` (after ``mixed_classifier.py``). Paths are as ``out`` was given, so they hold from the same
    working directory. A file that was edited is left as it is.

    Args:
        out: The prepared folder.
        marker: As of :func:`~wsss_mm.datasets.own_data.layout.prepare_own_data`.
        find_config: Finds a config of the package.
        backbone: ``'small'``, 0.2 M weights from scratch, or ``'resnet50'`` with ImageNet weights.
        iterations: Of every training; by default by the number of images.
        say: Told what was kept.

    Returns:
        The configs to start, by the kind of label: those of segmentors.

    Raises:
        ConfigError: no such backbone, or iterations below 10.
    """
    if backbone not in BACKBONES:
        raise ConfigError(f'backbone is {backbone!r}', expected=f'one of {BACKBONES}')
    if iterations is not None and iterations < 10:
        raise ConfigError(f'iterations is {iterations}', expected='10 or more')
    out = Path(out)
    folder = out / 'configs'
    texts = {name: templates.HEADER + text
             for name, text in _texts(out, marker, find_config, backbone, iterations).items()}
    written = files.read_json(folder / _WRITTEN) or {}
    for name, text in texts.items():
        path = folder / f'{name}.py'
        if path.is_file() and _sha(path.read_text(encoding='utf-8')) not in (written.get(name), _sha(text)):
            say(f'{path} was edited and stays as it is; delete it to have it written anew')
            continue
        files.write_atomic(path, text.encode())
        written[name] = _sha(text)
    for name in sorted(set(written) - set(texts)):   # of labels that are gone
        path = folder / f'{name}.py'
        if path.is_file() and _sha(path.read_text(encoding='utf-8')) == written.pop(name):
            path.unlink()
    files.write_json(folder / _WRITTEN, written)
    return {name.removesuffix('_deeplab'): folder / f'{name}.py' for name in texts if name.endswith('_deeplab')}


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _texts(out: Path, marker: Mapping[str, Any], find_config: Callable[[str], Path], backbone: str,
           iterations: int | None) -> dict[str, str]:
    counts, small = marker['counts'], backbone == 'small'
    number, median = len(marker['classes']), marker['median_long_side']
    side = min(median, _SMALL_SIDE) if small else 512
    kinds = ['tags', *(kind for kind in ('boxes', 'masks') if counts[f'train_{kind}'])]
    bases = {name: choices[not small] for name, choices in _BASES.items()}
    mixed = len(kinds) > 1 and any(0 < counts[f'train_{kind}'] < counts['train'] for kind in kinds[1:])
    if mixed:
        kinds.append('mixed')
    values: dict[str, Any] = dict(
        num_classes=number, with_background=number + 1, side=side, low=round(.8 * side), high=round(1.2 * side),
        crop=side, scale=round(side / median, 3) if small else 1., crf_xy=max(5, round(.11 * median)),
        crf_small=3 if median > 250 else 1, batch=16 if small else 10, workers=1 if small else 4,
        # a process more costs seconds to start
        label_workers=0 if counts['all'] <= _FEW else 1 if small else 4,
        configs=_quoted((out / 'configs').as_posix()), work=_quoted('work_dirs/' + out.resolve().name), lists=LISTS,
        iterations=iterations or _iterations(counts['train'], small),
        scored=[split for split in ('train', 'val') if counts[f'{split}_masks']],
        has_boxes=bool(counts['train_boxes']), has_masks=bool(counts['train_masks']))
    values |= dict(warm_up=values['iterations'] // 5, milestone=round(.625 * values['iterations']),
                   scales=tuple(round(values['scale'] * f, 3) for f in (1., .5, 1.5, 2.)))
    found = {'dataset': templates.dataset(
        out.as_posix(), ['background', *marker['classes']], voc_palette()[:number + 1].tolist(),
        bool(counts['val_masks']), LISTS)}
    for kind in kinds:
        for stage in ('classifier', 'labels', 'deeplab'):
            name = f'{kind}_{stage}'
            if name in bases:
                base = find_config(bases[name]).resolve().as_posix()
                found[name] = getattr(templates, stage)(kind, small, base, values)
    return found


def _quoted(text: str) -> str:
    """What stands between the quotes of a Python string."""
    return text.replace('\\', '\\\\').replace("'", "\\'")


def _iterations(images: int, small: bool) -> int:
    """So many that 60 pictures take minutes: 400 for up to 100 images, then four for every image, 4,000 at most."""
    return min(4000, max(400, 4 * images)) if small else min(20000, max(1000, 10 * images))

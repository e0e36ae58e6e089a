"""Sample runs of single stages, and what follows from them for the whole stage."""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from wsss_mm.engine.estimate import configs
from wsss_mm.engine.estimate.overlay import Overlay
from wsss_mm.engine.estimate.parts import FOLDER, SECONDS
from wsss_mm.engine.estimate.processes import Ended, run_capped
from wsss_mm.pseudo_labels.run_folder import finished_images

START = 60.   # seconds that a process, and the workers that it starts, may take to begin
_BLOCK = 4096          # files take whole blocks
_WARMUP = 3            # iterations that are not counted
_FEWEST = 3            # images or iterations behind a figure without a remark
_PASS_HOOKS = {'wsss_mm.OoDCentresHook', 'wsss_mm.DisplacementMeanHook'}   # they go through all images
_PROGRESS = re.compile(r'(\d+)/(\d+) \(100 %\)  ([\d.]+)/s')


@dataclass
class Estimate:
    """What a stage will take.

    Attributes:
        stage: Its name.
        state: ``'complete'``, or why it has to run.
        seconds: Time; None where nothing is known.
        at_least: The time is a lower bound.
        disk: Bytes that it adds; None where nothing is known.
        memory: Largest memory of the sample, bytes, all its processes; None without a sample.
        gpu: The same on the GPU.
        folder: Where it writes.
        notes: Remarks.
        figures: What the time was computed of.
    """

    stage: str
    state: str
    seconds: float | None = None
    at_least: bool = False
    disk: int | None = None
    memory: int | None = None
    gpu: int | None = None
    folder: str = ''
    notes: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


def sample_training(found: Estimate, command: Sequence[str], cfg: Config, overlay: Overlay, seconds: float,
                    counts: Mapping[str, int | None], chosen: Mapping[str, int]) -> None:
    """Fill in the estimate of a training.

    Args:
        found: Takes the figures.
        command: Trains the config that follows it.
        cfg: The stage's config.
        overlay: Where the sample runs.
        seconds: Its time, once it has begun.
        counts: Images of ``train`` and ``val``, as far as they are known.
        chosen: Images of each that the sample has.
    """
    start = time.time()
    events_path = overlay.cwd / 'events.jsonl'
    events_path.unlink(missing_ok=True)
    clock = dict(out=str(events_path), seconds=seconds / 2)
    overlay.folder(cfg.work_dir)
    config = write_config(overlay, configs.of_training(cfg, overlay, clock, chosen['train']))
    ended = run_capped([*command, config, '--no-prerequisites'], overlay.cwd, overlay.cwd / 'log.txt',
                       2 * START + 2 * seconds)
    found.memory = ended.memory or None
    events = [json.loads(line) for line in events_path.read_text().splitlines()] if events_path.is_file() else []
    of: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        of.setdefault(event['event'], []).append(event)
    if ended.code:
        found.notes.append(f'the sample failed: {_last_error(ended)}')
        return
    total = configs.iterations(cfg, counts['train'])
    if total is None:
        found.notes.append('epochs of an unknown number of images')
        return
    left = max(0, total - configs.done_iterations(cfg.work_dir))
    validations, saved, kept = configs.intervals(cfg, total)
    size = of['checkpoint'][0]['size'] if 'checkpoint' in of else None
    weights = of['weights'][0]['size'] if 'weights' in of else None
    if weights is not None:
        # An optimizer with two moments where no checkpoint was measured.
        found.disk = kept * (3 * weights if size is None else size) + weights
    if not of.get('iteration'):
        begun = of['begun'][0]['time'] if 'begun' in of else start
        found.seconds, found.at_least = left * (start + ended.seconds - begun), True
        found.notes.append('no iteration was done in time' if 'begun' in of else 'the training did not begin in time')
        if 'begun' not in of:
            found.seconds = None
        return
    walls = [e['seconds'] for e in of['iteration']]
    counted = slice(min(_WARMUP, len(walls) - 1), None)
    wall = statistics.median(walls[counted])
    step = statistics.median([e['step'] for e in of['iteration'][counted]])
    loader = cfg.train_dataloader
    workers = min(loader.get('num_workers', 0), os.cpu_count() or 1)
    loading = 0.
    if of.get('loaded') and workers:   # without workers it is part of the iteration
        loading = statistics.median(e['seconds'] for e in of['loaded']) * loader.get('batch_size', 1) / workers
    iteration = max(wall, loading)
    found.figures.update(iterations=left, iteration=iteration, step=step, loading=loading, sampled=len(walls[counted]))
    if loading > 1.1 * wall:
        found.notes.append('loading images decides')
    if len(walls) - _WARMUP < _FEWEST:
        found.notes.append(f'of {len(walls[counted])} iterations')
    scale = (counts['train'] or chosen['train']) / max(1, chosen['train'])
    passes = sum(e['seconds'] for name in ('before_train', 'after_train') for e in of.get(name, ()))
    if any(h.get('type') in _PASS_HOOKS for h in cfg.get('custom_hooks') or ()):
        passes *= scale
    begun = of['begun'][0]['time'] - start
    found.figures['start'] = begun
    found.seconds = begun + passes + left * iteration
    if 'checkpoint' in of:
        found.seconds += of['checkpoint'][0]['seconds'] * saved * left / max(1, total)
    if validations:
        _add_validation(found, of, math.ceil(validations * left / max(1, total)), counts['val'], chosen['val'])
    found.gpu = of['gpu'][0]['size'] if 'gpu' in of else None


def _add_validation(found: Estimate, of: Mapping[str, list[dict[str, Any]]], times: int, images: int | None,
                    chosen: int) -> None:
    assert found.seconds is not None
    each = [e['seconds'] / e['images'] for e in of.get('validated', ())]
    if not each or images is None:
        found.at_least = True
        found.notes.append('validation not measured')
        return
    once = statistics.mean(each[1:] or each) * images
    if 'validation' in of:   # workers, the first image, the metric
        once += max(0., of['validation'][0]['seconds'] - statistics.mean(each[1:] or each) * chosen)
    found.figures.update(validations=times, validation=once)
    found.seconds += times * once


def sample_labelling(found: Estimate, command: Sequence[str], cfg: Config, overlay: Overlay, seconds: float,
                     count: int | None, chosen: int) -> set[str]:
    """Fill in the estimate of a labelling run.

    Args:
        found, command, cfg, overlay, seconds: As of :func:`sample_training`.
        count: Images of its lists, if that is known.
        chosen: Those of the sample.

    Returns:
        Ids of the images that were labelled.
    """
    start = time.time()
    section = cfg.pseudo_labels
    out_dir = overlay.folder(section.out_dir)
    config = write_config(overlay, configs.of_labelling(cfg, overlay, chosen))
    ended = run_capped([*command, config], overlay.cwd, overlay.cwd / 'log.txt', 2 * START + 2 * seconds,
                       {SECONDS: str(seconds), FOLDER: str(out_dir)})
    found.memory = ended.memory or None
    records = finished_images(out_dir)
    sizes, times = [], []
    for record in records.values():
        stats = [(out_dir / name).stat() for name in record['files']]
        sizes.append(sum(blocks(s.st_size) for s in stats) + len(json.dumps(record)))
        times += [max(s.st_mtime for s in stats)] if stats else []
    if not records and ended.code is not None:
        found.notes.append(f'the sample failed: {_last_error(ended)}')
        return set()
    if count is None:
        found.notes.append('an unknown number of images')
        return set(records)
    left = max(0, count - len(finished_images(Path(section.out_dir))))
    workers = section.get('num_workers', 2)
    found.figures['images'] = left
    if not times:
        found.seconds, found.at_least = left * 2 * seconds / max(1, workers), True
        found.notes.append('no image was labelled in time')
        return set(records)
    times.sort()
    # What the queue holds is made beside nothing else, and while workers still start: it does not show the pace.
    skipped = min(2 * workers + 2, max(1, len(times) - 1 - _FEWEST)) if workers else 1
    # The last of the queue are made beside no network.
    last = len(times) - (min(2 * workers + 2, max(0, len(times) - skipped - _FEWEST)) if workers else 0)
    times, end = times[:last], times[-1]
    if len(times) - skipped >= 2:
        each = (times[-1] - times[skipped - 1]) / (len(times) - skipped)
        found.figures['median'] = statistics.median(b - a for a, b in zip(times[skipped - 1:], times[skipped:],
                                                                          strict=False))
    else:
        each = (end - start) / len(records)
        found.notes.append(f'of {len(records)} images, with the start')
    found.figures.update(image=each, sampled=max(1, len(times) - skipped), start=times[0] - start)
    found.seconds = times[0] - start + each * left
    whole = sum(blocks(p.stat().st_size) for p in out_dir.glob('*') if p.is_file()
                and p.name not in ('run.json', 'manifest.jsonl', 'failures.json'))
    found.disk = int((sum(sizes) + whole) / len(records) * left)
    found.figures['bytes'] = found.disk / left if left else 0.
    if len(records) < chosen:
        found.notes.append(f'{len(records)} of {chosen} images in its time')
    return set(records)


def sample_tool(found: Estimate, command: Sequence[str], overlay: Overlay, seconds: float, scale: float) -> Ended:
    """Fill in the time of a tool that shows its progress: what the progress counts grows with the images.

    Args:
        found, overlay, seconds: As of :func:`sample_training`.
        command: The whole command line.
        scale: How many times the sample's images there are.
    """
    ended = run_capped(command, overlay.cwd, overlay.cwd / 'log.txt', 2 * START + 2 * seconds)
    found.memory = ended.memory or None
    if ended.code:
        found.notes.append(f'the sample failed: {_last_error(ended)}')
        return ended
    counted = sum(int(total) / float(speed) for _, total, speed in _PROGRESS.findall(ended.output) if float(speed))
    counted = min(counted, ended.seconds)
    found.seconds = ended.seconds + counted * (scale - 1)
    found.figures.update(start=ended.seconds - counted, counted=counted, scale=scale)
    if ended.code is None:
        found.at_least = True
        found.notes.append('the sample did not end in time')
    return ended


def write_config(overlay: Overlay, cfg: Mapping[str, Any]) -> str:
    """Write a sample's config; its path."""
    path = overlay.cwd / 'sample_config.py'
    path.write_bytes(configs.as_python(cfg))
    return str(path)


def blocks(size: int) -> int:
    """The bytes that a file takes on a disk."""
    return -(-size // _BLOCK) * _BLOCK


def _last_error(ended: Ended) -> str:
    lines = [line for line in ended.output.replace('\r', '\n').splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith('error:')] or lines[-1:] or [f'exit code {ended.code}']
    return errors[-1].removeprefix('error: ')[:200]

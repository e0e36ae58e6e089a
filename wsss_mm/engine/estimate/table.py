"""Estimates as a table, their sum, and whether the disk suffices."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsss_mm.engine.estimate.samples import Estimate

_UNITS = ('B', 'kB', 'MB', 'GB', 'TB')


def summary(found: Sequence[Estimate]) -> dict[str, Any]:
    """The sum, and room on the disks.

    Args:
        found: All stages.

    Returns:
        ``seconds`` and ``disk`` of what is known, ``complete`` whether that is everything, and for each file system
        ``folder``, ``needed`` and ``free`` bytes.
    """
    disks: dict[int, dict[str, Any]] = {}
    for one in found:
        if one.disk and one.folder:
            there = _existing(Path(os.path.abspath(one.folder)))
            place = disks.setdefault(there.stat().st_dev, dict(folder=one.folder, needed=0,
                                                               free=shutil.disk_usage(there).free))
            place['needed'] += one.disk
    return dict(
        seconds=sum(one.seconds or 0. for one in found), disk=sum(one.disk or 0 for one in found),
        complete=all(one.seconds is not None and one.disk is not None and not one.at_least for one in found),
        file_systems=list(disks.values()))


def as_json(found: Sequence[Estimate]) -> dict[str, Any]:
    """Everything, as JSON's types; times in seconds, sizes in bytes."""
    return dict(stages=[asdict(one) for one in found], **summary(found))


def as_text(found: Sequence[Estimate]) -> str:
    """The table as it is printed."""
    rows = [('stage', 'state', 'time', 'disk', 'memory')]
    for one in found:
        memory = '–' if one.memory is None else size(one.memory) + (f' + {size(one.gpu)} GPU' if one.gpu else '')
        rows.append((one.stage, one.state, _time(one), '?' if one.disk is None else size(one.disk), memory))
    total = summary(found)
    least = '' if total['complete'] else 'at least '
    rows.append(('all', '', least + duration(total['seconds']), least + size(total['disk']), ''))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ['  '.join(f'{cell:<{width}}' if i < 2 else f'{cell:>{width}}'
                       for i, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]
    lines += [f'{one.stage}: {note}' for one in found for note in one.notes]
    for place in total['file_systems']:
        line = f'{place["folder"]}: {size(place["needed"])} needed here, {size(place["free"])} free'
        lines.append(line if place['needed'] < place['free'] else f'warning: {line}: not enough')
    return '\n'.join(lines)


def duration(seconds: float) -> str:
    """``12 s``, ``3 min``, ``2 h 05 min``, ``4 d 03 h``."""
    if seconds < 99.5:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    if minutes < 100:
        return f'{minutes} min'
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f'{hours} h {minutes:02d} min'
    return f'{hours // 24} d {hours % 24:02d} h'


def size(number: float) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    for unit in _UNITS:
        if number < 999.5 or unit == _UNITS[-1]:
            break
        number /= 1000
    return f'{number:.0f} {unit}' if number >= 9.95 or unit == 'B' else f'{number:.1f} {unit}'


def _time(one: Estimate) -> str:
    if one.seconds is None:
        return '?'
    return ('over ' if one.at_least else '') + duration(one.seconds)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path

"""How a folder of labels came about, as far as the run that made it wrote it down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss_mm import files

_COMPLETE: dict[Any, str] = {True: 'yes', False: 'NO, the run has not finished'}


def find_run(label_dir: str | Path) -> dict[str, Any] | None:
    """``run.json`` of a label folder or of the one above it; None where there is none."""
    for folder in (Path(label_dir), Path(label_dir).parent):
        found = files.read_json(folder / 'run.json')
        if isinstance(found, dict):
            return found
    return None


def describe_run(label_dir: str | Path) -> dict[str, str]:
    """The protocol of a labelling run as short texts, in the order of a report.

    What the run did not record is left out, never guessed; a folder without ``run.json`` gives an empty dict.
    """
    run = find_run(label_dir)
    if run is None:
        return {}
    config = run.get('config') or {}
    generator = config.get('generator') or {}
    crf = next((v for k, v in _walk(config) if k in ('refiner', 'crf') and v), None)
    found = {
        'config': run.get('config_file'), 'config hash': run.get('hash'),
        'labelled split': (config.get('dataset') or {}).get('ann_file'),
        'generator': _call(generator), 'CRF': _call(crf),
        'scales': next((v for k, v in _walk(config) if k == 'scales'), None),
        'flip': next((v for k, v in _walk(config) if k == 'flip'), None),
        'seed': next((v for k, v in _walk(run) if k == 'seed'), None),
        'checkpoint': run.get('checkpoint'), 'checkpoint SHA-256': (run.get('settings') or {}).get('checkpoint'),
        'versions': ', '.join(f'{k} {v}' for k, v in (run.get('versions') or {}).items()),
        'complete': _COMPLETE.get(run.get('complete')),
    }
    return {k: v if isinstance(v, str) else _plain(v) for k, v in found.items() if v not in (None, '', {})}


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of nested dicts and lists, outer ones first."""
    if isinstance(value, dict):
        yield from value.items()
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(inner)


def _call(part: Any) -> str | None:
    """``dict(type='X', a=1)`` as ``X(a=1)``, nested parts by their type alone."""
    if not isinstance(part, dict) or not part.get('type'):
        return None
    arguments = ', '.join(f'{k}={v.get("type", "…") if isinstance(v, dict) else v}' for k, v in part.items()
                          if k != 'type')
    return f'{str(part["type"]).split(".")[-1]}({arguments})'


def _plain(value: Any) -> str:
    return ', '.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

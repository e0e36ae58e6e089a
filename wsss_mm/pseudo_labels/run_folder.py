"""The folder of a labelling run: manifest, resume, refusal of a changed config."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss_mm import files
from wsss_mm.errors import ConfigError
from wsss_mm.safe_loading import file_sha256

Gather = Callable[[Path, Sequence[str]], Mapping[str, bytes | Iterable[bytes]]]


class RunFolder:
    """What a labelling run has written, and what is left to do.

    ``run.json`` describes the run; ``manifest.jsonl`` has a line per finished image, written after its files; several
    ranks keep ``manifest.rank<r>.jsonl`` each until one of them finds all images done and joins them, and a
    ``failures.rank<r>.json`` each where images failed.

    Args:
        root: The run's folder.
        description: What decides the labels (config, its hash, checkpoint's SHA-256 …); goes into ``run.json``.
        rank, world_size: This process among several that share the work.

    Raises:
        ConfigError: the folder holds a run of another config or checkpoint.
    """

    def __init__(self, root: str | Path, description: dict[str, Any], rank: int = 0, world_size: int = 1) -> None:
        self.root, self.description, self.rank = Path(root), description, rank
        of_rank = '' if world_size == 1 else f'.rank{rank}'
        self._own = self.root / f'manifest{of_rank}.jsonl'
        self.failures_path = self.root / f'failures{of_rank}.json'
        found = files.read_json(self.root / 'run.json')
        if found is not None and found.get('hash') != description['hash']:
            changed = [k for k in sorted({*found.get('settings', {}), *description['settings']})
                       if found.get('settings', {}).get(k) != description['settings'].get(k)]
            raise ConfigError(
                f'this folder holds labels made with other settings; changed: {", ".join(changed) or "unknown"}',
                file=self.root, expected='the same config and checkpoint, or an empty folder',
                fix=f'rm -r {self.root}   (to make them anew), or set another pseudo_labels.out_dir')
        self.root.mkdir(parents=True, exist_ok=True)
        files.remove_leftovers(self.root, rank)
        self._done = self._verified()
        if found is None or found.get('complete'):
            files.write_json(self.root / 'run.json', {**description, 'complete': False})
        # A killed run may have cut its last line short: write back the whole ones before adding more.
        alone = world_size == 1
        own = self._done.values() if alone else [r for r in read_manifest(self._own) if self._done.get(r['id']) == r]
        files.write_atomic(self._own, b''.join(map(_line, own)), rank)
        if alone:
            self._take_over()
        self._stream = open(self._own, 'ab')

    def done(self) -> set[str]:
        """Ids whose files are all there with the hashes that the manifest gives."""
        return set(self._done)

    def add(self, image_id: str, hashes: dict[str, str], notes: list[str]) -> None:
        """Add the manifest's line of one image whose files are written."""
        record = dict(id=image_id, files=hashes, notes=notes)
        self._done[image_id] = record
        self._stream.write(_line(record))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def finish(self, ids: Iterable[str], failures: dict[str, str], gather: Gather = lambda root, ids: {}) -> bool:
        """End the run: the failures, and where all ids are done the joined manifest and ``"complete": true``.

        Args:
            ids: All ids of the run, of every rank.
            failures: Error text per image id that failed in this process.
            gather: Makes the files of the whole run, see :meth:`LabelGenerator.gather`.

        Returns:
            Whether the whole run is complete.
        """
        self._stream.close()
        done = {r['id']: r for path in self._manifests() for r in read_manifest(path)}
        ids = sorted(ids)
        complete = all(i in done for i in ids)
        if failures:
            files.write_json(self.failures_path, failures)
        else:
            self.failures_path.unlink(missing_ok=True)
        if not complete:
            return False
        files.write_atomic(self.root / 'manifest.jsonl', b''.join(_line(done[i]) for i in ids), self.rank)
        self._remove_rank_files()
        made = write_files(self.root, gather(self.root, ids), self.rank)
        files.write_json(self.root / 'run.json', {**self.description, 'complete': True, 'images': len(ids),
                                                  **({'files': made} if made else {})})
        return True

    def _take_over(self) -> None:
        """Clear up after the ranks of an earlier run; their records are in this one's manifest."""
        self._remove_rank_files()
        for path in self.root.rglob(f'.*{files.TEMPORARY}*'):
            path.unlink(missing_ok=True)

    def _remove_rank_files(self) -> None:
        for path in [*self.root.glob('manifest.rank*.jsonl'), *self.root.glob('failures.rank*.json')]:
            path.unlink(missing_ok=True)

    def _manifests(self) -> list[Path]:
        return sorted(self.root.glob('manifest*.jsonl'))

    def _verified(self) -> dict[str, dict]:
        records = {r['id']: r for path in self._manifests() for r in read_manifest(path)}
        return {i: r for i, r in records.items() if all(self._intact(n, h) for n, h in r['files'].items())}

    def _intact(self, name: str, sha256: str) -> bool:
        path = self.root / name
        return path.is_file() and file_sha256(path) == sha256


def read_manifest(path: Path) -> list[dict]:
    """A manifest's records (``id``, ``files`` with their SHA-256, ``notes``); none where there is no file."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:   # also: another rank has just joined it
        return []
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:   # the line that a killed run was writing
            continue
    return records


def write_files(root: Path, result_files: Mapping[str, bytes | Iterable[bytes]], rank: int) -> dict[str, str]:
    """Write files atomically below ``root``; returns name → SHA-256."""
    return {name: files.write_atomic(root / name, data, rank) for name, data in sorted(result_files.items())}


def _line(record: dict) -> bytes:
    return (json.dumps(record, sort_keys=True) + '\n').encode()

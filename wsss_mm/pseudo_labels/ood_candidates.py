"""Candidates for out-of-distribution images: a folder of images, scored by a classifier, and draws of them.

Dissertation, section 4.3.1: images without any of the classes are worth most where the classifier takes them for one,
p(c) >= .5; section 4.5 compares other ways of choosing them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss_mm import files
from wsss_mm.config_hash import digest
from wsss_mm.datasets.label_readers import IMAGE_SUFFIXES, find_image, read_image
from wsss_mm.errors import ConfigError, DataError, describe_error
from wsss_mm.localization.multi_scale import normalised, resized
from wsss_mm.progress import Progress
from wsss_mm.pseudo_labels.run import run_together, size_batches

# Classes that an image surely does not seem to have are not written down: 20 classes would be 20 lines an image.
FLOOR = .01
_SUFFIXES = {*IMAGE_SUFFIXES, '.bmp', '.webp', '.tif', '.tiff'}
_HEADER = ['image', 'class', 'p']
_UNNAMED = ('a list of images cannot name this file\n  expected: a printable name, ending in '
            f'{" or ".join(IMAGE_SUFFIXES)}, that no other image has\n  to mend it: rename or convert it')

Scores = dict[str, list[tuple[str, float]]]   # image id -> (class name, p), the highest p first


def list_images(folder: str | Path) -> tuple[dict[str, Path], dict[str, str]]:
    """All images of a folder and its sub-folders, sorted by id.

    An id is what a list has to say for :func:`~wsss_mm.datasets.label_readers.find_image` to find the file: the path
    below the folder, with ``/``, without the suffix, or with it where two files differ in nothing else.

    Args:
        folder: Searched for files with the suffix of an image, in either case; hidden ones are left out.

    Returns:
        ``{id: file}``, and ``{name: why}`` of files that no id leads to.

    Raises:
        DataError: no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError('no such folder', file=folder, expected='a folder of candidate images',
                        fix='name it with --images')
    found, failures = {}, {}
    for name in sorted(_names(folder)):
        ids = [i for i in (name[:-len(Path(name).suffix)], name) if _leads_to(folder, i, folder / name)]
        if ids:
            found[ids[0]] = folder / name
        else:
            failures[ascii(name)[1:-1]] = _UNNAMED
    if not found:
        raise DataError('no image in this folder', file=folder, expected='files that end in '
                        + ', '.join(IMAGE_SUFFIXES), fix='name the folder that holds the images')
    return found, failures


def _names(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in names:
            if Path(name).suffix.lower() in _SUFFIXES and not name.startswith('.'):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _leads_to(folder: Path, image_id: str, path: Path) -> bool:
    if [image_id] != image_id.strip().splitlines() or not image_id.isprintable():
        return False
    try:
        return find_image(folder, image_id) == path
    except DataError:
        return False


class ScoreFile:
    """``scores.csv``: a line for each image's best class and for every further one with p >= ``FLOOR``.

    Lines are added batch by batch and reach the disk before the next batch, so a killed run goes on; a run that ends
    writes them anew, sorted by image. ``run.json`` beside it says what the scores were made with.

    Args:
        folder: Where both files are.
        settings: What decides the scores, name -> hash or plain value.

    Raises:
        ConfigError: the folder holds scores made with other settings.
        DataError: a ``scores.csv`` that is none.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self.path, self._run = Path(folder) / 'scores.csv', Path(folder) / 'run.json'
        self._description: dict[str, Any] = dict(settings=dict(settings), hash=digest(dict(settings)))
        ended = claim_folder(self._run, self._description, 'scores', f'delete {self.path} and {self._run} to score '
                             'anew, or name another --out')
        self.scores = self._read(whole=ended)
        files.write_atomic(self.path, _lines(self.scores, header=True))
        files.write_json(self._run, {**self._description, 'ended': False})
        self._stream = open(self.path, 'ab')

    def add(self, scores: Scores) -> None:
        """Add the images of one batch."""
        self.scores.update(scores)
        self._stream.write(_lines(scores))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def finish(self) -> None:
        """End the run: sort the lines by image."""
        self._stream.close()
        self.scores = dict(sorted(self.scores.items()))
        files.write_atomic(self.path, _lines(self.scores, header=True))
        files.write_json(self._run, {**self._description, 'ended': True})

    def _read(self, whole: bool) -> Scores:
        try:
            text = self.path.read_bytes().decode()
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError:
            text = self.path.read_bytes().decode(errors='replace')
        # A killed run may have cut its last line short, and may have written a part of its last image's lines.
        rows = list(csv.reader(io.StringIO(text[:text.rfind('\n') + 1])))
        scores: Scores = {}
        try:
            if rows and rows[0] != _HEADER:
                raise ValueError
            for image_id, name, p in rows[1:]:
                scores.setdefault(image_id, []).append((name, float(p)))
        except ValueError:
            raise DataError('not readable as scores', file=self.path, expected=f'CSV with the columns '
                            f'{", ".join(_HEADER)}', fix='delete it, and the images are scored anew') from None
        if scores and not whole:
            scores.popitem()
        return scores


def claim_folder(record: Path, description: Mapping[str, Any], what: str, fix: str) -> bool:
    """Say in ``record`` what a folder's files are made with; returns whether an earlier run there came to its end.

    Raises:
        ConfigError: they were made with other settings.
    """
    found = files.read_json(record)
    if found is not None and found.get('hash') != description['hash']:
        old, new = found.get('settings', {}), description['settings']
        changed = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
        raise ConfigError(f'this folder holds {what} made with other settings; changed: '
                          f'{", ".join(changed) or "unknown"}', file=record.parent,
                          expected='the same config, checkpoint and options', fix=fix)
    if found is None:
        files.write_json(record, description)
    return bool(found and found.get('ended'))


def _lines(scores: Scores, header: bool = False) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    if header:
        writer.writerow(_HEADER)
    writer.writerows((image_id, name, f'{p:.9g}') for image_id, own in scores.items() for name, p in own)
    return text.getvalue().encode()


@torch.no_grad()
def score_images(model: Any, images: Mapping[str, Path], todo: Iterable[str], table: ScoreFile,
                 classes: Sequence[str], long_side: int | None = None, batch_size: int = 8, num_workers: int = 2
                 ) -> dict[str, str]:
    """Score images with a classifier: the sigmoid of its image logits.

    Images of one size are run together, unpadded. The batches are those of the whole folder, whatever is done
    already, so an interrupted run ends with the same scores. Images are read by ``num_workers`` threads, one batch
    ahead of the network; one forward pass per image is the floor, and all there is.

    Args:
        model: A :class:`~wsss_mm.models.classifiers.CAMClassifier` in eval mode, where it shall run.
        images: ``{id: file}`` of the whole folder.
        todo: Ids to be scored.
        table: Takes the scores.
        classes: Names, without background, in the order of the logits.
        long_side: Length in pixels that the longer side is resized to; None for the images' own size.
        batch_size: Largest batch.
        num_workers: Threads that read images.

    Returns:
        Error text by id of the images that could not be scored.
    """
    ids = list(images)
    listed = set(todo)
    wanted = listed - table.scores.keys()
    batches = [[ids[i] for i in batch] for batch in size_batches([str(path) for path in images.values()], batch_size)]
    batches = [batch for batch in batches if not wanted.isdisjoint(batch)]
    failures: dict[str, str] = {}
    progress = Progress(len(listed), f'scores → {table.path}', done=len(listed) - len(wanted))
    with ThreadPoolExecutor(num_workers) as pool:
        def load(batch: list[str]) -> list[Future]:
            return [pool.submit(read_candidate, images[image_id], long_side) for image_id in batch]
        ahead = load(batches[0]) if batches else []
        for number, batch in enumerate(batches):
            loading = ahead
            ahead = load(batches[number + 1]) if number + 1 < len(batches) else []
            loaded: dict[str, np.ndarray] = {}
            for image_id, future in zip(batch, loading, strict=True):
                try:
                    loaded[image_id] = future.result()
                except Exception as error:   # one bad image never stops a run
                    failures[image_id] = describe_error(error)
            found = run_together(batch, loaded, lambda images: model(normalised(model, images)).float().cpu())
            failures |= {i: x for i, x in found.items() if isinstance(x, str)}
            table.add({i: _named(x.sigmoid().tolist(), classes) for i, x in found.items()
                       if i in wanted and not isinstance(x, str)})
            for image_id in batch:
                if image_id in wanted:
                    progress.step(failed=image_id in failures)
    progress.finish()
    return {image_id: text for image_id, text in failures.items() if image_id in wanted}


def read_candidate(path: str | Path, long_side: int | None = None) -> np.ndarray:
    """An image ``(H, W, 3)`` uint8 RGB, its longer side resized to ``long_side`` pixels where that is given."""
    image = read_image(path)
    return image if long_side is None else resized(image, long_side / max(image.shape[:2]))


def _named(values: Sequence[float], classes: Sequence[str]) -> list[tuple[str, float]]:
    ranked = sorted(zip(classes, values, strict=True), key=lambda pair: -pair[1])
    return ranked[:1] + [pair for pair in ranked[1:] if pair[1] >= FLOOR]


def hard_candidates(scores: Scores, threshold: float = .5) -> Scores:
    """The images that the classifier takes for one of the classes, each with these classes alone.

    Args:
        scores: Of all images.
        threshold: Least p(c).

    Raises:
        ConfigError: a threshold out of what ``scores`` holds.
    """
    if not FLOOR <= threshold <= 1:
        raise ConfigError(f'threshold {threshold:g}', expected=f'from {FLOOR:g} to 1')
    kept = {image_id: [pair for pair in own if pair[1] >= threshold] for image_id, own in scores.items()}
    return {image_id: own for image_id, own in kept.items() if own}


def by_class(candidates: Scores, classes: Sequence[str], count: int | None = None) -> dict[str, list[str]]:
    """Ids by the class of the highest p, each list with the highest p first; every image is in one list.

    Args:
        candidates: From :func:`hard_candidates`.
        classes: Names, in the order of the result; those without an image are left out.
        count: Take no more than so many images, the best of every class in turn.
    """
    groups = {name: sorted((i for i, own in candidates.items() if own[0][0] == name),
                           key=lambda i: (-candidates[i][0][1], i)) for name in classes}
    if count is not None:
        turns = sorted((rank, position, i) for position, group in enumerate(groups.values())
                       for rank, i in enumerate(group))
        taken = {i for _, _, i in turns[:count]}
        groups = {name: [i for i in group if i in taken] for name, group in groups.items()}
    return {name: group for name, group in groups.items() if group}


def draw_order(ids: Iterable[str], seed: int = 0) -> list[str]:
    """Ids in a random order that depends on the seed and each id alone, not on what other images there are."""
    return sorted(ids, key=lambda image_id: hashlib.sha256(f'{seed}:{image_id}'.encode()).digest())


def write_list(path: str | Path, ids: Iterable[str]) -> None:
    """A list as the configs read it: one id a line."""
    files.write_atomic(path, ''.join(f'{image_id}\n' for image_id in ids).encode())

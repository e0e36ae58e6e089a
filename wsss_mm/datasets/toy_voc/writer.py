"""Toy VOC on the disk, in PASCAL VOC's layout."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss_mm.errors import ConfigError
from wsss_mm.files import read_json, remove_leftovers, write_atomic, write_json

from .markers import read_marker
from .profiles import CLASSES, SPLITS, image_counts
from .scenes import ToyScene, scene

GENERATOR = 2                                            # raise it whenever a scene's pixels change
MARKER, UNFINISHED = 'toy_voc.json', 'toy_voc.unfinished.json'
_FOLDERS = {'JPEGImages': '.jpg', 'SegmentationClass': '.png', 'SegmentationObject': '.png',
            'ToyExtra/Head': '.png', 'ToyExtra/Context': '.png'}


def voc_palette() -> np.ndarray:
    """PASCAL VOC's colour map (256, 3) uint8: the bits of the id dealt out to red, green and blue."""
    ids = np.arange(256)
    channels = [sum(((ids >> (3 * k + c)) & 1) << (7 - k) for k in range(3)) for c in range(3)]
    return np.stack(channels, 1).astype(np.uint8)


def add_void_contour(classes: np.ndarray, instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both maps (h, w) with the background pixels that touch an object (8-neighbourhood) set to 255, as in VOC."""
    h, w = instances.shape
    padded = np.pad(instances > 0, 1)
    near = np.zeros((h, w), bool)
    for dy in range(3):
        for dx in range(3):
            near |= padded[dy:dy + h, dx:dx + w]
    void = near & (instances == 0)
    return np.where(void, 255, classes).astype(np.uint8), np.where(void, 255, instances).astype(np.uint8)


def annotation_xml(image_id: str, drawn: ToyScene) -> str:
    """VOC's annotation; boxes are 1-based and inclusive. ``sha256`` is the hash of the scene's arrays."""
    root = ElementTree.Element('annotation')

    def add(parent: ElementTree.Element, **fields: object) -> None:
        for name, value in fields.items():
            ElementTree.SubElement(parent, name).text = str(value)

    h, w = drawn.classes.shape
    add(root, folder='VOC2012', filename=f'{image_id}.jpg')
    add(ElementTree.SubElement(root, 'source'), database='Toy VOC', sha256=drawn.sha256())
    add(ElementTree.SubElement(root, 'size'), width=w, height=h, depth=3)
    add(root, segmented=1)
    for item in drawn.objects:
        element = ElementTree.SubElement(root, 'object')
        add(element, name=item.name, pose='Unspecified', truncated=int(item.truncated),
            occluded=int(item.occluded), difficult=0)
        x1, y1, x2, y2 = item.box
        add(ElementTree.SubElement(element, 'bndbox'), xmin=x1 + 1, ymin=y1 + 1, xmax=x2, ymax=y2)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding='unicode') + '\n'


def _write_image(path: Path, image: Image.Image, **options: Any) -> None:
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG' if path.suffix == '.jpg' else 'PNG', **options)
    write_atomic(path, buffer.getvalue())


def _write_scene(root: Path, image_id: str, drawn: ToyScene) -> None:
    """All files of one image; the XML comes last and vouches for the others."""
    palette = voc_palette().tobytes()
    void = dict(zip(('SegmentationClass', 'SegmentationObject'), add_void_contour(drawn.classes, drawn.instances),
                    strict=True))
    _write_image(root / f'JPEGImages/{image_id}.jpg', Image.fromarray(drawn.image), quality=95, subsampling=0)
    for folder, labels in void.items():
        image = Image.fromarray(labels)
        image.putpalette(palette)
        _write_image(root / f'{folder}/{image_id}.png', image)
    for folder, mask in (('Head', drawn.head), ('Context', drawn.context)):
        _write_image(root / f'ToyExtra/{folder}/{image_id}.png', Image.fromarray(mask.astype(np.uint8) * 255))
    write_atomic(root / f'Annotations/{image_id}.xml', annotation_xml(image_id, drawn).encode())


def _finished(root: Path, image_id: str) -> tuple[str, list[str]] | None:
    """Hash and class names of an image that is on the disk whole, else None."""
    try:
        tree = ElementTree.parse(root / f'Annotations/{image_id}.xml')
    except (OSError, ElementTree.ParseError):
        return None
    sha256 = tree.findtext('source/sha256')
    files = (root / folder / f'{image_id}{suffix}' for folder, suffix in _FOLDERS.items())
    if sha256 is None or not all(f.is_file() and f.stat().st_size for f in files):
        return None
    return sha256, [element.text or '' for element in tree.findall('object/name')]


def _draw_one(job: tuple[str, str, int, str, int]) -> tuple[str, str, list[str]]:
    """Draw and write one image unless it is there; returns its id, hash and class names."""
    root, profile, seed, split, index = job
    image_id = f'{split}_{index:05d}'
    done = _finished(Path(root), image_id)
    if done is None:
        drawn = scene(profile, seed, split, index)
        _write_scene(Path(root), image_id, drawn)
        done = drawn.sha256(), [item.name for item in drawn.objects]
    return image_id, *done


def _results(jobs: list, workers: int) -> Iterator[tuple[str, str, list[str]]]:
    """Results in the jobs' order, from a pool where it pays."""
    if workers == 1 or len(jobs) < 2:
        yield from map(_draw_one, jobs)
        return
    # Forked workers need not import torch anew; NumPy's elementwise parts hold no locks that a fork could break.
    method = 'fork' if sys.platform.startswith('linux') else 'spawn'
    with multiprocessing.get_context(method).Pool(min(workers, len(jobs))) as pool:
        yield from pool.imap(_draw_one, jobs, chunksize=4)


def _write_lists(root: Path, split: str, found: list[tuple[str, str, list[str]]]) -> None:
    ids = ''.join(f'{image_id}\n' for image_id, _, _ in found).encode()
    for folder in ('Segmentation', 'Main'):
        write_atomic(root / f'ImageSets/{folder}/{split}.txt', ids)
    if split == 'train':   # semi-supervised: masks for one image in seven, as VOC's 1,464 of train_aug's 10,582
        masks = ''.join(f'{image_id}\n' for image_id, _, _ in found[::7]).encode()
        write_atomic(root / 'ImageSets/Segmentation/train_masks.txt', masks)
    for name in CLASSES:
        lines = (f'{image_id} {1 if name in names else -1:2d}\n' for image_id, _, names in found)
        write_atomic(root / f'ImageSets/Main/{name}_{split}.txt', ''.join(lines).encode())


def _arguments(profile: str, seed: int, counts: dict[str, int] | None) -> dict[str, Any]:
    """The marker's fields that the caller decides, checked."""
    for split, count in (counts or {}).items():
        if split not in SPLITS or not isinstance(count, int) or count < 0:
            raise ConfigError(f'counts[{split!r}]={count!r}', expected=f'images >= 0 for one of {", ".join(SPLITS)}')
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f'seed={seed!r}', expected='a non-negative integer')
    return {'profile': profile, 'seed': seed, 'generator': GENERATOR, 'counts': image_counts(profile, counts)}


def is_complete(root: str | Path, profile: str = 'boxes', seed: int = 0, counts: dict[str, int] | None = None) -> bool:
    """Whether ``draw_toy_voc`` with these arguments has finished in ``root``."""
    found = read_json(Path(root) / MARKER)
    return isinstance(found, dict) and all(found.get(k) == v for k, v in _arguments(profile, seed, counts).items())


def draw_toy_voc(root: str | Path, profile: str = 'boxes', seed: int = 0, counts: dict[str, int] | None = None,
                 progress: Callable[[int, int], None] | None = None, workers: int | None = None) -> dict[str, Any]:
    """Draw toy VOC into a folder, in PASCAL VOC's layout.

    An interrupted drawing is taken up where it stopped; the images are the same for any number of workers.

    Args:
        root: The folder; made if missing.
        profile: One of ``profiles.PROFILES``.
        seed: The world; any non-negative integer.
        counts: Numbers of images of some splits, in place of the profile's and of ``profiles.SPLITS``'s.
        progress: Called with (images done, images in all) after each image.
        workers: Processes; all cores by default.

    Returns:
        The marker ``toy_voc.json``, written last: profile, seed, generator, counts and ``sha256``, a hash of all
        images and masks before encoding. If it is there already with the same arguments, nothing is drawn.

    Raises:
        DataError: the folder holds a toy VOC drawn with other arguments.
        ConfigError: unknown profile or split, negative seed or count.
    """
    root = Path(root)
    wanted = _arguments(profile, seed, counts)
    for name in (MARKER, UNFINISHED):
        found = read_marker(root / name, wanted)
        if found is not None and name == MARKER:
            return found
    remove_leftovers(root)
    write_json(root / UNFINISHED, wanted)
    jobs = [(str(root), profile, seed, split, i) for split, count in wanted['counts'].items() for i in range(count)]
    digest = hashlib.sha256()
    found_by_split: dict[str, list[tuple[str, str, list[str]]]] = {split: [] for split in SPLITS}
    for done, (job, result) in enumerate(zip(jobs, _results(jobs, workers or os.cpu_count() or 1), strict=True), 1):
        digest.update(f'{result[0]} {result[1]}\n'.encode())
        found_by_split[job[3]].append(result)
        if progress is not None:
            progress(done, len(jobs))
    for split, found_images in found_by_split.items():
        _write_lists(root, split, found_images)
    marker = {**wanted, 'sha256': digest.hexdigest()}
    write_json(root / MARKER, marker)
    (root / UNFINISHED).unlink()
    return marker

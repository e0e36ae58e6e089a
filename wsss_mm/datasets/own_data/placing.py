"""Pictures, boxes and masks as files in VOC's layout."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from wsss_mm import files
from wsss_mm.datasets.label_readers import BORDER_TOLERANCE, read_image
from wsss_mm.datasets.own_data.boxes import Box, OwnBoxes
from wsss_mm.datasets.own_data.masks import MaskReader
from wsss_mm.datasets.own_data.pictures import Pictures, picture_size
from wsss_mm.datasets.own_data.problems import Problems
from wsss_mm.datasets.toy_voc.writer import voc_palette
from wsss_mm.datasets.voc_xml import annotation_xml
from wsss_mm.errors import DataError

Progress = Callable[[int, int], None]


class Placed(NamedTuple):
    """A picture in the layout.

    Attributes:
        name: Its file's name.
        given: Height and width as shown.
        size: Height and width as placed: smaller where it was shrunk.
    """

    name: str
    given: tuple[int, int]
    size: tuple[int, int]


def place_pictures(pictures: Pictures, folder: Path, copy: bool, max_side: int | None, problems: Problems,
                   progress: Progress | None = None) -> dict[str, Placed]:
    """Put every picture into a folder as ``<id>.jpg`` or ``<id>.png``.

    JPEG and PNG files are linked, or copied where that is asked for or links are not possible. Others, and those
    that are shrunk, are written anew: PNG of the very same pixels, or JPEG of quality 95 for a shrunk JPEG. Each is
    decoded once; what is there already and not older than its source is not read again.

    Args:
        pictures: The pictures.
        folder: Where to.
        copy: Do not link.
        max_side: Shrink what has a longer side to this many pixels; None keeps all.
        problems: Takes pictures that cannot be read.
        progress: Called with (done, total) after each.

    Returns:
        What was placed, by image id.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def place(image_id: str) -> Placed | DataError:
        try:
            return _place(pictures.path(image_id), folder, image_id, copy, max_side)
        except DataError as error:
            return error
    placed: dict[str, Placed] = {}
    pool = ThreadPoolExecutor(os.cpu_count() or 1)   # decoding leaves Python's lock, so threads are enough
    try:
        for done, (image_id, found) in enumerate(zip(pictures.names, pool.map(place, pictures.names), strict=True), 1):
            if isinstance(found, DataError):
                problems.add('a picture that cannot be read', f'{pictures.names[image_id]!r}: {found.problem}',
                             'whole pictures of 8 bits a channel',
                             'copy or convert them again, or take them out of the folder')
            else:
                placed[image_id] = found
            if progress is not None:
                progress(done, len(pictures))
    finally:
        pool.shutdown(cancel_futures=True)   # Ctrl-C does not wait for the rest
    return placed


def _place(source: Path, folder: Path, image_id: str, copy: bool, max_side: int | None) -> Placed:
    jpeg, png = source.suffix.lower() in ('.jpg', '.jpeg'), source.suffix.lower() == '.png'
    target = folder / f'{image_id}{".jpg" if jpeg else ".png"}'
    done = _up_to_date(source, target)
    image = None if done else read_image(source)
    given = picture_size(source) if image is None else image.shape[:2]
    size = _shrunk(given, max_side)
    if image is not None:
        if (jpeg or png) and size == given:
            _link(source, target, copy)
        else:
            _write_picture(image, size, target)
        if not target.is_symlink():
            stat = source.stat()
            os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return Placed(target.name, given, size)


def _shrunk(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    if max_side is None or max(size) <= max_side:
        return size
    factor = max_side / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _up_to_date(source: Path, target: Path) -> bool:
    if target.is_symlink():
        return (os.readlink(target) == str(source.resolve())
                and target.lstat().st_mtime_ns >= source.stat().st_mtime_ns)
    return target.is_file() and target.stat().st_mtime_ns == source.stat().st_mtime_ns


def _link(source: Path, target: Path, copy: bool) -> None:
    temporary = target.with_name(f'.{target.name}{files.TEMPORARY}0-{os.getpid()}')
    temporary.unlink(missing_ok=True)
    try:
        if copy:
            raise OSError
        temporary.symlink_to(source.resolve())
    except OSError:   # file systems and accounts without links
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _write_picture(image: np.ndarray, size: tuple[int, int], target: Path) -> None:
    picture = Image.fromarray(image)
    if size != image.shape[:2]:
        picture = picture.resize(size[::-1], Image.Resampling.LANCZOS)
    if target.suffix == '.png':
        _write(target, files.png_bytes(picture))
        return
    buffer = io.BytesIO()
    picture.save(buffer, 'JPEG', quality=95)
    _write(target, buffer.getvalue())


def _write(path: Path, data: bytes) -> None:
    """Write unless the file holds just that."""
    if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
        path.unlink(missing_ok=True)
        files.write_atomic(path, data)


def place_boxes(found: OwnBoxes, placed: Mapping[str, Placed], folder: Path, clip: bool, problems: Problems) -> None:
    """Write the boxes as VOC's XML, whose pixels ``box_convention='exact'`` reads back; fractions stay.

    Args:
        found: The boxes of some images.
        placed: The images.
        folder: Where to.
        clip: Clip boxes that stick out by more than a pixel; else they are a problem.
        problems: Takes boxes outside, boxes without area and sizes that are not the picture's.
    """
    if found.boxes:
        folder.mkdir(parents=True, exist_ok=True)
    for image_id, boxes in found.boxes.items():
        if image_id not in placed:
            continue
        picture = placed[image_id]
        size = found.sizes.get(image_id, picture.given)
        if size != picture.given:
            problems.add('another size than the picture\'s', f'{image_id}: {size[1]} x {size[0]} for the boxes, '
                         f'{picture.given[1]} x {picture.given[0]} the picture as shown', 'boxes in the pixels of the '
                         'picture as shown (EXIF orientation applied)', 'export boxes and pictures together')
            continue
        rows = [(box.name, corners, box.difficult) for box in boxes
                if (corners := _corners(box, picture, clip, problems)) is not None]
        _write(folder / f'{image_id}.xml', annotation_xml(picture.name, picture.size, rows).encode())


def _corners(box: Box, picture: Placed, clip: bool, problems: Problems) -> list[float] | None:
    """x1, y1, x2, y2 in the placed picture's pixels; None for what is a problem."""
    height, width = picture.given
    limit = np.array([width, height, width, height], float)
    corners = np.array(box.corners) * (limit if box.relative else 1.)
    inside = corners.clip(0, limit)
    shown = f'{box.where} ({box.name}): x1, y1, x2, y2 = {", ".join(f"{v:g}" for v in corners)}'
    if (corners[2:] <= corners[:2]).any():
        problems.add('a box without area', shown, 'x1 < x2 and y1 < y2', 'correct it or take it out')
    elif (inside[2:] <= inside[:2]).any() or (not clip and np.abs(corners - inside).max() > BORDER_TOLERANCE):
        problems.add('a box outside its picture', f'{shown}; {picture.name} is {width} x {height}', None,
                     'correct it, or clip such boxes with --clip-boxes')
    else:
        factor = np.array([picture.size[1] / width, picture.size[0] / height] * 2)
        return (inside * factor).tolist()
    return None


def place_masks(reader: MaskReader, paths: Mapping[str, Path], placed: Mapping[str, Placed], folder: Path,
                num_classes: int, problems: Problems, progress: Progress | None = None) -> dict[str, list[int]]:
    """Write masks as palette PNGs of segmentation ids, one at a time.

    Args:
        reader: Reads them.
        paths: The mask of each image that has one.
        placed: The images.
        folder: Where to.
        num_classes: With the background.
        problems: Takes what cannot be read, unknown values and other sizes than the picture's.
        progress: Called with (done, total) after each.

    Returns:
        Class indices (0 … C-1) in each mask.
    """
    folder.mkdir(parents=True, exist_ok=True)
    palette = voc_palette()[:num_classes].tolist()
    present = {}
    for done, (image_id, path) in enumerate(paths.items(), 1):
        label = reader.read(path, problems)
        picture = placed.get(image_id)
        if label is not None and picture is not None:
            if label.shape != picture.given:
                problems.add('a mask of another size than its picture', f'{path.name}: {label.shape[1]} x '
                             f'{label.shape[0]}, the picture {picture.given[1]} x {picture.given[0]}',
                             'the size of the picture as shown (EXIF orientation applied)')
            else:
                if picture.size != picture.given:
                    label = np.array(Image.fromarray(label).resize(picture.size[::-1], Image.Resampling.NEAREST))
                counts = np.bincount(label.ravel(), minlength=256)
                present[image_id] = [i - 1 for i in range(1, num_classes) if counts[i]]
                _write(folder / f'{image_id}.png', files.label_png(label, palette))
        if progress is not None:
            progress(done, len(paths))
    return present


def remove_others(folder: Path, names: Iterable[str]) -> None:
    """Remove files of an earlier run that no longer belong here."""
    kept = set(names)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in kept and (path.is_file() or path.is_symlink()):
            path.unlink()

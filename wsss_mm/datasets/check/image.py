"""What a check looks at in one image: the picture, its boxes, mask and tags."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_mm.datasets.check.duplicates import picture_hash
from wsss_mm.datasets.check.problems import Problem
from wsss_mm.datasets.label_readers import BORDER_TOLERANCE, IGNORED, read_image, read_label_map, read_voc_xml
from wsss_mm.errors import DataError

SMALLEST_SIDE = 32       # pixels; less is a cell or two of a network's map
LONGEST_SIDE = 8000
LONGEST_RATIO = 5
TINY_BOX = 4             # pixels: half a cell at a stride of 8
WHOLE_BOX = .99          # of the image: nothing is left that is background for certain
LONG_BOX = 15            # long side over short side


@dataclass(frozen=True)
class ImageJob:
    """Files and labels of one image; small, so that it can be sent to another process.

    Attributes:
        image_id: Its id.
        image: The picture's file.
        xml: Its VOC annotation; None where it has none.
        names, boxes: Class names and ``(K, 4)`` rows ``x1, y1, x2, y2`` of boxes that were read already, as those of a
            COCO file; None where ``xml`` has them, or nothing.
        size: Height and width as annotated there.
        mask: Its label map; None where it has none.
        tags: Class names; None where it has none, empty where it has none of the classes.
        clip: Boxes that stick out are clipped by the data set, and refused otherwise.
        problems: What is known to be wrong already.
    """

    image_id: str
    image: str
    xml: str | None = None
    names: tuple[str, ...] | None = None
    boxes: tuple[tuple[float, ...], ...] | None = None
    size: tuple[int, int] | None = None
    mask: str | None = None
    tags: tuple[str, ...] | None = None
    clip: bool = False
    problems: tuple[Problem, ...] = ()


@dataclass
class ImageFacts:
    """What was found.

    Attributes:
        job: What was looked at.
        size: Height and width of the picture in pixels; None if it cannot be read.
        digest: 16 bytes of the file's SHA-256.
        look: 32 bytes, :func:`picture_hash`; None where a picture has too little in it.
        tags, objects, pixels: Classes present, boxes by class, pixels by class and :data:`IGNORED`; None where there
            are no labels of that kind.
        problems: What is wrong or odd.
    """

    job: ImageJob
    size: tuple[int, int] | None = None
    digest: bytes = b''
    look: bytes | None = None
    tags: set[int] | None = None
    objects: dict[int, int] | None = None
    pixels: dict[int, int] | None = None
    problems: list[Problem] = field(default_factory=list)

    def present(self) -> set[int]:
        """Segmentation ids of the classes that any label names."""
        return (self.tags or set()) | set(self.objects or ()) | {i for i in self.pixels or () if 0 < i < IGNORED}


def look_at(job: ImageJob, classes: Sequence[str]) -> ImageFacts:
    """Read one image with its labels.

    Args:
        job: Its files.
        classes: Names, background first.
    """
    facts = ImageFacts(job, problems=list(job.problems))
    index = {name: i for i, name in enumerate(classes) if i}
    sizes = {}
    _tags(facts, index)
    try:
        if not any(p.kind == 'image' for p in job.problems):
            facts.digest = hashlib.sha256(Path(job.image).read_bytes()).digest()[:16]
            picture = read_image(job.image)
            sizes['image'] = facts.size = (picture.shape[0], picture.shape[1])
            facts.look = picture_hash(np.asarray(Image.fromarray(picture).convert('L')))
            _odd_size(facts)
    except FileNotFoundError:
        facts.problems.append(Problem('image', f'{job.image}: no such image', job.image_id))
    except OSError as error:
        facts.problems.append(Problem('image', f'{job.image}: cannot be read ({error.strerror})', job.image_id))
    except DataError as error:
        facts.problems.append(_problem('image', error, job.image_id))
    for kind, reader in dict(mask=_mask, annotation=_xml if job.xml else _rows).items():
        try:
            if (size := reader(facts, index)) is not None:
                sizes[kind] = size
        except DataError as error:
            facts.problems.append(_problem(kind, error, job.image_id))
    if len(set(sizes.values())) > 1:
        shown = ', '.join(f'{kind} {h} x {w}' for kind, (h, w) in sizes.items())
        facts.problems.append(Problem('size', f'{job.image_id}: sizes differ (height x width): {shown}', job.image_id))
    _compare(facts, classes)
    return facts


def _problem(kind: str, error: DataError, image_id: str) -> Problem:
    expected = f' (expected {error.expected})' if error.expected else ''
    return Problem(kind, f'{error.file}: {error.problem}{expected}', image_id)


def _odd_size(facts: ImageFacts) -> None:
    assert facts.size is not None
    short, long = sorted(facts.size)
    why = f'a side under {SMALLEST_SIDE}' if short < SMALLEST_SIDE else \
        f'a side over {LONGEST_SIDE}' if long > LONGEST_SIDE else \
        f'sides of more than {LONGEST_RATIO} to 1' if long > LONGEST_RATIO * short else ''
    if why:
        facts.problems.append(Problem('odd size', f'{facts.job.image_id}: {facts.size[1]} x {facts.size[0]} pixels '
                                      f'(width x height), {why}', facts.job.image_id))


def _tags(facts: ImageFacts, index: dict[str, int]) -> None:
    if facts.job.tags is None:
        return
    facts.tags = {index[name] for name in facts.job.tags if name in index}
    strange = [name for name in facts.job.tags if name not in index]
    if strange:
        facts.problems.append(Problem('tags', f'{facts.job.image_id}: unknown class {", ".join(map(repr, strange))} '
                                      'among its tags', facts.job.image_id))


def _mask(facts: ImageFacts, index: dict[str, int]) -> tuple[int, int] | None:
    path = facts.job.mask
    if path is None:
        return None
    labels = read_label_map(path)
    counts = np.bincount(labels.ravel(), minlength=256)
    present = np.flatnonzero(counts).tolist()
    unknown = [i for i in present if len(index) < i != IGNORED]
    if unknown:
        raise DataError(f'holds the ids {unknown}', file=path, expected=f'0 … {len(index)} and {IGNORED}')
    facts.pixels = {i: int(counts[i]) for i in present}
    if present == [IGNORED]:
        facts.problems.append(Problem('void mask', f'{path}: every pixel is ignored', facts.job.image_id))
    return labels.shape[0], labels.shape[1]


def _xml(facts: ImageFacts, index: dict[str, int]) -> tuple[int, int]:
    job = facts.job
    assert job.xml is not None
    try:
        found = read_voc_xml(job.xml, index, 'exact', 'clip' if job.clip else 'error')
    except DataError as error:
        found = read_voc_xml(job.xml, index, 'exact', 'clip')   # whose own error counts, if nothing can be read
        facts.problems.append(_problem('outside', error, job.image_id))
    names = {number: name for name, number in index.items()}
    _boxes(facts, found.boxes.astype(np.float64), found.labels, [names[int(i)] for i in found.labels], found.size)
    return found.size


def _rows(facts: ImageFacts, index: dict[str, int]) -> tuple[int, int] | None:
    job = facts.job
    if job.boxes is None or job.names is None:
        return None
    boxes = np.array(job.boxes, np.float64).reshape(-1, 4)
    known = np.array([name in index for name in job.names], bool)
    if not known.all():
        strange = sorted({name for name in job.names if name not in index})
        facts.problems.append(Problem('annotation', f'{job.image_id}: boxes of unknown classes {strange}',
                                      job.image_id))
    labels = np.array([index.get(name, 0) for name in job.names], np.int64)
    if job.size is not None:
        limit = np.array(job.size[::-1] * 2)
        clipped = boxes.clip(0, limit)
        off = np.abs(boxes - clipped).max(1, initial=0)
        if (off > BORDER_TOLERANCE).any():
            worst = int(off.argmax())
            facts.problems.append(Problem(
                'clipped' if job.clip else 'outside', f'{job.image_id}: {_show(boxes[worst], job.names[worst])} '
                f'lies partly outside {job.size[1]} x {job.size[0]} pixels', job.image_id))
        boxes = clipped
    area = (boxes[:, 2:] > boxes[:, :2]).all(1)
    if not area.all():
        gone = int(np.flatnonzero(~area)[0])
        facts.problems.append(Problem('no area', f'{job.image_id}: {_show(boxes[gone], job.names[gone])} has no area, '
                                      f'{(~area).sum()} of {len(boxes)} boxes', job.image_id))
    keep = np.flatnonzero(known & area)
    _boxes(facts, boxes[keep], labels[keep], [job.names[i] for i in keep], job.size or facts.size)
    return job.size


def _boxes(facts: ImageFacts, boxes: np.ndarray, labels: np.ndarray, names: Sequence[str],
           size: tuple[int, int] | None) -> None:
    """Count boxes, and note the odd ones, one line per image and kind."""
    values, counts = np.unique(labels, return_counts=True)
    facts.objects = dict(zip(values.tolist(), counts.tolist(), strict=True))
    if not len(boxes) or size is None:
        return
    sides = boxes[:, 2:] - boxes[:, :2]
    short, long = sides.min(1), sides.max(1)
    _, first, number = np.unique(np.column_stack([boxes, labels]), axis=0, return_index=True, return_inverse=True)
    twice = first[number.ravel()] != np.arange(len(boxes))
    odd = {'tiny box': short < TINY_BOX, 'whole-image box': sides.prod(1) >= WHOLE_BOX * size[0] * size[1],
           'long box': (long > LONG_BOX * short) & (short >= TINY_BOX), 'box twice': twice}
    for kind, found in odd.items():
        if found.any():
            which = int(np.flatnonzero(found)[0])
            more = f', and {found.sum() - 1} more like it' if found.sum() > 1 else ''
            facts.problems.append(Problem(kind, f'{facts.job.image_id}: {_show(boxes[which], names[which])}{more}',
                                          facts.job.image_id))


def _show(box: np.ndarray, name: str) -> str:
    return f'{name} at {", ".join(f"{v:g}" for v in box[:2])}, {box[2] - box[0]:g} x {box[3] - box[1]:g} pixels'


def _compare(facts: ImageFacts, classes: Sequence[str]) -> None:
    """Note where two kinds of labels of one image name other classes."""
    kinds = dict(tags=facts.tags, boxes=None if facts.objects is None else set(facts.objects),
                 mask=None if facts.pixels is None else {i for i in facts.pixels if 0 < i < IGNORED})
    there = {kind: found for kind, found in kinds.items() if found is not None}
    if not there and not facts.problems:
        facts.problems.append(Problem('unlabelled', f'{facts.job.image_id}: no tags, no boxes, no mask',
                                      facts.job.image_id))
    if len({frozenset(found) for found in there.values()}) > 1:
        shown = '; '.join(f'{kind}: {", ".join(classes[i] for i in sorted(found)) or "nothing"}'
                          for kind, found in there.items())
        facts.problems.append(Problem('disagreement', f'{facts.job.image_id}: {shown}', facts.job.image_id))

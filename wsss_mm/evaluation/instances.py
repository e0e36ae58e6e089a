"""Masks of single objects against the true masks of the same annotations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wsss_mm import __version__
from wsss_mm.errors import DataError
from wsss_mm.evaluation import coco_files
from wsss_mm.evaluation.coco_files import SIZE_NAMES, SIZES, run_lengths_of
from wsss_mm.evaluation.protocol import describe_run
from wsss_mm.run_lengths import mask_api

MISSING = 'missing'


@dataclass
class MaskScores:
    """Scores of the masks of single objects; every score in percent, None where there is no such object.

    Attributes:
        iou: Mean over all true objects of the IoU of the made mask with the true one. Pixels that the made mask leaves
            open (``ignore_region``) count as background; an object without a mask counts 0.
        iou_decided: The same over the pixels that are not left open alone.
        ignored_share: Mean over objects with a mask: pixels left open / (pixels of the object and left open).
        iou_by_size, iou_by_class, iou_by_status: Means of ``iou``. Size by the true area, status as the file says it.
        class_mean: Mean of ``iou_by_class``.
        counts: Objects by size, class and status.
        objects: Columns of equal length, an entry per true object: ``id``, ``iou``, ``iou_decided``, ``ignored``,
            ``area`` (pixels of the true mask), ``category``, ``status``.
        protocol: What was scored, against what, and how.
    """

    iou: float | None
    iou_decided: float | None
    ignored_share: float | None
    class_mean: float | None
    iou_by_size: dict[str, float | None]
    iou_by_class: dict[str, float | None]
    iou_by_status: dict[str, float | None]
    counts: dict[str, dict[str, int]]
    objects: dict[str, list] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return dict(unit='percent', **dataclasses.asdict(self))

    def table(self) -> str:
        """A Markdown table, and a line for what is beside it."""
        rows = [('all', self.iou, sum(self.counts['size'].values()))]
        for kind, found in (('size', self.iou_by_size), ('class', self.iou_by_class), ('status', self.iou_by_status)):
            rows += [(f'{kind}: {name}', value, self.counts[kind][name]) for name, value in found.items()]
        width = max(len(row[0]) for row in rows)
        lines = [f'| {"objects":{width}} |    IoU |   number |', f'|{"-" * (width + 2)}|-------:|---------:|']
        lines += [f'| {name:{width}} | {text(value):>6} | {count:8} |' for name, value, count in rows]
        lines += ['', f'mean over classes {text(self.class_mean)} %   IoU of the decided pixels '
                      f'{text(self.iou_decided)} %   left open {text(self.ignored_share)} % of a mask']
        return '\n'.join(lines)


def mask_ious(truth: str | Path, made: str | Path, *, ids: Sequence[str] | None = None,
              sizes: Sequence[float] = SIZES, progress: Callable[[], None] | None = None) -> MaskScores:
    """Score a COCO file of masks against the true masks of the same annotation ids.

    One call of pycocotools per image works on run lengths: it costs the runs of the masks whose boxes meet. Naive:
    decoded masks, H x W per pair.

    Args:
        truth: COCO file with true masks. Crowds are left out.
        made: COCO file with the same ids; an object's ``segmentation`` and, where pixels are left open,
            ``ignore_region``.
        ids: Image ids (stems of file names) to score; None: all of the truth.
        sizes: Sides of squares that part small, medium and large objects.
        progress: Called after each image.

    Raises:
        DataError: a file that is missing, cut short or of another kind; ids, images or categories that do not fit; a
            mask that is missing in the truth, or of another size than its image.
        ConfigError: pycocotools is not installed.
    """
    true, found = coco_files.read_truth(truth), coco_files.read_coco(made)
    if isinstance(found, list):
        raise DataError('a list of results', file=made, expected='a COCO file with the annotations of the truth',
                        fix='results with scores are scored by instance_ap')
    chosen = coco_files.choose_images(true, ids, truth)
    _check_fit(true, found, made, truth)
    images = {i['id']: i for i in true['images']}
    names = {c['id']: str(c['name']) for c in true['categories']}
    made_by_id = coco_files.index(found['annotations'], made, 'annotation')
    per_image: dict[Any, list[Mapping[str, Any]]] = {i: [] for i in chosen}
    for a in true['annotations']:
        if not a['iscrowd'] and a['image_id'] in per_image:
            per_image[a['image_id']].append(a)
    columns: dict[str, list] = {k: [] for k in ('id', 'iou', 'iou_decided', 'ignored', 'area', 'category', 'status')}
    for image_id, own in per_image.items():
        scores = _score_image(own, made_by_id, images[image_id], truth, made)
        for name, column in columns.items():
            column += [names[a['category_id']] for a in own] if name == 'category' else scores[name]
        if progress:
            progress()
    if not columns['id']:
        raise DataError('no object in the chosen images', file=truth, expected='at least one that is no crowd')
    return _summary(columns, list(names.values()), sizes, dict(
        truth=str(truth), made=str(made), images=len(chosen), missing=columns['status'].count(MISSING),
        sizes=list(sizes), ignored='pixels left open count as background', crowds='left out', version=__version__,
        run=describe_run(Path(made).parent)))


def _score_image(annotations: Sequence[Mapping[str, Any]], made_by_id: Mapping[Any, Mapping[str, Any]],
                 image: Mapping[str, Any], truth: str | Path, made: str | Path) -> dict[str, list]:
    """Columns of the objects of one image."""
    api = mask_api()
    true = [run_lengths_of(a, image, truth) for a in annotations]
    empty = api.frPyObjects(dict(size=[image['height'], image['width']],
                                 counts=[image['height'] * image['width']]), image['height'], image['width'])
    there = [made_by_id.get(a['id']) for a in annotations]
    masks = [empty if a is None else run_lengths_of(a, image, made) for a in there]
    opened = [run_lengths_of(a, image, made, 'ignore_region') if a is not None and a.get('ignore_region') else empty
              for a in there]
    if not annotations:
        return {k: [] for k in ('id', 'iou', 'iou_decided', 'ignored', 'area', 'status')}
    area, own, left = (api.area(x).astype(float) for x in (true, masks, opened))
    iou = np.diagonal(api.iou(masks, true, [0] * len(true)))
    inter = iou * (own + area) / (1 + iou)
    lost = np.array([float(api.area(api.merge([a, b], True))) if n else 0.
                     for a, b, n in zip(true, opened, left, strict=True)])
    return dict(
        id=[a['id'] for a in annotations], iou=iou.tolist(),
        iou_decided=_ratio(inter, own + area - lost - inter).tolist(), ignored=_ratio(left, own + left).tolist(),
        area=area.tolist(), status=[MISSING if a is None else str(a.get('status', 'made')) for a in there])


def _check_fit(true: Mapping[str, Any], found: Mapping[str, Any], made: str | Path, truth: str | Path) -> None:
    """Refuse files whose annotations are not of the same objects."""
    same = coco_files.same_categories(true['categories'], found['categories'], made)
    by_id = {a['id']: a for a in true['annotations']}
    own = {i['id']: coco_files.stem(i) for i in found['images']}
    stems = {i['id']: coco_files.stem(i) for i in true['images']}
    strange = [a.get('id') for a in found['annotations'] if a.get('id') not in by_id]
    if strange:
        raise DataError(f'{len(strange)} of {len(found["annotations"])} annotation ids are not in the truth, such as '
                        f'{strange[:3]}', file=made, expected=f'annotation ids of {truth}',
                        fix='score masks of the same split; for predictions, give every entry a `score`')
    for a in found['annotations']:
        coco_files.require(a, ('image_id', 'category_id'), made)
        other = by_id[a['id']]
        names = own.get(a['image_id'], '?'), stems[other['image_id']]
        if names[0] != names[1] or same.get(a['category_id']) != other['category_id']:
            raise DataError(f'annotation {a["id"]} is of image {names[0]} and category {a["category_id"]}', file=made,
                            expected=f'image {names[1]} and category {other["category_id"]}, as in {truth}',
                            fix='the ids are of another file; make the masks from the same annotations')


def _summary(columns: dict[str, list], classes: Sequence[str], sizes: Sequence[float], protocol: dict[str, Any]
             ) -> MaskScores:
    iou = np.array(columns['iou'])
    groups = dict(
        size=(np.array([coco_files.size_of(a, sizes) for a in columns['area']]), SIZE_NAMES),
        status=(np.array(columns['status']), sorted(set(columns['status']))))
    groups['class'] = (np.array(columns['category']), classes)
    means = {kind: {n: mean_percent(iou[of == n]) for n in names} for kind, (of, names) in groups.items()}
    with_mask = np.array(columns['status']) != MISSING
    return MaskScores(
        iou=mean_percent(iou), iou_decided=mean_percent(np.array(columns['iou_decided'])),
        ignored_share=mean_percent(np.array(columns['ignored'])[with_mask]), iou_by_size=means['size'],
        iou_by_class=means['class'], iou_by_status=means['status'], objects=columns, protocol=protocol,
        class_mean=mean_percent(np.array([v / 100 for v in means['class'].values() if v is not None])),
        counts={kind: {n: int((of == n).sum()) for n in names} for kind, (of, names) in groups.items()})


def mean_percent(values: np.ndarray) -> float | None:
    """Mean in percent; None of nothing."""
    return 100 * float(values.mean()) if len(values) else None


def text(value: float | None) -> str:
    """A score with two digits, or a dash."""
    return '–' if value is None else f'{value:.2f}'


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

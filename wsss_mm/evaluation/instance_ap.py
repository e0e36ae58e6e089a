"""Average precision of predicted instances, and how well the best of them cover the true objects."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wsss_mm import __version__
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.evaluation import coco_files
from wsss_mm.evaluation.coco_files import SIZE_NAMES, SIZES, run_lengths_of
from wsss_mm.evaluation.instances import mean_percent, text
from wsss_mm.evaluation.protocol import describe_run
from wsss_mm.run_lengths import mask_api

IOU_THRS = (.25, .5, .7, .75)
_AP_THRS = tuple(np.linspace(.5, .95, 10).round(2))


@dataclass
class InstanceAP:
    """Scores of predicted instances, in percent; None where there is no true object.

    Attributes:
        kind: ``'segm'`` or ``'bbox'``.
        ap: Mean of the AP at IoU .50, .55 … .95, over classes with true objects.
        ap_at: AP at single IoUs by ``'AP25'``, ``'AP50'`` ….
        ap_by_size: ``ap`` of small, medium and large objects.
        ap_by_class: ``ap`` of each class.
        abo: Average best overlap: for each true object the highest IoU with any prediction of its class in its image
            (0 without one), the mean over a class's objects, then over classes.
        objects, predictions: How many were scored.
        protocol: What was scored, against what, and how.
    """

    kind: str
    ap: float | None
    ap_at: dict[str, float | None]
    ap_by_size: dict[str, float | None]
    ap_by_class: dict[str, float | None]
    abo: float | None
    objects: int
    predictions: int
    protocol: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, float | None]:
        """The scores but for those of classes, by their names in tables."""
        sizes = {f'AP_{name}': value for name, value in self.ap_by_size.items()}
        return {'AP': self.ap, **self.ap_at, **sizes, 'ABO': self.abo}

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return dict(unit='percent', **dataclasses.asdict(self))

    def table(self) -> str:
        """A Markdown table, and one of the classes."""
        row = self.row()
        lines = [f'| {self.kind} | {" | ".join(row)} |', '|---' * (len(row) + 1) + '|',
                 f'| all | {" | ".join(map(text, row.values()))} |', '', '| class | AP |', '|---|---|']
        return '\n'.join([*lines, *(f'| {name} | {text(v)} |' for name, v in self.ap_by_class.items()), '',
                          f'{self.predictions} predictions, {self.objects} true objects'])


def instance_ap(truth: str | Path, made: str | Path, *, ids: Sequence[str] | None = None, kind: str | None = None,
                iou_thrs: Sequence[float] = IOU_THRS, sizes: Sequence[float] = SIZES, max_dets: int = 100
                ) -> InstanceAP:
    """Score a file of predictions.

    Args:
        truth: COCO file of the true objects.
        made: COCO results (a list), or a COCO file whose annotations have a ``score``. A file's own image numbers and
            category ids may differ from the truth's: file names and category names are compared.
        ids: Image ids (stems of file names) to score; None: all of the truth.
        kind: ``'segm'``, ``'bbox'``, or None: masks where every prediction has one.
        iou_thrs, sizes, max_dets: As of :func:`score_results`.

    Raises:
        DataError: a file that is missing, cut short or of another kind; images or categories that do not fit; a
            prediction without a score.
        ConfigError: pycocotools is not installed.
    """
    true = coco_files.read_truth(truth)
    results = read_results(made, true)
    kind = kind or ('segm' if all('segmentation' in r for r in results) else 'bbox')
    chosen = coco_files.choose_images(true, ids, truth)
    scores = score_results(true, results, kind=kind, image_ids=list(chosen), iou_thrs=iou_thrs, sizes=sizes,
                           max_dets=max_dets, file=made, truth_file=truth)
    scores.protocol.update(truth=str(truth), made=str(made), run=describe_run(Path(made).parent))
    return scores


def read_results(made: str | Path, true: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Predictions with the truth's image and category ids.

    Raises:
        DataError: see :func:`instance_ap`.
    """
    found = coco_files.read_coco(made)
    results = found if isinstance(found, list) else found['annotations']
    for r in results:
        coco_files.require(r, ('image_id', 'category_id', 'score'), made)
    if isinstance(found, dict):
        category = coco_files.same_categories(true['categories'], found['categories'], made)
        number = {coco_files.stem(i): i['id'] for i in true['images']}
        image = {i['id']: number.get(coco_files.stem(i), f'{coco_files.stem(i)} (not in the truth)')
                 for i in found['images']}
        results = [{**r, 'image_id': image.get(r['image_id'], r['image_id']),
                    'category_id': category.get(r['category_id'], r['category_id'])} for r in results]
    for name, of in (('image', 'images'), ('category', 'categories')):
        known = {x['id'] for x in true[of]}
        strange = sorted({str(r[f'{name}_id']) for r in results} - {str(k) for k in known})
        if strange:
            raise DataError(f'predictions of {name} ids that the truth has not: {", ".join(strange[:5])}', file=made,
                            expected=f'ids of the truth, such as {sorted(known)[:5]}',
                            fix='score predictions of the same split and classes')
    return results


def score_results(true: Mapping[str, Any], results: Sequence[Mapping[str, Any]], *, kind: str,
                  image_ids: Sequence[Any], iou_thrs: Sequence[float] = IOU_THRS, sizes: Sequence[float] = SIZES,
                  max_dets: int = 100, file: str | Path = 'predictions', truth_file: str | Path = 'truth'
                  ) -> InstanceAP:
    """Score predictions by pycocotools' COCOeval: 101 recall points, crowds ignored, ``difficult`` not looked at.

    Args:
        true: Of :func:`~wsss_mm.evaluation.coco_files.read_truth`.
        results: ``image_id``, ``category_id``, ``score`` and ``segmentation`` or ``bbox`` (x, y, width, height).
        kind: ``'segm'`` or ``'bbox'``.
        image_ids: Of the images to score; predictions of others are left out.
        iou_thrs: At which AP is given beside the mean of .50 … .95.
        sizes: Sides of squares that part small, medium and large objects (by the annotation's ``area``; of masks where
            it has none).
        max_dets: Best predictions of a class in an image that count, also for the best overlap.
        file, truth_file: For messages.

    Raises:
        DataError: a mask or box is missing or of another size than its image.
        ConfigError: pycocotools is not installed.
    """
    mask_api()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    if kind not in ('segm', 'bbox'):
        raise ConfigError(f'kind {kind!r}', expected="'segm' or 'bbox'")
    wanted = set(image_ids)
    images = [i for i in true['images'] if i['id'] in wanted]
    shapes = {i['id']: i for i in images}
    sides = []
    for entries, path in ((true['annotations'], truth_file), (results, file)):
        own = [_plain(e, n, shapes[e['image_id']], kind, path, entries is results)
               for n, e in enumerate(entries, 1) if e['image_id'] in wanted]
        side = COCO()
        side.dataset = dict(images=images, categories=true['categories'], annotations=own)
        sides.append(side)
    thrs = sorted({round(float(t), 4) for t in (*iou_thrs, *_AP_THRS)})
    low, high = (float(s) ** 2 for s in sizes)
    with contextlib.redirect_stdout(io.StringIO()):   # pycocotools prints
        for side in sides:
            side.createIndex()
        run = COCOeval(*sides, iouType=kind)
        run.params.iouThrs, run.params.maxDets = np.array(thrs), [max_dets]
        run.params.areaRng = [[0, 1e10], [0, low], [low, high], [high, 1e10]]
        run.params.areaRngLbl = ['all', *SIZE_NAMES]
        run.evaluate()
        run.accumulate()
    precision = run.eval['precision'][..., 0]   # (IoUs, recalls, classes, sizes), -1 without a true object
    mean = [thrs.index(t) for t in map(float, _AP_THRS)]
    return InstanceAP(
        kind=kind, ap=_there(precision[mean, :, :, 0]),
        ap_at={f'AP{100 * t:.0f}': _there(precision[thrs.index(round(float(t), 4)), :, :, 0]) for t in iou_thrs},
        ap_by_size={name: _there(precision[mean, :, :, i]) for i, name in enumerate(SIZE_NAMES, 1)},
        ap_by_class={c['name']: _there(precision[mean, :, run.params.catIds.index(c['id']), 0])
                     for c in true['categories']},
        abo=_best_overlap(run), predictions=len(sides[1].dataset['annotations']),
        objects=sum(not a['iscrowd'] for a in sides[0].dataset['annotations']),
        protocol=dict(images=len(images), evaluation='pycocotools COCOeval, 101 recall points', max_dets=max_dets,
                      sizes=list(sizes), abo='mean over classes of the mean over true objects', version=__version__))


def _plain(entry: Mapping[str, Any], number: int, image: Mapping[str, Any], kind: str, path: str | Path,
           predicted: bool) -> dict[str, Any]:
    """What COCOeval reads of an entry; ids are numbers from 1, since it takes 0 for "not matched"."""
    plain: dict[str, Any] = dict(id=number, image_id=entry['image_id'], category_id=entry['category_id'],
                                 iscrowd=0 if predicted else int(entry['iscrowd']))
    if kind == 'segm':
        plain['segmentation'] = run_lengths_of(entry, image, path)
        area = float(mask_api().area(plain['segmentation']))
    else:
        coco_files.require(entry, ('bbox', ), path)
        plain['bbox'] = list(map(float, entry['bbox']))
        area = plain['bbox'][2] * plain['bbox'][3]
    # as COCO's loadRes: of what is scored where predicted, the file's own where true
    plain['area'] = area if predicted else float(entry.get('area', area))
    return plain | dict(score=float(entry['score'])) if predicted else plain


def _best_overlap(run: Any) -> float | None:
    """Mean over classes of the mean over objects of the best IoU, from the IoUs that COCOeval has computed."""
    means = []
    for category in run.params.catIds:
        best: list[float] = []
        for image in run.params.imgIds:
            real = [not g['iscrowd'] for g in run._gts[image, category]]
            if real:   # without either, COCOeval has no table
                ious = np.asarray(run.ious[image, category]).reshape(-1, len(real))
                best += ious.max(0, initial=0.)[real].tolist()
        means += [np.mean(best)] if best else []
    return mean_percent(np.array(means))


def _there(precision: np.ndarray) -> float | None:
    return mean_percent(precision[precision > -1])

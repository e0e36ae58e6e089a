"""Galleries of the worst and best images of a scored folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wsss_mm.datasets.label_readers import find_image, read_image
from wsss_mm.evaluation import ClassSet, Scores, read_boxes, read_scored_map
from wsss_mm.structures import ClassMaps
from wsss_mm.visualization import overlay
from wsss_mm.visualization.report import Gallery, GalleryImage

_LABEL_PANELS = dict(labels='labels', y_crf='Y_crf', y_ret='Y_ret', prediction='prediction')   # key: caption
GALLERY_KEYS = {'title', 'row', 'split', 'worst', 'best', 'maps', *_LABEL_PANELS}
_SIZE = 240        # pixels of a panel's longer side
_MAX_CLASSES = 3   # panels of u_c per image


class Folders(NamedTuple):
    """Where the data lie.

    Attributes:
        images: ``<image id>.jpg`` or ``.png``.
        truth: Ground-truth PNGs.
        boxes: VOC annotations, or None.
    """

    images: Path
    truth: Path
    boxes: Path | None


def make_gallery(cfg: Mapping[str, Any], row: Mapping[str, Any], split: str, scores: Scores | None, folders: Folders,
                 classes: ClassSet) -> Gallery:
    """The worst and the best images of a row on a split: image, class maps, label maps, unreliable pixels, truth.

    Args:
        cfg: One ``gallery`` of the report's config.
        row: The row whose scores choose the images; its labels are a panel if they are none of the others.
        split: Name of the split.
        scores: The row's scores on it.
        folders: Images, truth, boxes.
        classes: Names and colours.

    Raises:
        DataError: an image or a map that is there and unreadable, or of another size.
    """
    title = cfg.get('title') or f'Worst and best images of “{row["name"]}”, {split}'
    ranked = sorted((v, i) for i, v in (scores.per_image if scores else {}).items() if v is not None)
    if not ranked:
        return Gallery(title, [], note=f'No labels of {split} in {row["labels"]}: nothing to show.')
    worst = ranked[:cfg.get('worst', 6)]
    best = ranked[len(worst):][::-1][:cfg.get('best', 6)]
    expected = (['u_0', 'class maps'] if cfg.get('maps') else []) + [n for k, n in _LABEL_PANELS.items() if cfg.get(k)]
    images, missing, seen = [], dict.fromkeys(expected, 0), set()
    for value, image_id in worst + best:
        panels, found, there = _panels(image_id, cfg, row, folders, classes)
        images.append(GalleryImage(image_id, panels, value))
        seen |= there
        for name in missing:
            missing[name] += name not in found
    if missing.get('u_0') == len(images):   # not every method has a map of the background
        del missing['u_0']
    gone = ', '.join(name if count == len(images) else f'{name} of {count} images'
                     for name, count in missing.items() if count)
    note = (f'The {len(worst)} worst and the {len(best)} best of {len(ranked)} images, each by the mIoU of that image '
            'alone over the classes in its truth or its labels.' + (f' Not saved: {gone}.' if gone else ''))
    return Gallery(title, images, note, sorted(seen), compared=bool(cfg.get('y_crf') and cfg.get('y_ret')))


def _panels(image_id: str, cfg: Mapping[str, Any], row: Mapping[str, Any], folders: Folders,
            classes: ClassSet) -> tuple[list[tuple[str, np.ndarray]], set[str], set[int]]:
    """Panels of one image, the names of those that could be drawn, and the class ids in its label maps."""
    original = read_image(find_image(folders.images, image_id))
    image = overlay.fit(original, _SIZE)
    maps = _load_maps(cfg.get('maps'), image_id)
    labels = {name: _load_labels(folder, image_id, original.shape[:2], classes) for name, folder in (
        *((caption, cfg.get(key)) for key, caption in _LABEL_PANELS.items()),
        (f'{row["name"]} (scored)', None if _shown(row['labels'], cfg) else row['labels']), ('truth', folders.truth))}
    pictures = {name: overlay.overlay_labels(image, overlay.fit(label, _SIZE, smooth=False), classes.palette)
                for name, label in labels.items() if label is not None}
    panels = [('image', _with_boxes(image, original, image_id, folders, classes))]
    if maps is not None:
        heats = [('u_0, background', maps.background)] if maps.background is not None else []
        heats += [(f'{"u_c" if heats else "class map"}, {classes.names[int(c)]}', m)
                  for c, m in list(zip(maps.class_ids, maps.maps, strict=True))[:_MAX_CLASSES]]
        panels += [(name, overlay.heat_map(overlay.resize(values, image.shape[:2]), image)) for name, values in heats]
    for name, picture in pictures.items():
        panels.append((name, picture))
        if name == 'Y_ret' and labels['Y_crf'] is not None:
            differ = labels['Y_crf'] != labels['Y_ret']
            shown = overlay.fit(differ.astype(np.uint8), _SIZE, smooth=False) > 0
            panels.append((f'unreliable, {100 * differ.mean():.1f} %',
                           overlay.mark_unreliable(overlay.greyed(image), shown)))
    found = set(pictures) | ({'class maps'} if maps is not None else set())
    found |= {'u_0'} if maps is not None and maps.background is not None else set()
    ids = {int(i) for label in labels.values() if label is not None for i in np.unique(label)}
    return panels, found, ids - {0, 255}


def _shown(folder: str | Path, cfg: Mapping[str, Any]) -> bool:
    return any(Path(folder) == Path(cfg[k]) for k in _LABEL_PANELS if cfg.get(k))


def _load_maps(folder: str | Path | None, image_id: str) -> ClassMaps | None:
    path = Path(folder or '') / f'{image_id}.npz'
    return ClassMaps.load(path) if folder and path.is_file() else None


def _load_labels(folder: str | Path | None, image_id: str, size: tuple[int, int],
                 classes: ClassSet) -> np.ndarray | None:
    path = Path(folder or '') / f'{image_id}.png'
    return read_scored_map(path, len(classes.names), size) if folder and path.is_file() else None


def _with_boxes(image: np.ndarray, original: np.ndarray, image_id: str, folders: Folders,
                classes: ClassSet) -> np.ndarray:
    path = folders.boxes / f'{image_id}.xml' if folders.boxes else None
    if path is None or not path.is_file():
        return image
    boxes, labels = read_boxes(path, classes.names, original.shape[:2])
    scale = (image.shape[1] / original.shape[1], image.shape[0] / original.shape[0])
    return overlay.draw_boxes(image, boxes, [classes.names[i] for i in labels], classes.palette[labels], scale)

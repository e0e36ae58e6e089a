"""Sheets of explained objects: where each is, what the detector looks at, and the mask made of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from wsss_mm.localization import pixel_boxes
from wsss_mm.structures import ObjectMaps, ObjectMasks
from wsss_mm.visualization.overlay import draw_boxes, fit, heat_map, overlay_labels, resize

_CELL, _GAP, _CAPTION = 300, 8, 24
_PAPER, _INK, _FAINT, _FAINT_BOX = (255, 255, 255), (32, 32, 32), (110, 110, 110), (190, 190, 190)


def object_sheet(image: np.ndarray, maps: ObjectMaps, names: Sequence[str], palette: np.ndarray,
                 masks: ObjectMasks | None = None, scores: np.ndarray | None = None, title: str = '') -> np.ndarray:
    """One picture of all explained objects of an image, a row each.

    A row shows the image with the object's box (the others faint), the attribution map around the box, and the mask
    there, if there are masks; above it the class, the score, the status, the steps and the proposals. The close-ups
    are the box with half its sides around it.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        maps: Of this image.
        names: Of the classes, the first with segmentation id 1.
        palette: ``(C + 1, 3)`` RGB per segmentation id.
        masks: Of the same objects in the same order.
        scores: ``(N,)`` of detections.
        title: A line above the rows.

    Returns:
        uint8 RGB.
    """
    columns = ['image', 'attribution'] + (['mask'] if masks is not None else [])
    rows = []
    for number in range(len(maps)):
        rows.append([picture_of_boxes(image, maps, number, names, palette), picture_of_map(image, maps, number)])
        if masks is not None:
            rows[-1].append(picture_of_mask(image, masks, number, palette))
    heights = [_CAPTION + max(cell.shape[0] for cell in row) + _GAP for row in rows]
    head = _CAPTION * (2 if title else 1)
    sheet = Image.new('RGB', (_GAP + len(columns) * (_CELL + _GAP), head + (sum(heights) or _CAPTION)), _PAPER)
    draw, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(size=15), ImageFont.load_default(size=12)
    if title:
        draw.text((_GAP, _GAP // 2), title, fill=_INK, font=font)
    for column, name in enumerate(columns):
        draw.text((_GAP + column * (_CELL + _GAP), head - 18), name, fill=_FAINT, font=small)
    if not rows:
        draw.text((_GAP, head), 'no objects', fill=_INK, font=font)
    top = head
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        caption = object_caption(maps, number, names, scores)
        if masks is not None and masks.statuses[number] != maps.statuses[number]:
            caption += f'; mask: {masks.statuses[number]}'
        draw.text((_GAP, top + 2), caption, fill=_INK, font=font)
        for column, cell in enumerate(row):
            left = _GAP + column * (_CELL + _GAP) + (_CELL - cell.shape[1]) // 2
            free = height - _CAPTION - _GAP - cell.shape[0]
            sheet.paste(Image.fromarray(cell), (left, top + _CAPTION + free // 2))
        top += height
    return np.asarray(sheet).copy()


def object_caption(maps: ObjectMaps, number: int, names: Sequence[str], scores: np.ndarray | None = None) -> str:
    """Number, class, score and how the map was found, in one line."""
    parts = [f'{int(maps.ids[number])}  {names[int(maps.labels[number]) - 1]}']
    if scores is not None:
        parts.append(f'score {scores[number]:.2f}')
    parts.append(maps.statuses[number])
    if maps.iterations[number]:
        parts.append(f'{maps.iterations[number]} steps')
    count = int(maps.positives[number])
    parts.append(f'{count} proposal' + ('' if count == 1 else 's'))
    return ', '.join(parts)


def picture_of_boxes(image: np.ndarray, maps: ObjectMaps, number: int, names: Sequence[str], palette: np.ndarray
                     ) -> np.ndarray:
    """The image with all boxes, that of one object bright and named, its longer side 300 pixels."""
    shown = fit(image, _CELL)
    scale = (shown.shape[1] / image.shape[1], shown.shape[0] / image.shape[0])
    canvas = Image.fromarray(shown)
    draw = ImageDraw.Draw(canvas)
    for box in np.delete(maps.boxes, number, 0):
        _rectangle(draw, box * np.tile(scale, 2), _FAINT_BOX)
    label = int(maps.labels[number])
    return draw_boxes(np.asarray(canvas), maps.boxes[number:number + 1], [names[label - 1]], palette[label:label + 1],
                      scale)


def picture_of_map(image: np.ndarray, maps: ObjectMaps, number: int) -> np.ndarray:
    """The attribution map of one object over the image around its box, which is drawn in white."""
    box = maps.boxes[number]
    y, x = close_up_window(box, *image.shape[:2])
    shown = fit(np.ascontiguousarray(image[y, x]), _CELL)
    values = resize(np.ascontiguousarray(maps.full_size(number)[y, x]), shown.shape[:2])
    return _outlined(heat_map(values, shown), box, y, x)


def picture_of_mask(image: np.ndarray, masks: ObjectMasks, number: int, palette: np.ndarray) -> np.ndarray:
    """The mask of one object over the image around its box, which is drawn in white; ignored pixels are cream."""
    box = masks.boxes[number]
    y, x = close_up_window(box, *image.shape[:2])
    shown = fit(np.ascontiguousarray(image[y, x]), _CELL)
    label = np.array([0, masks.labels[number], 255], np.uint8)[masks.masks[number][y, x]]
    return _outlined(overlay_labels(shown, resize(label, shown.shape[:2], smooth=False), palette), box, y, x)


def close_up_window(box: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a box with half its sides around it, as far as the image goes."""
    x1, y1, x2, y2 = (float(v) for v in box)
    reach_x, reach_y = (x2 - x1) / 2, (y2 - y1) / 2
    wide = torch.tensor([[x1 - reach_x, y1 - reach_y, x2 + reach_x, y2 + reach_y]])
    left, top, right, bottom = pixel_boxes(wide, height, width)[0].tolist()
    return slice(top, bottom), slice(left, right)


def _outlined(picture: np.ndarray, box: np.ndarray, y: slice, x: slice) -> np.ndarray:
    """A close-up with the box."""
    scale = [picture.shape[1] / (x.stop - x.start), picture.shape[0] / (y.stop - y.start)]
    canvas = Image.fromarray(picture)
    moved = (np.asarray(box, np.float64) - [x.start, y.start] * 2) * np.tile(scale, 2)
    _rectangle(ImageDraw.Draw(canvas), moved, (255, 255, 255))
    return np.asarray(canvas).copy()


def _rectangle(draw: ImageDraw.ImageDraw, box: np.ndarray, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = (round(float(v)) for v in box)
    draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour)

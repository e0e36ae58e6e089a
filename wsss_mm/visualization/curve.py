"""Scores over the background threshold as a picture; Pillow only."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsss_mm.files import write_atomic

# Dark, and apart for colour-blind readers.
_LINES = (('miou', 'mIoU', (0, 103, 165), 3), ('precision', 'precision', (0, 131, 106), 2),
          ('recall', 'recall', (196, 99, 20), 2))
_SIZE, _MARGINS = (640, 380), (46, 40, 16, 44)   # width, height; left, top, right, bottom
_ZOOM = 2                                        # drawn larger, for sharp screens
_SOFT, _TEXT = (217, 220, 225), (27, 31, 36)


def draw_curve(found: Mapping[str, Any], title: str, marks: Mapping[str, float] | None = None) -> np.ndarray:
    """mIoU, precision and recall over the threshold, with vertical lines at thresholds of interest.

    Args:
        found: Of :meth:`~wsss_mm.evaluation.ThresholdCurve.to_json`: percent, None where undefined.
        title: Above the plot.
        marks: Threshold by name, as ``{'best': .17}``.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    canvas = Image.new('RGB', (_SIZE[0] * _ZOOM, _SIZE[1] * _ZOOM), 'white')
    draw, small, large = ImageDraw.Draw(canvas), _font(12), _font(15)
    left, top, right, bottom = (m * _ZOOM for m in _MARGINS)
    low, high = found['thresholds'][0], found['thresholds'][-1]

    def place(threshold: float, percent: float) -> tuple[float, float]:
        x = (threshold - low) / (high - low) if high > low else .5
        return left + x * (canvas.width - left - right), canvas.height - bottom - percent / 100 * (
            canvas.height - top - bottom)
    for percent in range(0, 101, 20):
        draw.line([place(low, percent), place(high, percent)], fill=_SOFT, width=_ZOOM)
        draw.text((left - 8 * _ZOOM, place(low, percent)[1]), str(percent), _TEXT, small, 'rm')
    for threshold in np.linspace(low, high, 6):
        draw.text((place(threshold, 0)[0], canvas.height - bottom + 6 * _ZOOM), f'{threshold:.2g}', _TEXT, small, 'mt')
    draw.text((canvas.width / 2, canvas.height - 6 * _ZOOM), 'background threshold', _TEXT, small, 'mb')
    draw.text((left, 8 * _ZOOM), title, _TEXT, large, 'lt')
    for threshold in (marks or {}).values():
        x = place(threshold, 0)[0]
        draw.line([(x, top), place(threshold, 0)], fill=(90, 98, 110), width=_ZOOM)
    for i, (name, threshold) in enumerate((marks or {}).items()):
        # Marks may be close: a line of text each, over the lines of the others.
        x, text = place(threshold, 0)[0] + 4 * _ZOOM, f'{name} {threshold:.2f}'
        corner = (min(x, canvas.width - right - draw.textlength(text, small)), top + (3 + 16 * i) * _ZOOM)
        draw.rectangle(draw.textbbox(corner, text, small, 'lt'), fill='white')
        draw.text(corner, text, _TEXT, small, 'lt')
    x = canvas.width - right
    for key, name, colour, width in reversed(_LINES):
        _draw_line(draw, [(t, v) for t, v in zip(found['thresholds'], found[key], strict=True)], place, colour,
                   width * _ZOOM)
        draw.text((x, 8 * _ZOOM), name, colour, small, 'rt')
        x -= draw.textlength(name, small) + 14 * _ZOOM
    return np.asarray(canvas).copy()


def save_curve(path: str | Path, found: Mapping[str, Any], title: str,
               marks: Mapping[str, float] | None = None) -> None:
    """Write :func:`draw_curve`'s picture as a PNG, atomically."""
    write_atomic(path, png(draw_curve(found, title, marks)))


def png_uri(picture: np.ndarray) -> str:
    """``(H, W, 3)`` uint8 RGB as a PNG data URI."""
    return f'data:image/png;base64,{base64.b64encode(png(picture)).decode()}'


def png(picture: np.ndarray) -> bytes:
    """``(H, W, 3)`` uint8 RGB as a PNG with a palette: a few kilobytes for a drawing."""
    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(64, dither=Image.Dither.NONE).save(buffer, format='PNG', optimize=True)
    return buffer.getvalue()


def _draw_line(draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float | None]], place: Any,
               colour: tuple[int, int, int], width: int) -> None:
    """A line with gaps where a score is undefined."""
    for (t0, v0), (t1, v1) in zip(points, points[1:], strict=False):
        if v0 is not None and v1 is not None:
            draw.line([place(t0, v0), place(t1, v1)], fill=colour, width=width)


def _font(size: int) -> Any:
    return ImageFont.load_default(size=size * _ZOOM)

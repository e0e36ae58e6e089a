"""mIoU over the steps of localizers as a picture; Pillow only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsss_mm.files import write_atomic
from wsss_mm.visualization.curve import png

# Dark, and apart for colour-blind readers.
_COLOURS = ((0, 103, 165), (196, 99, 20), (0, 131, 106), (184, 51, 106), (106, 81, 163), (122, 106, 47))
_SIZE, _MARGINS = (640, 400), (62, 40, 18, 46)   # width, height; left, top, right, bottom
_ZOOM = 2                                        # drawn larger, for sharp screens
_SOFT, _TEXT = (217, 220, 225), (27, 31, 36)


def draw_step_curves(curves: Mapping[str, Sequence[float]], title: str = '', xlabel: str = 'steps',
                     ylabel: str = 'mIoU, %', names: Sequence[str] | None = None) -> np.ndarray:
    """A line for each variant, with a dot at each step; one step alone beside others' many is a dashed level.

    The axis of the scores shows the range that they have, so small differences are visible.

    Args:
        curves: Scores in percent after 1, 2, … steps, by the variant's name, in Latin letters (Pillow's own font has no
            others); NaN leaves a gap.
        title: Above the plot.
        xlabel, ylabel: Beside the axes.
        names: Of the steps, below the axis; default 1, 2, ….

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: no number to draw.
    """
    values = [v for line in curves.values() for v in line if not math.isnan(v)]
    if not values:
        raise ValueError('no number to draw')
    longest = max(map(len, curves.values()))
    ticks = nice_ticks(min(values), max(values))
    # The legend lies below the plot, two names in a line.
    legend = 18 * math.ceil(len(curves) / 2)
    canvas = Image.new('RGB', (_SIZE[0] * _ZOOM, (_SIZE[1] + legend) * _ZOOM), 'white')
    draw, small, large = ImageDraw.Draw(canvas), _font(12), _font(15)
    left, top, right, bottom = (m * _ZOOM for m in _MARGINS)
    floor = canvas.height - bottom - legend * _ZOOM

    def place(step: float, score: float) -> tuple[float, float]:
        x = (step - 1) / (longest - 1) if longest > 1 else .5
        return (left + x * (canvas.width - left - right),
                floor - (score - ticks[0]) / (ticks[-1] - ticks[0]) * (floor - top))
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    for tick in ticks:
        y = place(1, tick)[1]
        draw.line([(left, y), (canvas.width - right, y)], fill=_SOFT, width=_ZOOM)
        draw.text((left - 8 * _ZOOM, y), f'{tick:.{digits}f}', _TEXT, small, 'rm')
    for step in range(1, longest + 1, max(1, round(longest / 10))):
        draw.text((place(step, 0)[0], floor + 7 * _ZOOM), str(step) if names is None else names[step - 1],
                  _TEXT, small, 'mt')
    draw.text(((left + canvas.width - right) / 2, floor + 26 * _ZOOM), xlabel, _TEXT, small, 'mt')
    _upright(canvas, ylabel, small, (10 * _ZOOM, (top + floor) // 2))
    draw.text((left, 8 * _ZOOM), title, _TEXT, large, 'lt')
    for i, (name, line) in reversed(list(enumerate(curves.items()))):   # the first lies on top
        colour = _COLOURS[i % len(_COLOURS)]
        points = [place(step, v) if not math.isnan(v) else None for step, v in enumerate(line, 1)]
        for a, b in zip(points, points[1:], strict=False):
            if a and b:
                draw.line([a, b], fill=colour, width=2 * _ZOOM)
        level = len(line) == 1 < longest
        if level and points[0]:
            _dashed(draw, points[0][1], left, canvas.width - right, colour)
        for point in () if level else filter(None, points):
            _dot(draw, point, colour)
        x = left + i % 2 * (canvas.width - left - right) / 2
        y = canvas.height - (legend - 4 - 18 * (i // 2)) * _ZOOM
        if level:
            _dashed(draw, y, x, x + 22 * _ZOOM, colour)
        else:
            draw.line([(x, y), (x + 22 * _ZOOM, y)], fill=colour, width=2 * _ZOOM)
            _dot(draw, (x + 11 * _ZOOM, y), colour)
        draw.text((x + 28 * _ZOOM, y), name, _TEXT, small, 'lm')
    return np.asarray(canvas).copy()


def save_step_curves(path: str | Path, curves: Mapping[str, Sequence[float]], title: str = '', xlabel: str = 'steps',
                     ylabel: str = 'mIoU, %', names: Sequence[str] | None = None) -> None:
    """Write :func:`draw_step_curves`'s picture as a PNG, atomically."""
    write_atomic(path, png(draw_step_curves(curves, title, xlabel, ylabel, names)))


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round numbers, equally far apart, from one at or below ``low`` to one at or above ``high``; about ``count``."""
    rough = max(high - low, 1e-3) / (count - 1)
    unit = 10. ** math.floor(math.log10(rough))
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        first, last = first - 1, last + 1
    return [round(i * step, 10) for i in range(first, last + 1)]


def _dot(draw: ImageDraw.ImageDraw, centre: tuple[float, float], colour: tuple[int, int, int]) -> None:
    x, y, r = *centre, 3 * _ZOOM
    draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _dashed(draw: ImageDraw.ImageDraw, y: float, left: float, right: float, colour: tuple[int, int, int]) -> None:
    for x in np.arange(left, right, 10 * _ZOOM):
        draw.line([(x, y), (min(x + 6 * _ZOOM, right), y)], fill=colour, width=2 * _ZOOM)


def _upright(canvas: Image.Image, text: str, font: ImageFont.FreeTypeFont, centre: tuple[int, int]) -> None:
    left, top, right, bottom = map(math.ceil, font.getbbox(text))
    label = Image.new('RGB', (right, bottom), 'white')
    ImageDraw.Draw(label).text((0, 0), text, _TEXT, font)
    label = label.crop((0, top, right, bottom)).rotate(90, expand=True)
    canvas.paste(label, (centre[0], centre[1] - label.height // 2))


def _font(size: int) -> ImageFont.FreeTypeFont:
    found = ImageFont.load_default(size=size * _ZOOM)
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found

"""Pictures of label maps, class maps and boxes as RGB arrays; NumPy and Pillow only.

Everything is drawn at the size it is shown at, after :func:`fit`, so that lines and hatching stay crisp on 96-pixel
toy scenes and on photographs alike.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

IGNORED_COLOUR = (224, 224, 192)   # VOC's cream
UNRELIABLE_COLOUR = (255, 0, 170)
# Five colours of even steps in lightness and safe for colour-blind readers, dark to bright.
HEAT_COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def fit(array: np.ndarray, longest: int, smooth: bool = True) -> np.ndarray:
    """Scale a picture or map so that its longer side has ``longest`` pixels.

    Args:
        array: ``(H, W, 3)`` or ``(H, W)`` uint8, or ``(H, W)`` float32.
        longest: Pixels of the longer side.
        smooth: False for label maps: nearest pixel, no new values.
    """
    height, width = array.shape[:2]
    scale = longest / max(height, width)
    return resize(array, (max(1, round(height * scale)), max(1, round(width * scale))), smooth)


def resize(array: np.ndarray, size: tuple[int, int], smooth: bool = True) -> np.ndarray:
    """Scale a picture or map, as :func:`fit`, to ``size = (height, width)``."""
    if array.shape[:2] == tuple(size):
        return array.copy()
    how = Image.Resampling.NEAREST if not smooth else (
        Image.Resampling.BICUBIC if size[0] > array.shape[0] else Image.Resampling.LANCZOS)
    return np.asarray(Image.fromarray(array).resize(size[::-1], how)).copy()


def overlay_labels(image: np.ndarray, label: np.ndarray, palette: np.ndarray, opacity: float = .6) -> np.ndarray:
    """Lay class colours over a greyed image, with white contour lines; background stays the greyed image.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        label: ``(H, W)`` uint8 segmentation ids; 255 is drawn in cream.
        palette: ``(C, 3)`` RGB per id.
        opacity: Of the class colours.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ValueError: sizes differ.
    """
    if image.shape[:2] != label.shape:
        raise ValueError(f'image {image.shape[:2]} and label map {label.shape} differ in size')
    colours = np.zeros((256, 3), np.float32)
    colours[:len(palette)] = palette
    colours[255] = IGNORED_COLOUR
    base = greyed(image).astype(np.float32)
    mixed = base + np.where((label > 0)[..., None], opacity, 0) * (colours[label] - base)
    mixed[contours(label)] = 255
    return _bytes(mixed)


def contours(label: np.ndarray) -> np.ndarray:
    """``(H, W)`` bool: pixels whose right or lower neighbour has another label."""
    edge = np.zeros(label.shape, bool)
    edge[:, :-1] |= label[:, :-1] != label[:, 1:]
    edge[:-1] |= label[:-1] != label[1:]
    return edge


def mark_unreliable(picture: np.ndarray, unreliable: np.ndarray) -> np.ndarray:
    """Hatch pixels: diagonal pink stripes, and between them the picture moved halfway to black or white.

    Args:
        picture: ``(H, W, 3)`` uint8.
        unreliable: ``(H, W)`` bool, such as ``Y_crf != Y_ret``.

    Returns:
        ``(H, W, 3)`` uint8; pixels not marked are as before.
    """
    height, width = unreliable.shape
    period = max(4, round(max(height, width) / 32))
    stripe = (np.add.outer(np.arange(height), np.arange(width)) % period) < (period + 1) // 2
    away = np.where(picture.mean(-1, keepdims=True) > 127, 0., 255.)
    hatched = np.where(stripe[..., None], np.array(UNRELIABLE_COLOUR, np.float64), (picture + away) / 2)
    return np.where(unreliable[..., None], _bytes(hatched), picture)


def heat_map(values: np.ndarray, image: np.ndarray | None = None, opacity: float = .7) -> np.ndarray:
    """Colour a map, dark violet at 0 to yellow at 1, over a greyed image where one is given.

    Args:
        values: ``(H, W)`` in [0, 1]; clipped.
        image: ``(H, W, 3)`` uint8.
        opacity: Of the colours over the image.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    stops = np.linspace(0, 1, len(HEAT_COLOURS))
    table = np.stack([np.interp(np.linspace(0, 1, 256), stops, channel) for channel in zip(*HEAT_COLOURS, strict=True)],
                     -1)
    colours = table[np.round(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)]
    return _bytes(colours if image is None else opacity * colours + (1 - opacity) * greyed(image))


def draw_boxes(picture: np.ndarray, boxes: np.ndarray, names: Sequence[str], colours: np.ndarray,
               scale: tuple[float, float] = (1., 1.)) -> np.ndarray:
    """Draw boxes with their class names.

    Args:
        picture: ``(H, W, 3)`` uint8.
        boxes: ``(K, 4)`` ``x1, y1, x2, y2``, half-open, in pixels of the original image.
        names: One per box.
        colours: ``(K, 3)`` RGB; lightened, since VOC's are dark.
        scale: Shown pixels per original pixel, ``(x, y)``.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    canvas = Image.fromarray(picture.copy())
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=max(11, round(max(picture.shape[:2]) / 16)))
    scaled = np.asarray(boxes, np.float64).reshape(-1, 4) * np.tile(scale, 2)
    for (x1, y1, x2, y2), name, colour in zip(scaled, names, np.asarray(colours, np.int64), strict=True):
        bright = tuple(int(v) for v in 255 - (255 - colour) * .45)
        x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0))
        draw.rectangle((x1, y1, x2, y2), outline=bright, width=2)
        left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
        corner = (min(max(x1 + 1, 0), max(canvas.width - (right - left) - 5, 0)), max(y1 + 1, 0))
        draw.rectangle((*corner, corner[0] + right - left + 4, corner[1] + bottom - top + 4), fill=(0, 0, 0))
        draw.text((corner[0] + 2 - left, corner[1] + 2 - top), name, fill=bright, font=font)
    return np.asarray(canvas).copy()


def data_uri(picture: np.ndarray) -> str:
    """``(H, W, 3)`` uint8 RGB as a JPEG data URI with full colour resolution, so that thin lines keep their colour."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format='JPEG', quality=88, subsampling=0, optimize=True)
    return f'data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}'


def greyed(image: np.ndarray) -> np.ndarray:
    """The image, ``(H, W, 3)`` uint8, with most of its colour gone, so that what is laid over it stands out."""
    image = image.astype(np.float32)
    return _bytes(.25 * image + .75 * (image @ np.array([.299, .587, .114], np.float32))[..., None])


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)

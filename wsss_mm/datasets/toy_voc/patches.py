"""Texture patches with one label each, "toy ImageNet": what a backbone is pretrained on."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wsss_mm.files import write_atomic, write_json

from .exact import Draws, reduce_area
from .markers import read_marker
from .profiles import BACKDROPS, CLASSES, GROUNDS, ToyProfile, get_profile
from .scenes import add_sensor_noise
from .textures import body_colours, body_texture, ground, head_texture, pixel_grid

GENERATOR = 2                                            # raise it whenever a patch's pixels change
SIDE = 48
PATCH_NAMES = (*GROUNDS, *BACKDROPS, *(f'{c}_body' for c in CLASSES), *(f'{c}_head' for c in CLASSES))
_KEY = 4242                                              # keeps the streams apart from the scenes'


def _patch(profile: ToyProfile, seed: int, index: int) -> np.ndarray:
    """One patch (48, 48, 3) uint8 with label ``index % len(PATCH_NAMES)``."""
    draws, side = Draws(seed, _KEY, index, 0), 2 * SIDE
    name = PATCH_NAMES[index % len(PATCH_NAMES)]
    if name in GROUNDS + BACKDROPS:
        image = ground(draws, name, side, profile)
    else:
        class_name, part = name.split('_')
        unit = draws.uniform(60, 110)                    # pixels per canonical unit, as in the scenes
        rows, columns = pixel_grid(side, side)
        x, y = (columns - side / 2) * (1 / unit) + 0 * rows, (rows - side / 2) * (1 / unit) + 0 * columns
        own = np.array([draws.uniform(40, 230) for _ in range(3)], np.float32)
        if part == 'body':
            image, _ = body_texture(draws, class_name, x, y * .6, profile, _free_colour(draws, class_name, own))
        else:
            size = profile.head_size * draws.uniform(.85, 1.2)
            blend = profile.head_blend * draws.uniform(.5, 1.3)
            image = head_texture(draws, class_name, x + .65, y, size, own, blend)
    cast = np.array([draws.uniform(.93, 1.07) for _ in range(3)], np.float32)
    image = np.clip(image, 0, 255) * np.float32(draws.uniform(.7, 1.2)) * cast
    return add_sensor_noise(draws, reduce_area(image, SIDE, SIDE), profile)


def _free_colour(draws: Draws, class_name: str, own: np.ndarray) -> np.ndarray:
    """A colour of the family or any colour."""
    colours = body_colours(class_name)
    k = draws.integer(len(colours) + 1)
    return own if k == len(colours) else np.array(colours[k], np.float32)


def patches(profile: str = 'boxes', seed: int = 0, n: int = 2700,
            progress: Callable[[int, int], None] | None = None) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Draw texture patches: grounds, backdrops, bodies and heads, in turn.

    Args:
        profile: One of ``profiles.PROFILES``.
        seed: The world.
        n: Number of patches.
        progress: Called with (patches done, patches in all) after each.

    Returns:
        images (n, 48, 48, 3) uint8 RGB, labels (n,) int64, names of the 22 labels.

    Raises:
        ConfigError: unknown profile.
    """
    settings = get_profile(profile)
    images = np.zeros((n, SIDE, SIDE, 3), np.uint8)
    for index in range(n):
        images[index] = _patch(settings, seed, index)
        if progress is not None:
            progress(index + 1, n)
    return images, np.arange(n, dtype=np.int64) % len(PATCH_NAMES), PATCH_NAMES


def draw_patches(root: str | Path, profile: str = 'boxes', seed: int = 0, n: int = 2700,
                 progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Write ``patches.npz`` (images, labels, names; no pickle) and, last, its marker ``patches.json``.

    Args:
        root: The folder; made if missing.
        profile, seed, n, progress: As for ``patches``.

    Returns:
        The marker. If it is there already with the same arguments, nothing is drawn.

    Raises:
        DataError: the folder holds patches drawn with other arguments.
        ConfigError: unknown profile.
    """
    root = Path(root)
    wanted = {'profile': profile, 'seed': seed, 'n': n, 'generator': GENERATOR}
    found = read_marker(root / 'patches.json', wanted)
    if found is not None and (root / 'patches.npz').is_file():
        return found
    images, labels, names = patches(profile, seed, n, progress)
    buffer = io.BytesIO()
    np.savez(buffer, images=images, labels=labels, names=np.array(names))
    write_atomic(root / 'patches.npz', buffer.getvalue())
    marker = {**wanted, 'sha256': hashlib.sha256(images.tobytes()).hexdigest()}
    write_json(root / 'patches.json', marker)
    return marker

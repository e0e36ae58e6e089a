"""One scene of toy VOC: an image with exact masks, a pure function of (profile, seed, split, index)."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np

from wsss_mm.errors import ConfigError

from .exact import Draws, blur, cos_sin, exact_mean, noise, reduce_area
from .objects import Ellipse, Placed, Polygon, limb, paint, place
from .profiles import (
    BACKDROPS,
    CLASSES,
    CONTEXT_GROUNDS,
    GENERIC_GROUNDS,
    GROUNDS,
    SPLITS,
    ToyProfile,
    get_profile,
)
from .textures import colour, ground, material, pixel_grid

MIN_PIXELS = 40                                          # an instance with fewer visible pixels is left out
PLACE_TRIES = 6
_CLUTTER_COLOURS = {'rock': (128, 122, 116), 'bush': (58, 92, 46), 'post': (120, 92, 64)}


@dataclass(frozen=True)
class ToyObject:
    """One labelled instance; ``box`` is (x1, y1, x2, y2), 0-based and half-open, in pixels."""

    name: str
    label: int
    box: tuple[int, int, int, int]
    truncated: bool
    occluded: bool


@dataclass(frozen=True)
class ToyScene:
    """A scene and what is known about it. Arrays are (96, 96[, 3]).

    Attributes:
        image: uint8 RGB.
        classes: uint8 segmentation ids, 0 background; no void contour (the writer adds it).
        instances: uint8, k for the k-th of ``objects``, 0 elsewhere.
        objects: Annotations, in the order of ``instances``.
        head: bool, the heads of the labelled objects.
        context: bool, background that is water or rail.
        ground: Name of the ground.
    """

    image: np.ndarray
    classes: np.ndarray
    instances: np.ndarray
    objects: tuple[ToyObject, ...]
    head: np.ndarray
    context: np.ndarray
    ground: str

    def sha256(self) -> str:
        """Hash of all arrays."""
        digest = hashlib.sha256()
        for array in (self.image, self.classes, self.instances, self.head, self.context):
            digest.update(np.ascontiguousarray(array, dtype=np.uint8).tobytes())
        return digest.hexdigest()


def _choose_content(draws: Draws, law: str, index: int, profile: ToyProfile) -> tuple[list[str], str]:
    """The classes in the scene (none for ``'empty'``) and its ground."""
    grounds = profile.class_grounds
    every_class = len(grounds) == len(CLASSES)
    if law == 'empty':
        return [], CONTEXT_GROUNDS[index % 3] if index % 3 < 2 else draws.choose(GENERIC_GROUNDS)
    first = CLASSES[index % len(CLASSES)]
    names = [first]
    for _ in range(draws.choose((0, 1, 2), profile.object_counts)):
        names.append(first if draws.chance(.35) else draws.choose(CLASSES))
    if law == 'shuffled':
        # Water and rail as often as the five others together, nearly: context classes need them to compare.
        return names, draws.choose(GROUNDS if every_class else GENERIC_GROUNDS + CONTEXT_GROUNDS * 2)
    if every_class:
        return names, grounds[first] if draws.chance(profile.context_prob) else draws.choose(GROUNDS)
    with_context = [name for name in names if name in grounds]
    if with_context:                                     # at most one of the context classes per image
        names = [name for name in names if name not in grounds or name == with_context[0]]
        own = draws.chance(profile.context_prob)
        return names, grounds[with_context[0]] if own else draws.choose(GENERIC_GROUNDS)
    return names, draws.choose(CONTEXT_GROUNDS if draws.chance(profile.leak_prob) else GENERIC_GROUNDS)


def _add_backdrop(draws: Draws, canvas: np.ndarray) -> tuple[np.ndarray, int]:
    """Cover the upper part with sky, forest or brick; returns the canvas and the horizon's row."""
    side = len(canvas)
    horizon = int(draws.uniform(.2, .5) * side)
    upper = material(draws, draws.choose(BACKDROPS), side, side)
    edge = horizon + noise(draws, 1, side, 40) * draws.uniform(0, 6)
    share = np.clip(edge - pixel_grid(side, side)[0], 0, 1)[..., None]
    return canvas * (1 - share) + upper * share, horizon


def _add_clutter(draws: Draws, canvas: np.ndarray, horizon: int) -> np.ndarray:
    """One to three unlabelled rocks, bushes or posts below the horizon."""
    side = len(canvas)
    y, x = pixel_grid(side, side)
    for _ in range(1 + draws.integer(3)):
        kind = draws.choose(tuple(_CLUTTER_COLOURS))
        size = draws.uniform(.06, .16) * side
        cx, cy = draws.uniform(0, side), draws.uniform(horizon, side)
        if kind == 'post':
            outline = limb(cx, cy, cx + draws.normal(0, 3), cy - size * draws.uniform(1.5, 3), size * .12, size * .1)
        else:
            points = []
            for k in range(14):
                c, s = cos_sin(k * 2 * np.pi / 14)
                radius = size * (1 + .25 * draws.normal())
                points.append((cx + radius * c, cy + radius * s * .7))
            outline = Polygon(tuple(points))
        grain = 1 + .15 * noise(draws, side, side, 8) + .1 * noise(draws, side, side, 16)
        texture = colour(draws, _CLUTTER_COLOURS[kind], 16) * grain[..., None]
        canvas = np.where(outline.covers(x + .5, y + .5)[..., None], texture, canvas)
    return canvas


def _add_contact_shadow(draws: Draws, canvas: np.ndarray, placed: Placed) -> np.ndarray:
    """A soft dark ellipse at the object's foot."""
    y, x = pixel_grid(*canvas.shape[:2])
    wide, tall = placed.columns.stop - placed.columns.start, placed.rows.stop - placed.rows.start
    soft = 3 + .03 * wide
    foot = Ellipse(0, 0, wide * .5 + soft, tall * .1 + soft)
    dx = (x - ((placed.columns.start + placed.columns.stop) / 2 + draws.normal(0, 6))) * (1 / foot.a)
    dy = (y - (placed.rows.stop - 3)) * (1 / foot.b)
    return canvas * (1 - draws.uniform(.2, .5) * np.clip(1 - dx * dx - dy * dy, 0, 1))[..., None]


def _camera(draws: Draws, canvas: np.ndarray, profile: ToyProfile) -> np.ndarray:
    """Light, vignette, cast shadow and colour cast on the canvas, then reduction, blur, noise: uint8 image."""
    full, side = len(canvas), profile.side
    rows, columns = pixel_grid(full, full)
    y, x = rows * (1 / full) - .5, columns * (1 / full) - .5
    c, s = cos_sin(draws.uniform(0, 2 * np.pi))
    uneven = 1 - .6 * profile.evenness
    light = draws.uniform(.8, 1.15) * (1 + draws.uniform(0, .35 * uneven) * (c * x + s * y))
    light = light * (1 - draws.uniform(0, .35) * (x * x + y * y))
    if draws.chance(.35 * uneven):
        edge = c * x - s * y + .1 * noise(draws, full, full, 90) - draws.uniform(-.3, .3)
        light = light * (1 - draws.uniform(.15, .4) * np.clip(.5 - 10 * edge, 0, 1))
    cast = np.array([draws.uniform(.93, 1.07) for _ in range(3)], np.float32)
    image = reduce_area(np.clip(canvas * light[..., None] * cast, 0, 255), side, side)
    if draws.chance(.5):
        image = blur(image, draws.uniform(.3, .8))
    return add_sensor_noise(draws, image, profile)


def add_sensor_noise(draws: Draws, image: np.ndarray, profile: ToyProfile) -> np.ndarray:
    """Add the profile's pixel noise to (h, w, 3) and round down to uint8."""
    image = image + draws.normals(*image.shape) * np.float32(draws.uniform(*profile.sensor_noise))
    return np.clip(image, 0, 255).astype(np.uint8)


def _find_place(draws: Draws, name: str, side: float, horizon: int, canvas: int, profile: ToyProfile,
                start: tuple[float, float], drawn: list[Placed]) -> Placed | None:
    """A pose that covers less than 28 % of the smaller of two objects and 35 % of a head; None if none is found."""
    x, y = start
    for _ in range(PLACE_TRIES):
        placed = place(draws, name, side, x, y, canvas, profile)
        if placed is not None and _leaves_others_visible(placed, drawn, canvas):
            return placed
        x, y = _random_place(draws, side, horizon, canvas)
    return None


def _random_place(draws: Draws, side: float, horizon: int, canvas: int) -> tuple[float, float]:
    return (draws.uniform(side * .42, canvas - side * .42),
            draws.uniform(max(horizon * .9, side * .3), canvas - side * .32))


def _on_canvas(mask: np.ndarray, placed: Placed, canvas: int) -> np.ndarray:
    full = np.zeros((canvas, canvas), bool)
    full[placed.rows, placed.columns] = mask
    return full


def _leaves_others_visible(placed: Placed, drawn: list[Placed], canvas: int) -> bool:
    if not drawn:
        return True
    mask = _on_canvas(placed.mask, placed, canvas)
    for other in drawn:
        below, head = mask[other.rows, other.columns], other.head_mask
        smaller = min(int(other.mask.sum()), int(placed.mask.sum()))
        if (below & other.mask).sum() >= .28 * smaller or (below & head).sum() >= .35 * max(int(head.sum()), 1):
            return False
    return True


def draw_scene(profile: ToyProfile, law: str, index: int, draws: Draws) -> ToyScene:
    """Draw one scene of a split with that law (see ``profiles.Split``) from a stream of random numbers."""
    side = profile.side * profile.oversampling
    names, ground_name = _choose_content(draws, law, index, profile)
    canvas, horizon = ground(draws, ground_name, side, profile), 0
    if draws.chance(profile.backdrop_prob):
        canvas, horizon = _add_backdrop(draws, canvas)
    context = np.zeros((side, side), bool)
    context[horizon:] = ground_name in CONTEXT_GROUNDS
    if draws.chance(profile.clutter_prob):
        canvas = _add_clutter(draws, canvas, horizon)

    planned = []
    for name in names:
        size = draws.uniform(*profile.scale) * side * (1. if len(names) == 1 else .78)
        planned.append((name, size, _random_place(draws, size, horizon, side)))
    planned.sort(key=lambda p: p[2][1] + .3 * p[1])      # far ones, whose feet are higher up, first

    instances, heads = np.zeros((side, side), np.uint8), np.zeros((side, side), bool)
    drawn: list[Placed] = []
    for name, size, start in planned:
        placed = _find_place(draws, name, size, horizon, side, profile, start, drawn)
        if placed is None:
            continue
        cut = (placed.rows, placed.columns)
        painted = paint(draws, placed, profile, exact_mean(canvas[cut][::4, ::4]))
        if draws.chance(profile.shadow_prob) and ground_name != 'water':
            canvas = _add_contact_shadow(draws, canvas, placed)
        alpha = placed.alpha[..., None]
        canvas[cut] = canvas[cut] * (1 - alpha) + painted * alpha
        drawn.append(placed)
        instances[cut][placed.mask] = len(drawn)
        heads[cut][placed.mask] = placed.head_mask[placed.mask]

    image = _camera(draws, canvas, profile)
    step = slice(profile.oversampling // 2, None, profile.oversampling)
    return _annotate(image, instances[step, step], heads[step, step], context[step, step], drawn, ground_name,
                     profile)


def _annotate(image: np.ndarray, instances: np.ndarray, heads: np.ndarray, context: np.ndarray,
              drawn: list[Placed], ground_name: str, profile: ToyProfile) -> ToyScene:
    """Keep the instances with enough visible pixels, number them anew, measure their boxes."""
    kept, classes, objects = np.zeros_like(instances), np.zeros_like(instances), []
    last = profile.side - 1
    for k, placed in enumerate(drawn, 1):
        visible = instances == k
        count = int(visible.sum())
        if count < MIN_PIXELS:
            continue
        ys, xs = np.nonzero(visible)
        x0, y0, x1, y1 = int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())
        label = CLASSES.index(placed.class_name) + 1
        objects.append(ToyObject(
            placed.class_name, label, (x0, y0, x1 + 1, y1 + 1),
            truncated=x0 == 0 or y0 == 0 or x1 == last or y1 == last,
            occluded=count * profile.oversampling ** 2 < .9 * int(placed.mask.sum())))
        kept[visible], classes[visible] = len(objects), label
    return ToyScene(image, classes, kept, tuple(objects), heads & (kept > 0), context & (kept == 0), ground_name)


def scene(profile: str = 'boxes', seed: int = 0, split: str = 'train', index: int = 0) -> ToyScene:
    """Draw one scene in memory.

    Args:
        profile: One of ``profiles.PROFILES``.
        seed: The world; any non-negative integer.
        split: One of ``profiles.SPLITS``.
        index: Number of the image in its split, from 0.

    Raises:
        ConfigError: unknown profile or split, negative seed or index.
    """
    return draw_scene(get_profile(profile), *_stream(seed, split, index))


def content(profile: str = 'boxes', seed: int = 0, split: str = 'train', index: int = 0) -> tuple[list[str], str]:
    """What :func:`scene` sets out to draw, without drawing: the objects' classes and the ground.

    An object for which there turns out to be no place, or too little to see, is missing from the scene.

    Args:
        profile, seed, split, index: As for :func:`scene`.

    Raises:
        ConfigError: as :func:`scene`.
    """
    settings, (law, index, draws) = get_profile(profile), _stream(seed, split, index)
    return _choose_content(draws, law, index, settings)


def _stream(seed: int, split: str, index: int) -> tuple[str, int, Draws]:
    """The split's law, the index, and the scene's own random numbers."""
    if split not in SPLITS:
        raise ConfigError(f'split={split!r} is unknown', expected=', '.join(SPLITS))
    if seed < 0 or index < 0:
        raise ConfigError(f'seed={seed}, index={index}', expected='non-negative integers')
    return SPLITS[split].law, index, Draws(seed, zlib.crc32(split.encode()), index)

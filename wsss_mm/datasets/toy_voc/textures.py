"""Grounds, backdrops, and the patterns and colours of bodies and heads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .exact import TAU, Draws, blur, exact_mean, mix, noise, reduce_area, slow_part, wave
from .profiles import ANIMALS, CLASSES, ToyProfile

Colour = tuple[int, int, int]

ANIMAL_COLOURS: tuple[Colour, ...] = ((150, 104, 62), (52, 46, 44), (224, 218, 208), (128, 122, 118), (196, 158, 108))
VEHICLE_COLOURS: tuple[Colour, ...] = ((176, 52, 46), (52, 84, 150), (214, 214, 212), (110, 112, 116), (64, 124, 84))
# Light and dark colour of each head's pattern.
HEAD_COLOURS: dict[str, tuple[Colour, Colour]] = {
    'cat': ((206, 132, 60), (70, 44, 28)), 'dog': ((232, 226, 214), (44, 40, 40)),
    'cow': ((226, 132, 136), (58, 44, 46)), 'car': ((160, 210, 224), (44, 52, 60)),
    'train': ((228, 190, 50), (40, 38, 40)), 'boat': ((238, 236, 230), (190, 54, 60)),
}


def body_colours(class_name: str) -> tuple[Colour, ...]:
    """The colours that all animals, or all vehicles, share."""
    return ANIMAL_COLOURS if class_name in ANIMALS else VEHICLE_COLOURS


def colour(draws: Draws, base: Colour, jitter: float = 14.) -> np.ndarray:
    """``base`` with a common brightness jitter and half as much per channel: (3,) float32."""
    shift = draws.normal(0, jitter) + draws.normals(3) * np.float32(jitter * .5)
    return np.clip(np.array(base, np.float32) + shift, 0, 255)


def pixel_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Row (height, 1) and column (1, width) numbers, float32."""
    return np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]


def _water(draws: Draws, h: int, w: int) -> np.ndarray:
    y, _ = pixel_grid(h, w)
    period = draws.uniform(9, 16)
    swell = noise(draws, h, w, 40) * 2.2 + noise(draws, h, w, 16) * .8
    crest = .5 + .5 * wave(y * (TAU / period) * (1.3 - .6 / h * y) + swell)
    return mix(colour(draws, (38, 92, 140)), colour(draws, (92, 150, 180)), crest) \
        + (noise(draws, h, w, 8) * 5)[..., None]


def _rail(draws: Draws, h: int, w: int) -> np.ndarray:
    y, x = pixel_grid(h, w)
    gravel = .5 + .25 * noise(draws, h, w, 2) + .2 * noise(draws, h, w, 4)
    image = mix(colour(draws, (92, 84, 80)), colour(draws, (160, 150, 140)), gravel)
    spacing, slant, offset = draws.uniform(20, 30), draws.uniform(-.25, .25), draws.uniform(0, 30)
    track = draws.uniform(40, 56)
    across = (y + draws.uniform(2, 14)) % track
    tie = ((x + slant * y + offset) % spacing < spacing * .38) & (across < track * .62)
    image = np.where(tie[..., None], colour(draws, (84, 58, 40)) + (noise(draws, h, w, 4) * 6)[..., None], image)
    steel = (np.abs(across - track * .14) < 2.6) | (np.abs(across - track * .48) < 2.6)
    return np.where(steel[..., None], colour(draws, (186, 188, 196)), image)


def _grass(draws: Draws, h: int, w: int) -> np.ndarray:
    blades = .5 + .28 * noise(draws, h, w, 10, 2) + .2 * noise(draws, h, w, 40)
    return mix(colour(draws, (56, 104, 38)), colour(draws, (126, 164, 70)), blades)


def _sand(draws: Draws, h: int, w: int) -> np.ndarray:
    y, _ = pixel_grid(h, w)
    ripple = wave(y * (1 / 7) + noise(draws, h, w, 40) * 2)
    grain = .5 + .12 * noise(draws, h, w, 2) + .22 * noise(draws, h, w, 40) + .12 * ripple
    return mix(colour(draws, (178, 146, 98)), colour(draws, (226, 200, 150)), grain)


def _road(draws: Draws, h: int, w: int) -> np.ndarray:
    y, x = pixel_grid(h, w)
    grain = .5 + .2 * noise(draws, h, w, 2) + .2 * noise(draws, h, w, 40)
    image = mix(colour(draws, (78, 78, 82)), colour(draws, (134, 132, 132)), grain)
    if draws.chance(.5):
        middle, half = draws.uniform(.2, .8) * h, draws.uniform(3, 6)
        line = np.abs(y - middle - draws.uniform(-.15, .15) * x) < half
        line &= (x + draws.uniform(0, 60)) % 60 < 34
        image = np.where(line[..., None], colour(draws, (212, 208, 190)), image)
    return image


def _snow(draws: Draws, h: int, w: int) -> np.ndarray:
    drift = .55 + .25 * noise(draws, h, w, 40) + .07 * noise(draws, h, w, 4)
    return mix(colour(draws, (188, 198, 214)), colour(draws, (240, 244, 248), 6), drift)


def _soil(draws: Draws, h: int, w: int) -> np.ndarray:
    clods = .5 + .2 * noise(draws, h, w, 4) + .2 * noise(draws, h, w, 16) + .1 * noise(draws, h, w, 2)
    return mix(colour(draws, (84, 58, 42)), colour(draws, (142, 106, 76)), clods)


def _sky(draws: Draws, h: int, w: int) -> np.ndarray:
    y, _ = pixel_grid(h, w)
    image = mix(colour(draws, (118, 164, 214)), colour(draws, (206, 220, 232)), np.repeat(y / h, w, 1))
    clouds = np.minimum(.6 * noise(draws, h, w, 90) + .3 * noise(draws, h, w, 40) - .1, .8)
    return mix(image, colour(draws, (240, 242, 245), 5), clouds)


def _forest(draws: Draws, h: int, w: int) -> np.ndarray:
    leaves = .45 + .3 * noise(draws, h, w, 16) + .2 * noise(draws, h, w, 8)
    return mix(colour(draws, (28, 54, 30)), colour(draws, (92, 118, 60)), leaves)


def _brick(draws: Draws, h: int, w: int) -> np.ndarray:
    y, x = pixel_grid(h, w)
    tall, wide = draws.uniform(11, 16), draws.uniform(26, 36)
    mortar = (y % tall < 2.2) | ((x + np.floor(y / tall) % 2 * (wide / 2)) % wide < 2.2)
    burnt = .5 + .3 * noise(draws, h, w, 16) + .1 * noise(draws, h, w, 2)
    image = mix(colour(draws, (150, 92, 74)), colour(draws, (186, 126, 104)), burnt)
    return np.where(mortar[..., None], colour(draws, (186, 178, 168)), image)


_MATERIALS: dict[str, Callable[[Draws, int, int], np.ndarray]] = {
    'water': _water, 'rail': _rail, 'grass': _grass, 'sand': _sand, 'road': _road, 'snow': _snow, 'soil': _soil,
    'sky': _sky, 'forest': _forest, 'brick': _brick,
}


def material(draws: Draws, name: str, height: int, width: int) -> np.ndarray:
    """A texture (height, width, 3) float32 in grey values; ``name`` is one of GROUNDS or BACKDROPS."""
    return _MATERIALS[name](draws, height, width)


def ground(draws: Draws, name: str, side: int, profile: ToyProfile) -> np.ndarray:
    """A ground (side, side, 3): ``material`` with the profile's grain and evenness.

    Box methods compare a pixel with queries pooled outside the boxes: fine and even grounds are what makes one
    query fit a whole image.
    """
    drawn = int(side * profile.ground_grain)
    image = material(draws, name, drawn, drawn)
    if drawn != side:
        image = reduce_area(image, side, side)
    if profile.evenness:
        image = image - np.float32(profile.evenness) * (slow_part(image, side / 10) - exact_mean(image))
    return image


def pattern(class_name: str, u: np.ndarray, v: np.ndarray, wobble: np.ndarray, frequency: float) -> np.ndarray:
    """The class's two-tone pattern at canonical coordinates: (h, w) bool.

    Cat upright bars, dog dots, cow level bars, car a grid, train diagonals, boat level stripes.
    """
    f = frequency
    if class_name == 'cat':
        return wave(9 * f * (u + wobble)) > 0
    if class_name == 'dog':
        return wave(8 * f * (u + v + wobble)) * wave(8 * f * (u - v + wobble)) > .25
    if class_name == 'cow':
        return wave(9 * f * (v + wobble)) > 0
    if class_name == 'car':
        return (wave(8 * f * u) > .55) | (wave(8 * f * v) > .55)
    if class_name == 'train':
        return wave(8 * f * (u + v)) > 0
    return wave(7 * f * (v + wobble)) > 0


def body_texture(draws: Draws, class_name: str, u: np.ndarray, v: np.ndarray, profile: ToyProfile,
                 local_ground: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The body at canonical coordinates u, v (h, w).

    The colour says little about the class (see ``colour_bias``, ``camouflage``); the class's pattern shows as
    brightness contrast, weaker evidence than the head's.

    Args:
        local_ground: (3,) mean colour below the object, which a camouflaged body takes.

    Returns:
        image (h, w, 3) float32 and the body's base colour (3,).
    """
    h, w = u.shape
    colours = body_colours(class_name)
    weights = [(1 - profile.colour_bias) / len(colours)] * len(colours)
    weights[CLASSES.index(class_name) % 3] += profile.colour_bias
    base = colour(draws, draws.choose(colours, weights), 16)
    if local_ground is not None and draws.chance(profile.camouflage):
        base = np.clip(local_ground + np.float32(draws.normal(0, 12)) + draws.normals(3) * np.float32(8), 20, 250)
    wobble, frequency = noise(draws, h, w, 16) * .12, draws.uniform(.85, 1.2)
    if class_name == 'boat':
        frequency *= 16 / 7                              # a hull is low: one stripe of the sail's width would fill it
    tone = pattern(class_name, u * 1.25, v * 1.25, wobble, frequency)
    contrast = profile.body_pattern * draws.uniform(.7, 1.3)
    shade = 1 + contrast * (blur(tone.astype(np.float32), .8) - .5)
    shade += .06 * noise(draws, h, w, 4) + .08 * noise(draws, h, w, 16)
    light = 1.12 - .5 * np.clip(v, -.5, .6)              # from above
    return base * (shade * light)[..., None], base


def head_texture(draws: Draws, class_name: str, u: np.ndarray, v: np.ndarray, size: float, body: np.ndarray,
                 blend: float) -> np.ndarray:
    """The head's pattern (h, w, 3) at canonical coordinates, scaled by the head's size.

    Args:
        body: (3,) the body's colour, mixed into the light colour by ``blend``.
    """
    h, w = u.shape
    wobble = noise(draws, h, w, 16) * .12
    tone = pattern(class_name, (u - .65) / size, v / size, wobble, draws.uniform(.85, 1.2))
    light, dark = HEAD_COLOURS[class_name]
    light_colour = colour(draws, light, 12) * np.float32(1 - blend) + body * np.float32(blend)
    image = mix(colour(draws, dark, 10), light_colour, blur(tone.astype(np.float32), .8))
    return image * (1.08 + .08 * noise(draws, h, w, 8))[..., None]

"""Animals and vehicles: a body that its family shares, a head of its class.

Canonical frame: x from about -1 (tail) to 1 and beyond (head), y downwards, the body's middle at 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .exact import Draws, cos_sin
from .profiles import ANIMALS, ToyProfile
from .textures import body_texture, head_texture

Point = tuple[float, float]


@dataclass(frozen=True)
class Ellipse:
    """Centre, half axes, rotation in radians."""

    x: float
    y: float
    a: float
    b: float
    rotation: float = 0.

    def covers(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """True inside, at coordinates that broadcast to (h, w)."""
        c, s = cos_sin(self.rotation)
        du, dv = u - self.x, v - self.y
        along, across = (c * du + s * dv) * (1 / self.a), (c * dv - s * du) * (1 / self.b)
        return along * along + across * across < 1

    def corners(self) -> list[Point]:
        """A square around it."""
        r = max(self.a, self.b)
        return [(self.x + i * r, self.y + j * r) for i in (-1, 1) for j in (-1, 1)]


@dataclass(frozen=True)
class Polygon:
    """A simple polygon."""

    points: tuple[Point, ...]

    def covers(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """True inside (even-odd rule), at coordinates that broadcast to (h, w)."""
        inside = np.zeros(np.broadcast_shapes(u.shape, v.shape), bool)
        for (x0, y0), (x1, y1) in zip(self.points, self.points[1:] + self.points[:1], strict=True):
            if y0 != y1:
                inside ^= ((v < y0) != (v < y1)) & (u < (v - y0) * ((x1 - x0) / (y1 - y0)) + x0)
        return inside

    def corners(self) -> list[Point]:
        """Its points."""
        return list(self.points)


Part = Ellipse | Polygon


def polygon(*points: Point) -> Polygon:
    """A polygon from its points in order."""
    return Polygon(points)


def limb(x0: float, y0: float, x1: float, y1: float, half0: float, half1: float) -> Polygon:
    """A tapering bar between two points, with its half widths there."""
    dx, dy = x1 - x0, y1 - y0
    length = math.sqrt(dx * dx + dy * dy) + 1e-6
    nx, ny = -dy / length, dx / length
    return polygon((x0 + nx * half0, y0 + ny * half0), (x1 + nx * half1, y1 + ny * half1),
                   (x1 - nx * half1, y1 - ny * half1), (x0 - nx * half0, y0 - ny * half0))


@dataclass(frozen=True)
class Figure:
    """An object's parts in the canonical frame: body, head, wheels (part of the body, dark) and the eye."""

    body: tuple[Part, ...]
    head: tuple[Part, ...]
    wheels: tuple[Part, ...] = ()
    eye: Ellipse | None = None


def _animal(draws: Draws, class_name: str, head_size: float, thickness: float) -> Figure:
    length, half = draws.uniform(.58, .72), draws.uniform(.22, .30) * thickness
    leg = draws.uniform(.42, .58) * (2 - thickness)
    body: list[Part] = [Ellipse(-.12, 0, length, half)]
    body += [limb(x, .1, x + draws.uniform(-.12, .12), .1 + leg, .10, .065) for x in (-.62, -.42, .22, .42)]
    body.append(limb(-.72, -.05, -1.0, -.05 + draws.uniform(-.4, .25), .07, .035))
    x, y = draws.uniform(.62, .74), draws.uniform(-.42, -.18)
    body.append(limb(.3, -.02, x, y, .2, .13))
    s = head_size * .62
    if class_name == 'cat':                              # pointed ears
        head: tuple[Part, ...] = (Ellipse(x, y, s, s * .88), *(
            polygon((x + i * s * .95, y - s * .25), (x + i * s * .7, y - s * 1.5), (x + i * s * .1, y - s * .7))
            for i in (-1, 1)))
    elif class_name == 'dog':                            # a snout, a hanging ear
        head = (Ellipse(x, y, s * .95, s * .85), Ellipse(x + s * .85, y + s * .3, s * .6, s * .42),
                Ellipse(x - s * .75, y + s * .35, s * .35, s * .85, .3))
    else:                                                # a long skull, horns
        head = (Ellipse(x, y, s * .8, s * 1.1, -.3),
                limb(x - s * .4, y - s * .7, x - s * 1.0, y - s * 1.55, s * .2, s * .05),
                limb(x + s * .4, y - s * .7, x + s * 1.1, y - s * 1.4, s * .2, s * .05))
    return Figure(tuple(body), head, eye=Ellipse(x + s * .25, y - s * .15, s * .17, s * .17))


def _vehicle(draws: Draws, class_name: str, head_size: float, thickness: float) -> Figure:
    half, tail = draws.uniform(.26, .36) * thickness, draws.uniform(-.98, -.85)
    body: list[Part] = [polygon((tail, -half * .8), (tail + .1, -half), (.55, -half), (.62, half * .6), (.5, half),
                                (tail + .12, half), (tail, half * .7))]
    if draws.chance(.6):                                 # a load or a cabin on the deck
        x, wide, tall = draws.uniform(-.7, -.2), draws.uniform(.2, .4), draws.uniform(.15, .35)
        body.append(polygon((x, -half), (x, -half - tall), (x + wide, -half - tall), (x + wide, -half)))
    s = head_size * .62
    wheels: tuple[Part, ...] = ()
    if class_name == 'boat':                             # a sail over the bow, a keel
        head: tuple[Part, ...] = (
            polygon((.28, -half), (.28, -half - s * 2.4), (.5, -half - s * 2.4), (.5 + s * 1.5, -half)),
            polygon((.28, -half), (.95, -half), (.7, half), (.28, half)))
        body.append(polygon((tail, half * .3), (.5, half * .3), (.35, half + .16), (tail + .25, half + .16)))
    else:
        if class_name == 'car':                          # a glass cabin
            head = (polygon((.35, -half), (.48, -half - s * .9), (.5 + s * .9, -half - s * .9),
                            (.62 + s * 1.1, -half * .3), (.62 + s * 1.2, half), (.35, half)),)
        else:                                            # a slanting engine front
            head = (polygon((.35, -half - s * .5), (.62, -half - s * .5), (.62 + s * 1.2, half * .2),
                            (.62 + s * 1.35, half), (.35, half)),)
        three = class_name == 'train' or draws.chance(.5)
        wheels = tuple(Ellipse(x, half + .05, .15, .15) for x in ((-.68, -.25, .2) if three else (-.6, .25)))
    return Figure((*body, *wheels), head, wheels)


def figure(draws: Draws, class_name: str, head_size: float, thickness: float) -> Figure:
    """The parts of one object of a class; ``head_size`` and ``thickness`` as in ToyProfile."""
    make = _animal if class_name in ANIMALS else _vehicle
    return make(draws, class_name, head_size, thickness)


def _union(parts: Iterable[Part], u: np.ndarray, v: np.ndarray) -> np.ndarray:
    inside = np.zeros(np.broadcast_shapes(u.shape, v.shape), bool)
    for part in parts:
        inside |= part.covers(u, v)
    return inside


def _coverage(inside: np.ndarray) -> np.ndarray:
    """Share of each pixel's four samples that lie inside: (2h, 2w) bool -> (h, w) float32 in quarters.

    The shape is grown by one sample first, as a pen of a pixel's width would: thin legs stay whole after reduction.
    """
    grown = inside.copy()
    grown[1:] |= inside[:-1]
    grown[:-1] |= inside[1:]
    grown[:, 1:] |= inside[:, :-1]
    grown[:, :-1] |= inside[:, 1:]
    samples = grown.astype(np.float32)
    return (samples[::2, ::2] + samples[1::2, ::2] + samples[::2, 1::2] + samples[1::2, 1::2]) * np.float32(.25)


@dataclass
class Placed:
    """An object placed on the canvas, not yet painted.

    ``rows`` and ``columns`` cut its patch (h, w) out of the canvas; ``alpha`` and ``head_alpha`` are coverages
    (h, w) in quarters; ``u``, ``v`` canonical coordinates (h, w) of the pixels' centres.
    """

    class_name: str
    figure: Figure
    head_size: float
    rows: slice
    columns: slice
    u: np.ndarray
    v: np.ndarray
    alpha: np.ndarray
    head_alpha: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """(h, w) bool, the object's pixels."""
        return self.alpha > .5

    @property
    def head_mask(self) -> np.ndarray:
        """(h, w) bool, the head's pixels."""
        return self.head_alpha > .5


def place(draws: Draws, class_name: str, side: float, x: float, y: float, canvas: int,
          profile: ToyProfile) -> Placed | None:
    """Draw a figure's shape and pose, with its centre at pixel (x, y) of a square canvas.

    Args:
        side: The object's size in canvas pixels.
        canvas: Side of the canvas in pixels.

    Returns:
        The placed object, or None where nothing of it lies on the canvas.
    """
    head_size = profile.head_size * draws.uniform(.85, 1.2)
    parts = figure(draws, class_name, head_size, profile.thickness)
    c, s = cos_sin(math.radians(draws.normal(0, profile.rotation)))
    flip = -1. if draws.chance(.5) else 1.
    along, across = side / 2, side / 2 * draws.uniform(.85, 1.15)
    # Pixel = (x, y) + ((xx, xy), (yx, yy)) @ canonical point.
    xx, xy, yx, yy = flip * c * along, -flip * s * across, s * along, c * across
    corners = [p for part in (*parts.body, *parts.head) for p in part.corners()]
    xs, ys = [x + xx * u + xy * v for u, v in corners], [y + yx * u + yy * v for u, v in corners]
    x0, x1 = max(math.floor(min(xs)), 0), min(math.ceil(max(xs)) + 1, canvas)
    y0, y1 = max(math.floor(min(ys)), 0), min(math.ceil(max(ys)) + 1, canvas)
    if x0 >= x1 or y0 >= y1:
        return None
    det = xx * yy - xy * yx
    # Two samples per pixel and axis, at 1/4 and 3/4 of it; pixel i spans [i, i + 1).
    px = (x0 - x + .25 + .5 * np.arange(2 * (x1 - x0))).astype(np.float32)[None]
    py = (y0 - y + .25 + .5 * np.arange(2 * (y1 - y0))).astype(np.float32)[:, None]
    u, v = px * (yy / det) - py * (xy / det), py * (xx / det) - px * (yx / det)
    head = _union(parts.head, u, v)
    alpha, head_alpha = _coverage(head | _union(parts.body, u, v)), _coverage(head)
    if not (alpha > .5).any():
        return None
    centre_u, centre_v = (u[::2, ::2] + u[1::2, 1::2]) * np.float32(.5), (v[::2, ::2] + v[1::2, 1::2]) * np.float32(.5)
    return Placed(class_name, parts, head_size, slice(y0, y1), slice(x0, x1), centre_u, centre_v, alpha, head_alpha)


def paint(draws: Draws, placed: Placed, profile: ToyProfile, local_ground: np.ndarray) -> np.ndarray:
    """The object's colours (h, w, 3) over its patch; blend them onto the canvas by ``placed.alpha``.

    Args:
        local_ground: (3,) mean colour of the canvas below the patch, for camouflage.
    """
    u, v, name = placed.u, placed.v, placed.class_name
    image, base = body_texture(draws, name, u, v, profile, local_ground)
    if placed.figure.wheels:
        wheels = _union(placed.figure.wheels, u, v) & (v > .34)
        image = np.where(wheels[..., None], image * np.float32(.35), image)
    blend = profile.head_blend * draws.uniform(.5, 1.3)
    head = head_texture(draws, name, u, v, placed.head_size, base, blend)
    share = placed.head_alpha[..., None]
    image = image * (1 - share) + head * share
    eye = placed.figure.eye
    if eye is not None:
        image[eye.covers(u, v)] = 245
        pupil = Ellipse(eye.x, eye.y, eye.a * .55, eye.b * .55)
        image[pupil.covers(u, v)] = 15
    return image

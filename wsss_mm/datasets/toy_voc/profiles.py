"""What the toy scenes are made of: classes, splits and the three profiles.

``tags`` shows what image-tag methods meet: activation maps that see the head alone, contexts (water, rails) that
always come with a class. ``boxes`` shows what box methods meet: boxes that are half background, and a ground of
its own for every class, so that a classifier trained without background queries fires on it. ``biased`` is ``tags``
with more water and rails that come without their class, and more images to test on (GAIN, section 5.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wsss_mm.errors import ConfigError

CLASSES = ('cat', 'dog', 'cow', 'car', 'train', 'boat')
ANIMALS = ('cat', 'dog', 'cow')
GENERIC_GROUNDS = ('grass', 'sand', 'road', 'snow', 'soil')
CONTEXT_GROUNDS = ('water', 'rail')
GROUNDS = GENERIC_GROUNDS + CONTEXT_GROUNDS
BACKDROPS = ('sky', 'forest', 'brick')
# The grounds that come with a class: two of them in ``tags``, one per class in ``boxes``.
TAGS_CONTEXT = {'train': 'rail', 'boat': 'water'}
BOXES_CONTEXT = {'cat': 'soil', 'dog': 'grass', 'cow': 'sand', 'car': 'road', 'train': 'rail', 'boat': 'water'}


@dataclass(frozen=True)
class Split:
    """A split's default number of images and its law of the ground.

    ``law``: ``'correlated'`` (ground follows the class), ``'shuffled'`` (ground independent of the class) or
    ``'empty'`` (no object).
    """

    count: int
    law: str


SPLITS = {
    'train': Split(400, 'correlated'), 'val': Split(120, 'correlated'), 'test': Split(120, 'correlated'),
    'test_decor': Split(120, 'shuffled'), 'ood': Split(90, 'empty'), 'ood_test': Split(60, 'empty'),
}


@dataclass(frozen=True)
class ToyProfile:
    """The numbers of one profile. Lengths are in shares of the image side unless said otherwise.

    Attributes:
        name: ``'tags'``, ``'boxes'`` or ``'biased'``.
        class_grounds: The ground that comes with a class.
        context_prob: P(the class's own ground | its class); otherwise a ground is drawn at random.
        leak_prob: P(water or rail | no class of theirs), either as often, where not every class has a ground.
        backdrop_prob: P(an upper band of sky, forest or brick).
        object_counts: P(1, 2, 3 objects).
        scale: Smallest and largest object side.
        rotation: Standard deviation of an object's rotation in degrees.
        thickness: Factor on the thickness of bodies; legs grow by what bodies lose.
        head_size: Size of the head in canonical units (an object spans about 2).
        head_blend: Mean share of the body's colour mixed into the head's light colour.
        body_pattern: Contrast of the class's pattern on the body (brightness only, the colour stays free).
        colour_bias: Extra probability of the class's preferred body colour.
        camouflage: P(the body takes the colour of the local ground).
        clutter_prob: P(unlabelled rocks, bushes, posts).
        shadow_prob: P(a contact shadow below an object).
        ground_grain: The ground is drawn this much larger and reduced: finer grain.
        evenness: Share of the ground's slow shading that is taken out (0: none).
        sensor_noise: Smallest and largest standard deviation of the pixel noise, in grey values.
        side: Side of the image in pixels.
        oversampling: Scenes are drawn this much larger and reduced.
        counts: Default numbers of images of some splits, in place of ``SPLITS``'s.
    """

    name: str
    class_grounds: dict[str, str]
    context_prob: float = .92
    leak_prob: float = .05
    backdrop_prob: float = .6
    object_counts: tuple[float, ...] = (.50, .35, .15)
    scale: tuple[float, float] = (.55, .95)
    rotation: float = 7.
    thickness: float = 1.
    head_size: float = .50
    head_blend: float = .3
    body_pattern: float = .8
    colour_bias: float = .6
    camouflage: float = .20
    clutter_prob: float = .5
    shadow_prob: float = .8
    ground_grain: float = 1.
    evenness: float = 0.
    sensor_noise: tuple[float, float] = (4., 10.)
    side: int = 96
    oversampling: int = 2
    counts: dict[str, int] = field(default_factory=dict)


PROFILES = {
    'tags': ToyProfile('tags', TAGS_CONTEXT),
    'boxes': ToyProfile(
        'boxes', BOXES_CONTEXT, backdrop_prob=.05, object_counts=(.55, .33, .12), rotation=30., thickness=.62,
        head_size=.42, head_blend=.8, colour_bias=0., camouflage=.15, clutter_prob=.3, ground_grain=1.7,
        evenness=.8, sensor_noise=(3., 7.)),
    # At leak_prob=.05 a context without its class is so rare that a classifier learns the context alone.
    'biased': ToyProfile('biased', TAGS_CONTEXT, leak_prob=.2, counts={'val': 240, 'test_decor': 480}),
}


def image_counts(profile: str, given: Mapping[str, int] | None = None) -> dict[str, int]:
    """Images of every split: ``given``, else the profile's, else those of ``SPLITS``.

    Raises:
        ConfigError: no such profile.
    """
    counts = get_profile(profile).counts | dict(given or {})
    return {split: counts.get(split, default.count) for split, default in SPLITS.items()}


def get_profile(name: str) -> ToyProfile:
    """The profile of that name.

    Raises:
        ConfigError: no such profile.
    """
    if name not in PROFILES:
        raise ConfigError(f'profile={name!r} is unknown', expected=' or '.join(map(repr, PROFILES)))
    return PROFILES[name]

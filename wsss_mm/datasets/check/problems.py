"""Kinds of findings, and which of them break a run."""

from __future__ import annotations

from typing import NamedTuple

# What the data set classes refuse, or what makes a score worthless.
ERRORS = {
    'lists': 'lists and folders',
    'image': 'images that are not there or cannot be read',
    'mask': 'masks that are not there, cannot be read or hold unknown ids',
    'annotation': 'annotations that are not there or cannot be read',
    'outside': 'boxes that stick out of their image',
    'size': 'images whose labels have another size',
    'tags': 'tags that are not there or of unknown classes',
    'leak': 'images for training that are also scored'}
# What runs, and is worth a look.
REMARKS = {
    'near leak': 'images for training that look like scored ones',
    'same bytes': 'images that are there twice',
    'near twin': 'images that look alike',
    'unlabelled': 'images without any label',
    'disagreement': 'images whose tags, boxes and mask name other classes',
    'whole-image box': 'boxes over the whole image: it has no certain background',
    'tiny box': 'boxes with a side under 4 pixels',
    'long box': 'boxes of more than 15 to 1',
    'box twice': 'boxes that are there twice',
    'no area': 'boxes without area, which are left out',
    'clipped': 'boxes that stick out of their image, and are clipped',
    'void mask': 'masks of ignored pixels alone',
    'odd size': 'images of odd sizes',
    'classes': 'classes without examples',
    'unlisted': 'images of no list',
    'counts': 'other numbers than those published'}
HEADINGS = ERRORS | REMARKS


class Problem(NamedTuple):
    """One finding.

    Attributes:
        kind: A key of :data:`HEADINGS`.
        text: A sentence that names file or image.
        image_id: The image it is about; None for lists.
    """

    kind: str
    text: str
    image_id: str | None = None

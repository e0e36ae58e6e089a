"""A folder of pictures and labels such as a user has, drawn, to try the commands on."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from PIL import Image

from wsss_mm import files
from wsss_mm.datasets.own_data.placing import Progress
from wsss_mm.datasets.toy_voc.profiles import CLASSES
from wsss_mm.datasets.toy_voc.scenes import scene
from wsss_mm.datasets.toy_voc.writer import voc_palette

_FOLDERS = ('at home', 'garden')


def write_example(out: str | Path, pictures: int = 60, masks: int = 12, seed: int = 0,
                  progress: Progress | None = None) -> Path:
    """Write a folder of drawn pictures, their tags and boxes as CSV, and the masks of some.

    ``pictures/at home/IMG 0001.jpg`` and the like, ``tags.csv`` (columns ``file,tags``), ``boxes.csv`` and, for every
    n-th picture, ``masks/…png`` of class numbers; ``classes.txt`` names these, from 1. The scenes are toy VOC's.

    Args:
        out: The folder; files of an earlier call are written over.
        pictures, masks: How many.
        seed: Toy VOC's world.
        progress: Called with (done, total) after each picture.

    Returns:
        The folder.
    """
    out = Path(out)
    tags, boxes = [['file', 'tags']], [['file', 'class', 'x1', 'y1', 'x2', 'y2']]
    every = max(1, pictures // max(1, masks))
    palette = voc_palette()[:len(CLASSES) + 1].tolist()
    for number in range(pictures):
        drawn = scene('tags', seed, 'train', number)
        name = f'{_FOLDERS[number % len(_FOLDERS)]}/IMG {number + 1:04d}'
        picture = io.BytesIO()
        Image.fromarray(drawn.image).save(picture, 'JPEG', quality=95)
        files.write_atomic(out / f'pictures/{name}.jpg', picture.getvalue())
        tags.append([f'{name}.jpg', ';'.join(sorted({item.name for item in drawn.objects}))])
        boxes += [[f'{name}.jpg', item.name, *map(str, item.box)] for item in drawn.objects]
        if number % every == 0 and number // every < masks:
            files.write_atomic(out / f'masks/{name}.png', files.label_png(drawn.classes, palette))
        if progress is not None:
            progress(number + 1, pictures)
    for file, rows in (('tags.csv', tags), ('boxes.csv', boxes)):
        stream = io.StringIO()
        csv.writer(stream, lineterminator='\n').writerows(rows)
        files.write_atomic(out / file, stream.getvalue().encode())
    files.write_atomic(out / 'classes.txt', ('\n'.join(CLASSES) + '\n').encode())
    return out

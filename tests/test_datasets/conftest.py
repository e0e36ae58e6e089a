"""A tiny data set in PASCAL VOC's layout."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_xml(path, size, objects, difficult=0):
    """``size`` is (height, width); ``objects`` are (name, xmin, ymin, xmax, ymax)."""
    nodes = ''.join(
        f'<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>'
        f'<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>' for name, x1, y1, x2, y2 in objects)
    Path(path).write_text(f'<annotation><size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth>'
                          f'</size>{nodes}</annotation>')


def write_ids(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{i}\n' for i in ids))


def write_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array.astype(np.uint8), 'P')
    picture.putpalette([i for n in range(256) for i in (n, 255 - n, n // 2)])
    picture.save(path)


class TinyVOC:
    """Four images of odd sizes: a cat, a dog and a person, nothing, a cat that fills the image."""

    objects = dict(a=[('cat', 3, 5, 20, 30)], b=[('dog', 1, 1, 31, 12), ('person', 10, 10, 25, 40)], empty=[],
                   full=[('cat', 1, 1, 19, 17)])

    def __init__(self, root):
        self.root = root
        self.sizes = dict(a=(33, 47), b=(40, 31), empty=(25, 25), full=(17, 19))
        random = np.random.default_rng(0)
        for folder in ('JPEGImages', 'Annotations', 'SegmentationClass'):
            (root / folder).mkdir(parents=True)
        for name, size in self.sizes.items():
            Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(root / f'JPEGImages/{name}.jpg')
            write_xml(root / f'Annotations/{name}.xml', size, self.objects[name])
            write_png(root / f'SegmentationClass/{name}.png', random.integers(0, 21, size))
        write_ids(root / 'ImageSets/Segmentation/train.txt', ['a', 'b', 'empty'])
        write_ids(root / 'ImageSets/Segmentation/val.txt', ['full'])

    def labels(self, name, ids, value):
        folder = self.root / name
        for image_id in ids:
            write_png(folder / f'{image_id}.png', np.full(self.sizes[image_id], value))
        folder.mkdir(exist_ok=True)
        return str(folder)


@pytest.fixture
def tiny_voc(tmp_path):
    return TinyVOC(tmp_path / 'voc')

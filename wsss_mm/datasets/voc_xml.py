"""PASCAL VOC's annotation of an image, written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree


def annotation_xml(name: str, size: tuple[int, int], objects: Iterable[tuple[str, Sequence[float], bool]]) -> str:
    """A VOC annotation; coordinates count from 1 and include both ends, so the minima get 1 more.

    ``read_voc_xml`` with ``convention='exact'`` gives the same boxes back; fractions stay.

    Args:
        name: The picture's file name.
        size: Its height and width.
        objects: Class name, ``x1, y1, x2, y2`` in 0-based half-open pixels, whether it is difficult.
    """
    root = ElementTree.Element('annotation')

    def add(parent: ElementTree.Element, **fields: object) -> None:
        for key, value in fields.items():
            ElementTree.SubElement(parent, key).text = str(value)
    add(root, filename=name)
    add(ElementTree.SubElement(root, 'size'), width=size[1], height=size[0], depth=3)
    for class_name, (x1, y1, x2, y2), difficult in objects:
        element = ElementTree.SubElement(root, 'object')
        add(element, name=class_name, difficult=int(difficult))
        numbers = dict(xmin=x1 + 1, ymin=y1 + 1, xmax=x2, ymax=y2)
        add(ElementTree.SubElement(element, 'bndbox'),
            **{k: int(v) if v == int(v) else repr(float(v)) for k, v in numbers.items()})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding='unicode') + '\n'

"""Boxes from COCO JSON, PASCAL VOC XML, YOLO text and CSV, all as 0-based half-open pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import yaml

from wsss_mm.datasets.label_readers import read_voc_xml
from wsss_mm.datasets.own_data.pictures import Pictures
from wsss_mm.datasets.own_data.problems import Problems
from wsss_mm.datasets.own_data.tables import no_header, read_json_file, read_table, read_text
from wsss_mm.errors import DataError

_CORNERS = (('x1', 'xmin', 'x_min', 'left'), ('y1', 'ymin', 'y_min', 'top'), ('x2', 'xmax', 'x_max', 'right'),
            ('y2', 'ymax', 'y_max', 'bottom'))
_EXTENT = (('x', 'left', 'bbox_x'), ('y', 'top', 'bbox_y'), ('w', 'width', 'bbox_width'),
           ('h', 'height', 'bbox_height'))
_CLASS_COLUMNS = ('class', 'class_name', 'label', 'category', 'tag', 'object')
_EXAMPLE = 'file,class,x1,y1,x2,y2'
_YOLO_LINE = 'class number, x centre, y centre, width, height, the last four as shares of the picture (0 to 1)'


class Box(NamedTuple):
    """A box as its file has it.

    Attributes:
        name: Name of the class.
        corners: x1, y1, x2, y2: 0-based, half-open pixels; shares of width and height where ``relative``.
        difficult: Marked so, or a crowd.
        where: File and line, annotation or object.
        relative: Corners are shares, as in YOLO's files.
    """

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool
    where: str
    relative: bool = False


class OwnBoxes(NamedTuple):
    """All boxes of a source.

    Attributes:
        boxes: Of each image id that the source speaks of; empty where it says that there is no object.
        sizes: Height and width that the source gives for some images.
        kind: ``'coco'``, ``'voc'``, ``'yolo'`` or ``'csv'``.
    """

    boxes: dict[str, list[Box]]
    sizes: dict[str, tuple[int, int]]
    kind: str


def read_own_boxes(path: str | Path, pictures: Pictures, problems: Problems, class_names: Sequence[str] | None = None,
                   say: Callable[[str], None] = print) -> OwnBoxes:
    """Read boxes; the kind of file follows from what ``path`` is.

    Args:
        path: A COCO file (``.json``), a CSV, or a folder of VOC's XML files or of YOLO's text files.
        pictures: What file names are looked up in.
        problems: Takes names of no picture and boxes that are none.
        class_names: YOLO's classes in the order of their numbers; by default those of ``classes.txt`` or ``data.yaml``
            in the folder or the one above it.
        say: Told what was understood.

    Raises:
        DataError: not such a file or folder.
    """
    path = Path(path)
    if path.is_dir():
        xml, txt = _files(path, '.xml'), [f for f in _files(path, '.txt') if f.name not in ('classes.txt', 'names.txt')]
        if bool(xml) == bool(txt):
            raise DataError(f'holds {len(xml)} XML files and {len(txt)} text files', file=path,
                            expected='either PASCAL VOC\'s XML files or YOLO\'s text files',
                            fix='name the folder of one kind with --boxes')
        found = _read_xml(path, xml, pictures, problems) if xml else _read_yolo(path, txt, pictures, problems,
                                                                               class_names)
    elif path.suffix.lower() == '.json':
        found = _read_coco(path, pictures, problems, say)
    else:
        found = _read_csv(path, pictures, problems)
    say(f'{path}: {sum(map(len, found.boxes.values()))} boxes of {len(found.boxes)} pictures ({found.kind})')
    return found


def read_class_names(path: str | Path) -> list[str]:
    """Class names from a text file, a name a line, or from the ``names`` of a YAML file (a list, or number: name).

    Raises:
        DataError: not such a file, or a number without a name.
    """
    path = Path(path)
    text = read_text(path)
    if path.suffix.lower() not in ('.yaml', '.yml'):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:   # the latter two of odd numbers and of deep nesting
        raise DataError(f'not readable as YAML ({error})', file=path) from None
    names = content.get('names') if isinstance(content, dict) else None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f'`names` is {str(names)[:80]}', file=path, expected='names: [cat, dog], or 0: cat, 1: dog')
    return [str(name).strip() for name in names]


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(p for p in folder.rglob('*')
                  if p.suffix.lower() == suffix and not p.name.startswith('.') and p.is_file())


def _stem(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()[:-len(path.suffix)]


def _read_xml(folder: Path, paths: list[Path], pictures: Pictures, problems: Problems) -> OwnBoxes:
    boxes: dict[str, list[Box]] = {}
    sizes = {}
    for path in paths:
        image_id = pictures.find(_stem(folder, path), path.name, problems)
        if image_id is None:
            continue
        try:   # the names are whatever the file has; read_voc_xml says what is wrong with a broken one
            names = list(dict.fromkeys((n.text or '').strip() for n in ElementTree.parse(path).iterfind('object/name')))
        except (ElementTree.ParseError, OSError, ValueError, LookupError):
            names = []
        try:
            found = read_voc_xml(path, {name: i for i, name in enumerate(filter(None, names))}, 'exact')
        except DataError as error:
            problems.add('an annotation that cannot be read', f'{path.name}: {error.problem}'
                         + (f' (expected {error.expected})' if error.expected else ''))
            continue
        kept = [name for name in names if name]
        sizes[image_id] = found.size
        rows = zip(found.boxes.astype(float).tolist(), found.labels, found.difficult, strict=True)
        boxes.setdefault(image_id, []).extend(
            Box(kept[label], tuple(corners), bool(hard), f'{path.name}, object {number}')
            for number, (corners, label, hard) in enumerate(rows, 1))
    return OwnBoxes(boxes, sizes, 'voc')


def _read_yolo(folder: Path, paths: list[Path], pictures: Pictures, problems: Problems,
               class_names: Sequence[str] | None) -> OwnBoxes:
    if class_names is None:
        places = [place / name for place in (folder, folder.parent) for name in
                  ('classes.txt', 'names.txt', 'data.yaml', 'data.yml', 'dataset.yaml')]
        there = [place for place in places if place.is_file()]
        if not there:
            raise DataError('YOLO\'s files hold class numbers, and their names are not known', file=folder,
                            expected=' or '.join(map(str, places[:3])), fix='name them: --class-names cat dog …, or '
                            '--class-names data.yaml')
        class_names = read_class_names(there[0])
    boxes: dict[str, list[Box]] = {}
    for path in paths:
        image_id = pictures.find(_stem(folder, path), path.name, problems)
        if image_id is None:
            continue
        rows = boxes.setdefault(image_id, [])
        try:
            lines = path.read_text(encoding='utf-8-sig').splitlines()
        except UnicodeDecodeError:
            problems.add('a file that is no text', path.name, _YOLO_LINE)
            continue
        for number, line in enumerate(lines, 1):
            if not (fields := line.split()):
                continue
            where = f'{path.name}, line {number}'
            values = _numbers(fields)
            if values is None or len(values) not in (5, 6) or values[0] != int(values[0]):
                problems.add('a line that is no box', f'{where}: {line[:60]!r}', _YOLO_LINE)
                continue
            number_of_class, x, y, w, h = values[:5]
            if not 0 <= number_of_class < len(class_names):
                problems.add('a class number without a name', f'{where}: {number_of_class:g}',
                             f'0 … {len(class_names) - 1}: {", ".join(class_names[:10])}',
                             'add the name to --class-names, or correct the number')
            elif max(values[1:5]) > 1.5:
                problems.add('a box in pixels', f'{where}: {line[:60]!r}', _YOLO_LINE)
            else:
                rows.append(Box(class_names[int(number_of_class)], (x - w / 2, y - h / 2, x + w / 2, y + h / 2), False,
                                where, True))
    return OwnBoxes(boxes, {}, 'yolo')


def _read_coco(path: Path, pictures: Pictures, problems: Problems, say: Callable[[str], None]) -> OwnBoxes:
    content = read_json_file(path)
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(content, dict) or not isinstance(content.get(key), list) or \
                not all(isinstance(item, dict) for item in content[key]):
            found = sorted(content)[:6] if isinstance(content, dict) else f'a {type(content).__name__}'
            raise DataError(f'no list of `{key}`; it holds {found}', file=path,
                            expected='COCO\'s JSON: images, annotations and categories',
                            fix='export the boxes anew, with their categories')
    names = {_key(c.get('id')): str(c.get('name', '')).strip() for c in content['categories']}
    ids: dict[Any, str | None] = {}
    sizes, crowds = {}, 0
    for number, image in enumerate(content['images'], 1):
        if not isinstance(image.get('file_name'), str) or 'id' not in image:
            raise DataError(f'image {number} of `images` is {str(image)[:80]}', file=path,
                            expected='objects with id and file_name')
        where = f'{path.name}, image {image["id"]}'
        if _key(image['id']) in ids:
            problems.add('two images with one id', f'{where}: {image["file_name"]!r}')
        image_id = ids[_key(image['id'])] = pictures.find(image['file_name'], where, problems)
        if image_id is not None and isinstance(image.get('width'), int) and isinstance(image.get('height'), int):
            sizes[image_id] = (image['height'], image['width'])
    boxes: dict[str, list[Box]] = {image_id: [] for image_id in ids.values() if image_id is not None}
    for number, item in enumerate(content['annotations'], 1):
        where = f'{path.name}, annotation {item.get("id", number)}'
        number_of_image, category = _key(item.get('image_id')), _key(item.get('category_id'))
        if number_of_image not in ids:
            problems.add('an annotation of no image', f'{where}: image_id {item.get("image_id")!r}',
                         'the id of one of `images`')
        elif not names.get(category):
            problems.add('an unknown category', f'{where}: category_id {item.get("category_id")!r}',
                         'one of ' + ', '.join(f'{i} ({name})' for i, name in list(names.items())[:10]))
        else:
            values = _numbers(item.get('bbox'))
            if values is None or len(values) != 4:
                problems.add('an annotation without a box', f'{where}: bbox {str(item.get("bbox"))[:60]}',
                             'x, y, width, height in pixels')
                continue
            image_id = ids[number_of_image]
            crowd = bool(item.get('iscrowd'))
            crowds += crowd
            if image_id is not None:
                x, y, w, h = values
                boxes[image_id].append(Box(names[category], (x, y, x + w, y + h),
                                           crowd or bool(item.get('difficult')), where))
    if crowds:
        say(f'{path}: {crowds} crowds are taken as boxes marked difficult')
    return OwnBoxes(boxes, sizes, 'coco')


def _read_csv(path: Path, pictures: Pictures, problems: Problems) -> OwnBoxes:
    table = read_table(path)
    if table.file_column is None:
        raise no_header(table, pictures.names_a_picture, _EXAMPLE)
    class_column = table.column(*_CLASS_COLUMNS)
    columns = [table.column(*names) for names in _CORNERS]
    extent = any(column is None for column in columns)
    if extent:
        columns = [table.column(*names) for names in _EXTENT]
    if class_column is None or any(column is None for column in columns):
        raise DataError(f'no columns of a box; the header is {", ".join(map(repr, table.header))}', file=path,
                        expected='file, class and x1, y1, x2, y2 (or xmin …), or x, y, w, h',
                        fix=f'name the columns, as in {_EXAMPLE}')
    boxes: dict[str, list[Box]] = {}
    for number, row in table.rows:
        where = f'{path.name}, line {number}'
        if len(row) != len(table.header):
            problems.add('a line with another number of fields than the header', f'{where}: {len(row)} fields',
                         f'{len(table.header)}: {", ".join(table.header)}')
            continue
        image_id = pictures.find(row[table.file_column], where, problems)
        name, fields = row[class_column], [row[c] for c in columns if c is not None]
        rows = boxes.setdefault(image_id, []) if image_id is not None else []
        if not name and not any(fields):   # a picture without any object
            continue
        values = _numbers(fields)
        if not name or values is None:
            problems.add('a line that is no box', f'{where}: {", ".join([name, *fields])}',
                         'the name of a class and four numbers of pixels; all empty for a picture without objects')
            continue
        x1, y1, x2, y2 = values
        rows.append(Box(name, (x1, y1, x1 + x2, y1 + y2) if extent else (x1, y1, x2, y2), False, where))
    return OwnBoxes(boxes, {}, 'csv')


def _key(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else str(value)


def _numbers(fields: Any) -> list[float] | None:
    try:
        values = [float(field) for field in fields]
    except (TypeError, ValueError, OverflowError):
        return None
    return values if all(map(math.isfinite, values)) else None

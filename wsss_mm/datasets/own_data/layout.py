"""One's own pictures and labels as a data set in VOC's layout."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsss_mm import __version__, files
from wsss_mm.datasets.coco import TAG_FILE
from wsss_mm.datasets.label_readers import LISTS, read_id_list
from wsss_mm.datasets.own_data.boxes import OwnBoxes, read_class_names, read_own_boxes
from wsss_mm.datasets.own_data.masks import BACKGROUND, IGNORE, MaskReader, parse_mask_classes
from wsss_mm.datasets.own_data.pictures import Pictures
from wsss_mm.datasets.own_data.placing import (
    Placed,
    Progress,
    place_boxes,
    place_masks,
    place_pictures,
    remove_others,
)
from wsss_mm.datasets.own_data.problems import Problems
from wsss_mm.datasets.own_data.tags import read_own_tags
from wsss_mm.datasets.supervision import hash_order
from wsss_mm.errors import ConfigError, DataError

MARKER, UNFINISHED = 'dataset.json', 'dataset.unfinished.json'
MAX_CLASSES = 254
_VAL_SHARE = .2
_LARGE = 800   # pixels; the methods were made for pictures of 500


@dataclass(frozen=True)
class Request:
    """What is to be prepared, as of ``tools/prepare_dataset.py custom``.

    Attributes:
        images: Folder of pictures, searched with its sub-folders.
        out: Folder to write.
        tags, boxes, masks: Sources of labels; at least one.
        classes: Names of the classes in the order of their numbers; all names found, sorted, if None.
        class_names: Names of YOLO's class numbers, or one file of them.
        mask_classes: Meaning of the masks' values, as of ``parse_mask_classes``, or one file of names; ``classes`` in
            their order if None.
        val: ``'masks'``: all images with masks; a share below 1 of them, or of all labelled images where there are no
            masks; or a file that lists pictures. None: .2 of the images with masks.
        copy: Copy pictures instead of linking them.
        max_side: Shrink pictures whose longer side has more pixels.
        clip_boxes: Clip boxes that stick out of their picture.
    """

    images: str
    out: str
    tags: str | None = None
    boxes: str | None = None
    masks: str | None = None
    classes: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    mask_classes: tuple[str, ...] | None = None
    val: str | None = None
    copy: bool = False
    max_side: int | None = None
    clip_boxes: bool = False


def prepare_own_data(request: Request, say: Callable[[str], None] = print,
                     progress: Callable[[str], Progress] | None = None) -> dict[str, Any]:
    """Write VOC's layout from pictures and labels.

    Below ``out``: ``JPEGImages/``, ``Annotations/`` of the images with boxes, ``SegmentationClass/`` of those with
    masks, ``image_tags.json`` of all labelled images, lists in ``ImageSets/Segmentation/`` (``train``, ``val``,
    ``all``; ``tags``, ``boxes``, ``masks`` by kind of label; ``train_boxes`` and the like), ``ids.csv`` and, written
    last, ``dataset.json``. An empty list is not written. The same request again brings a finished folder up to date.

    Args:
        request: Sources and settings.
        say: Told what was understood and what is remarkable.
        progress: Gives the progress callback of a named piece of work.

    Returns:
        The content of ``dataset.json``.

    Raises:
        ConfigError: settings that contradict each other, or a folder of other settings.
        DataError: labels or pictures that are missing or wrong, all that was found together.
    """
    watch = progress or (lambda what: lambda done, total: None)
    out, problems = Path(request.out), Problems(Path(request.out) / 'problems.txt')
    _check_request(request)
    _check_folder(out)
    pictures = Pictures(request.images, problems, [p for p in (request.out, request.masks) if p])
    say(f'{request.images}: {len(pictures)} pictures')
    tags = read_own_tags(request.tags, pictures, problems, say) if request.tags else {}
    boxes = OwnBoxes({}, {}, '')
    if request.boxes:
        boxes = read_own_boxes(request.boxes, pictures, problems, _names_or_file(request.class_names), say)
    meaning = parse_mask_classes(_names_or_file(request.mask_classes) or request.classes or ()) if request.masks else {}
    if request.masks and not meaning:
        raise ConfigError('masks without names of their values', expected='--mask-classes cat dog (for 1, 2), '
                          '--mask-classes 7=cat 9=dog, or "#c00000=cat"')
    names = _names_of(tags, boxes, meaning)
    classes = _choose_classes(request.classes, names, problems)
    problems.check(request.images)
    reader = MaskReader(request.masks, meaning, classes) if request.masks else None
    mask_paths = reader.find(pictures, problems) if reader else {}
    problems.check(request.images)
    settings = asdict(request) | dict(classes=classes)
    settings.pop('out')
    _refuse_other_settings(out, settings)
    files.write_json(out / UNFINISHED, dict(settings=settings))
    files.remove_leftovers(out)

    placed = place_pictures(pictures, out / 'JPEGImages', request.copy, request.max_side, problems,
                            watch('reading pictures'))
    problems.check(request.images)
    place_boxes(boxes, placed, out / 'Annotations', request.clip_boxes, problems)
    present = {} if reader is None else place_masks(reader, mask_paths, placed, out / 'SegmentationClass',
                                                    len(classes) + 1, problems, watch('writing masks'))
    problems.check(request.images)
    all_tags = _merge_tags(tags, boxes, present, classes, say)
    lists = _split(request, pictures, tags, boxes, mask_paths, problems)
    problems.check(request.val or request.images)
    for folder, kept in (('JPEGImages', {p.name for p in placed.values()}),
                         ('Annotations', {f'{i}.xml' for i in boxes.boxes}),
                         ('SegmentationClass', {f'{i}.png' for i in mask_paths}),
                         (LISTS, {f'{name}.txt' for name, ids in lists.items() if ids})):
        remove_others(out / folder, kept)
    for name, ids in lists.items():
        if ids:
            files.write_atomic(out / LISTS / f'{name}.txt', ''.join(f'{i}\n' for i in ids).encode())
    files.write_json(out / TAG_FILE, all_tags)
    files.write_atomic(out / 'ids.csv', _id_table(pictures, placed, lists).encode(errors='backslashreplace'))
    marker = dict(classes=classes, settings=settings, made_by=f'wsss_mm {__version__}: prepare_dataset custom',
                  counts={name: len(ids) for name, ids in lists.items()} | dict(
                      unlabelled=len(pictures) - len(all_tags), per_class=_per_class(all_tags, classes)),
                  median_long_side=sorted(max(p.size) for p in placed.values())[len(placed) // 2],
                  sha256=_fingerprint(out))
    files.write_json(out / MARKER, marker)
    for leftover in (out / UNFINISHED, problems.report):
        leftover.unlink(missing_ok=True)
    return marker


def _check_request(request: Request) -> None:
    if not (request.tags or request.boxes or request.masks):
        raise ConfigError('no labels are named', expected='one or several of --tags, --boxes and --masks')
    if request.class_names and not request.boxes:
        raise ConfigError('--class-names without --boxes', expected='the names of YOLO\'s class numbers')
    if request.mask_classes and not request.masks:
        raise ConfigError('--mask-classes without --masks')
    if request.max_side is not None and request.max_side < 32:
        raise ConfigError(f'--max-side is {request.max_side}', expected='32 pixels or more')
    if request.val is not None and _share(request.val) is None and request.val != 'masks' and \
            not Path(request.val).is_file():
        raise ConfigError(f'--val is {request.val!r}', expected='a share between 0 and 1, `masks`, or a file that '
                          'lists pictures, one a line')
    if request.val == 'masks' and not request.masks:
        raise ConfigError('--val masks without --masks')


def _share(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1 else None


def _check_folder(out: Path) -> None:
    if out.is_dir() and not (out / MARKER).is_file() and not (out / UNFINISHED).is_file():
        found = sorted(p.name for p in out.iterdir() if p.name != 'problems.txt')
        if found:
            raise ConfigError(f'holds other files, as {", ".join(found[:3])}', file=out,
                              expected='a new or empty folder, or one that this command has written',
                              fix='name another folder with --out')


def _refuse_other_settings(out: Path, settings: Mapping[str, Any]) -> None:
    for name in (MARKER, UNFINISHED):
        found = files.read_json(out / name)
        if not isinstance(found, dict) or not isinstance(found.get('settings'), dict):
            continue
        plain = json.loads(json.dumps(settings))
        changed = sorted(k for k in plain if plain[k] != found['settings'].get(k))
        if changed:
            before = ', '.join(f'{k}={found["settings"].get(k)!r}' for k in changed)
            raise ConfigError(f'was prepared with other settings; changed: {", ".join(changed)}', file=out,
                              expected=f'as before: {before[:300]}',
                              fix=f'rm -r {out}   (it holds links and converted labels, never your own files), or name '
                                  'another folder with --out')


def _names_or_file(given: Sequence[str] | None) -> list[str] | None:
    if given and len(given) == 1 and Path(given[0]).is_file():
        return read_class_names(given[0])
    return list(given) if given else None


def _names_of(tags: Mapping[str, Sequence[str]], boxes: OwnBoxes, meaning: Mapping[Any, str]) -> dict[str, str]:
    """Each class name that is used, with the first place that uses it."""
    places: dict[str, str] = {}
    for image_id, names in tags.items():
        for name in names:
            places.setdefault(name, f'tags of {image_id}')
    for rows in boxes.boxes.values():
        for box in rows:
            places.setdefault(box.name, box.where)
    for name in meaning.values():
        if name not in (BACKGROUND, IGNORE):
            places.setdefault(name, '--mask-classes')
    return places


def _choose_classes(given: Sequence[str] | None, places: Mapping[str, str], problems: Problems) -> list[str]:
    classes = list(given) if given else sorted(places)
    if len(set(classes)) < len(classes):
        raise ConfigError(f'--classes names {len(classes)} classes, {len(set(classes))} of them different')
    if not 1 <= len(classes) <= MAX_CLASSES:
        raise ConfigError(f'{len(classes)} classes', expected=f'1 to {MAX_CLASSES}: label maps are PNGs of 8 bits, '
                          'with 0 for the background and 255 for what is ignored',
                          fix='the labels name no class: check their columns' if not classes else
                              'check that the column of tags holds classes; else group them')
    for name, place in places.items():
        if name in classes:
            continue
        close = difflib.get_close_matches(name, classes, 1)
        problems.add('an unknown class', f'{name!r} ({place})' + (f', perhaps {close[0]!r}' if close else ''),
                     'one of ' + ', '.join(classes[:20]), 'correct the name, or add it to --classes')
    if given is None:
        folded: dict[str, list[str]] = {}
        for name in classes:
            folded.setdefault(name.casefold(), []).append(name)
        for names in folded.values():
            if len(names) > 1:
                problems.add('classes that differ by case alone', ' and '.join(map(repr, names))
                             + f' ({places[names[-1]]})', 'one spelling',
                             'correct the labels, or name all of them with --classes')
    for name in classes:
        if not name.strip() or not name.isprintable():
            problems.add('a class name that cannot be printed', f'{name!r} ({places.get(name, "--classes")})')
    if BACKGROUND in (name.casefold() for name in classes):
        problems.add('a class named background', places.get(BACKGROUND, '--classes'),
                     'the classes without the background', 'take it out: what is no class is background')
    return classes


def _merge_tags(tags: Mapping[str, Sequence[str]], boxes: OwnBoxes, present: Mapping[str, Sequence[int]],
                classes: Sequence[str], say: Callable[[str], None]) -> dict[str, list[str]]:
    """Tags of every labelled image; what boxes or masks show is added."""
    merged = {image_id: set(names) for image_id, names in tags.items()}
    added = []
    for image_id in [*boxes.boxes, *present]:
        found = {box.name for box in boxes.boxes.get(image_id, ())} | {classes[i] for i in present.get(image_id, ())}
        if image_id in tags and not found <= merged[image_id]:
            added.append(f'{image_id} ({", ".join(sorted(found - merged[image_id]))})')
        merged.setdefault(image_id, set()).update(found)
    if added:
        say(f'{len(added)} images have boxes or masks of classes that their tags do not name; these are tags too: '
            + ', '.join(added[:3]) + (' …' if len(added) > 3 else ''))
    return {image_id: sorted(names, key=classes.index) for image_id, names in sorted(merged.items())}


def _split(request: Request, pictures: Pictures, tags: Iterable[str], boxes: OwnBoxes, masks: Iterable[str],
           problems: Problems) -> dict[str, list[str]]:
    kinds = dict(tags=set(tags), boxes=set(boxes.boxes), masks=set(masks))
    labelled = set().union(*kinds.values())
    share = _share(request.val) if request.val is not None else _VAL_SHARE if kinds['masks'] else 0.
    if request.val == 'masks':
        val = kinds['masks']
    elif share is not None:
        pool = hash_order(kinds['masks'] or labelled)
        val = set(pool[:round(share * len(pool))])
    else:
        path = Path(str(request.val))
        found = (n if n in pictures.names else pictures.find(n, path.name, problems) for n in read_id_list(path))
        val = {image_id for image_id in found if image_id is not None}
    train = labelled - val
    if not train:
        raise DataError(f'no labelled image is left for training; {len(labelled)} are labelled, {len(val)} are for '
                        'validation', file=request.images, fix='label more pictures, or correct --val')
    lists = dict(train=train, val=val, all=set(pictures.names), **kinds)
    for kind in ('boxes', 'masks'):
        lists |= {f'train_{kind}': train & kinds[kind], f'val_{kind}': val & kinds[kind]}
    return {name: sorted(ids) for name, ids in lists.items()}


def _id_table(pictures: Pictures, placed: Mapping[str, Placed], lists: Mapping[str, Sequence[str]]) -> str:
    sets = {name: set(ids) for name, ids in lists.items()}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(['id', 'file', 'width', 'height', 'split', 'labels'])
    for image_id, name in pictures.names.items():
        height, width = placed[image_id].size
        split = next((s for s in ('train', 'val') if image_id in sets[s]), '')
        labels = ' '.join(kind for kind in ('tags', 'boxes', 'masks') if image_id in sets[kind])
        writer.writerow([image_id, name, width, height, split, labels])
    return stream.getvalue()


def _per_class(tags: Mapping[str, Sequence[str]], classes: Sequence[str]) -> dict[str, int]:
    counts = dict.fromkeys(classes, 0)
    for names in tags.values():
        for name in names:
            counts[name] += 1
    return counts


def _fingerprint(out: Path) -> str:
    """Hash of all labels and lists; pictures count by their names and sizes."""
    sha256 = hashlib.sha256()
    folders = (out / 'Annotations', out / 'SegmentationClass', out / LISTS)
    for path in [out / TAG_FILE, out / 'ids.csv', *(p for folder in folders if folder.is_dir()
                                                  for p in sorted(folder.iterdir()))]:
        sha256.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return sha256.hexdigest()


def summary(out: str | Path, marker: Mapping[str, Any], configs: Mapping[str, Path]) -> str:
    """What was prepared, as a few lines with the commands to go on.

    Args:
        out: The folder.
        marker: As of :func:`prepare_own_data`.
        configs: The configs to start, by kind of label.
    """
    counts = marker['counts']
    width = max(map(len, marker['classes']))
    lines = [f'\nclasses: {len(marker["classes"])}; images with each:',
             *(f'  {name:<{width}} {number}' for name, number in counts['per_class'].items()),
             'images: ' + ', '.join(f'{counts[k]} {what}' for k, what in (
                 ('all', 'in all'), ('unlabelled', 'without any label'), ('tags', 'with tags'), ('boxes', 'with boxes'),
                 ('masks', 'with masks')))]
    lines.append(f'split: {counts["train"]} to train on, {counts["val"]} to validate on, {counts["val_masks"]} of '
                 'these with masks')
    if missing := [name for name, number in counts['per_class'].items() if not number]:
        lines.append(f'no image has {", ".join(missing)}: nothing can be learned of it')
    if not counts['val_masks']:
        lines.append('no masks to validate on: segmentors are trained, but not scored; masks of some pictures '
                     '(--masks) would change that')
    if marker['median_long_side'] > _LARGE:
        lines.append(f'half of the pictures have a side above {marker["median_long_side"]} pixels, and labels are made '
                     'at their own size: --max-side 512 into a new folder is much faster')
    lines.append(f'complete: {out}; go on, from this folder, with one of')
    lines += [f'  python -m wsss_mm train {path.as_posix()}' for path in configs.values()]
    return '\n'.join(lines)

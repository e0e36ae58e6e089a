"""Whether a labelling run's folder is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from wsss_mm.datasets.coco_boxes import read_coco_boxes
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.files import read_json, read_run
from wsss_mm.pseudo_labels.run import image_size
from wsss_mm.pseudo_labels.run_folder import read_manifest
from wsss_mm.registry import DATASETS, enter_scope
from wsss_mm.safe_loading import file_sha256

_INSTANCES = 'instances.json'


def verify_run(cfg: Config) -> tuple[int, list[str]]:
    """Check all files of the run that ``cfg.pseudo_labels`` describes, without its network.

    That the run is complete; that the manifest has each image of the data set once; that each file is there with its
    SHA-256; that label maps have their image's size; and, of labels of annotated objects, that each annotation which
    the data set gives is in ``instances.json`` once, unless it was left out for its box.

    Returns:
        How many files were checked, and what is wrong, a line each.

    Raises:
        ConfigError: no ``pseudo_labels``.
        DataError: the data set cannot be read, or ``run.json`` is damaged.
    """
    if not cfg.get('pseudo_labels'):
        raise ConfigError('no pseudo_labels section', file=cfg.filename, expected='a config that makes labels')
    enter_scope(cfg)
    root = Path(cfg.pseudo_labels.out_dir)
    run = read_run(root)
    if run is None:
        return 0, [f'{root / "run.json"}: missing; no run has begun here']
    if not run.get('complete'):
        return 0, [f'{root}: the run is not complete; the same command without --verify goes on with it']
    dataset = DATASETS.build(cfg.pseudo_labels.dataset)
    infos = _Infos(dataset)
    records = read_manifest(root / 'manifest.jsonl')
    problems = list(_images(root, [r['id'] for r in records], infos))
    for record in records:
        for name, sha256 in record['files'].items():
            problems += _file(root / name, sha256, infos.get(record['id']))
    made = run.get('files', {})
    for name, sha256 in made.items():
        problems += _file(root / name, sha256, None)
    if _INSTANCES in made and (root / _INSTANCES).is_file():
        problems += _annotations(root, infos)
    return sum(len(r['files']) for r in records) + len(made), problems


class _Infos:
    """Data infos by image id, taken from the dataset one at a time: it keeps them packed."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.ids = {dataset.get_data_info(i)['img_id']: i for i in range(len(dataset))}

    def get(self, image_id: str) -> dict[str, Any] | None:
        """An image's data info; None for an image of others."""
        return self.dataset.get_data_info(self.ids[image_id]) if image_id in self.ids else None


def _images(root: Path, ids: list[str], infos: _Infos) -> Iterator[str]:
    path = root / 'manifest.jsonl'
    counts = Counter(ids)
    yield from (f'{path}: the image {i} is there {n} times' for i, n in sorted(counts.items()) if n > 1)
    yield from (f'{path}: the image {i} is missing' for i in sorted(infos.ids.keys() - counts))
    yield from (f'{path}: the image {i} is not of the data set' for i in sorted(counts.keys() - infos.ids.keys()))


def _file(path: Path, sha256: str, info: dict | None) -> Iterator[str]:
    if not path.is_file():
        yield f'{path}: missing'
    elif file_sha256(path) != sha256:
        yield f'{path}: changed since it was written'
    elif path.suffix == '.png' and info is not None:
        found, expected = image_size(path), image_size(info['img_path'])
        if found != expected:
            yield f'{path}: {found} (height, width), the image {info["img_path"]} has {expected}'


def _annotations(root: Path, infos: _Infos) -> Iterator[str]:
    """Of a run of :class:`InstanceLabels`; other instances have no annotations to be compared with."""
    path = root / _INSTANCES
    try:
        found = read_coco_boxes(path)   # which refuses an id that is there twice
    except DataError as error:
        yield str(error)
        return
    by_stem = {Path(image['file_name']).stem: found.annotations[image['id']] for image in found.images}
    for image_id in sorted(infos.ids):
        own = read_json(root / 'instances' / f'{image_id}.json') or {}
        if 'left_out' not in own:
            continue
        if image_id not in by_stem:
            yield f'{path}: the image {image_id} is missing'
            continue
        info = infos.get(image_id)
        assert info is not None
        made = [a['id'] for a in by_stem[image_id] if not a.get('iscrowd')]
        if info.get('annotations') is None:
            count = len(info['instances']) - len(own['left_out'])
            if len(made) != count:
                yield f'{path}: {len(made)} objects of the image {image_id}, it has {count}'
            continue
        wanted = {a['id'] for a in info['annotations']} - set(own['left_out'])
        yield from (f'{path}: the annotation {i} of {image_id} is missing' for i in sorted(wanted - set(made)))
        yield from (f'{path}: the annotation {i} is none of {image_id}' for i in sorted(set(made) - wanted))

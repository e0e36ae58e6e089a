"""The data of a config as something to check."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from wsss_mm.datasets.check.image import ImageJob
from wsss_mm.datasets.check.layouts import Layout, corners, leaks
from wsss_mm.datasets.check.problems import Problem
from wsss_mm.datasets.toy_voc.writer import voc_palette
from wsss_mm.datasets.voc import WeakSegDataset
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.registry import DATASETS

# The section of a config, and the name that its list gets.
_SECTIONS = (('train_dataloader', 'train'), ('val_dataloader', 'val'), ('test_dataloader', 'test'),
             ('pseudo_labels', 'labelled'))
# Labels and pipelines that a run makes; the check is of what it begins with.
_LATER = dict(pipeline=[], test_mode=True, label_dirs=None, mask_ann_file=None, filter_cfg=None)


def config_layout(cfg: Config) -> Layout:
    """The images that a config's loaders and labelling run read, with the labels that they are given.

    Each data set of this package that ``train_dataloader``, ``val_dataloader``, ``test_dataloader`` or
    ``pseudo_labels`` names is built once, without its pipeline and without pseudo labels; other packages' are left out.

    Raises:
        ConfigError: no such data set, or data sets of different classes.
        DataError: as the data set's own.
    """
    if DefaultScope.get_current_instance() is None:
        init_default_scope(cfg.get('default_scope', 'mmseg'))
    splits: dict[str, list[str]] = {}
    infos: dict[str, tuple[WeakSegDataset, int]] = {}
    problems: list[Problem] = []
    classes: tuple[str, ...] = ()
    for section, split in _SECTIONS:
        for dataset in _built((cfg.get(section) or {}).get('dataset'), problems):
            found = tuple(dataset.metainfo['classes'])
            if classes and found != classes:
                raise ConfigError(f'{section} has other classes than the sections before it', file=cfg.filename,
                                  expected=', '.join(classes[:8]), fix='check one data set at a time')
            classes = found
            ids = []
            for i in range(len(dataset)):
                image_id = dataset.get_data_info(i)['img_id']
                ids.append(image_id)
                infos.setdefault(image_id, (dataset, i))
            splits[split] = list(dict.fromkeys(splits.get(split, []) + ids))
    if not classes:
        raise ConfigError('no data set of this package', file=cfg.filename,
                          expected='train_dataloader, val_dataloader, test_dataloader or pseudo_labels with a dataset '
                                   'such as wsss_mm.WeakSegDataset',
                          fix='name a config that trains or labels, or the folder with --root')
    if splits.get('test') == splits.get('val'):
        splits.pop('test', None)
    if splits.get('labelled') == splits.get('train'):
        splits.pop('labelled', None)
    problems += leaks(splits)

    def job(image_id: str) -> ImageJob:
        dataset, i = infos[image_id]
        return _job(dataset, dataset.get_data_info(i))
    return Layout('data of a config', cfg.filename, classes, splits, job, voc_palette()[:len(classes)],
                  problems=problems)


def _built(section: Any, problems: list[Problem]) -> Iterator[WeakSegDataset]:
    """The data sets of a section, those inside wrappers too."""
    if not isinstance(section, dict):
        return
    kind = DATASETS.get(section.get('type', '')) if isinstance(section.get('type'), str) else section.get('type')
    if isinstance(kind, type) and issubclass(kind, WeakSegDataset):
        changes = {k: v for k, v in _LATER.items() if k in section or k in ('pipeline', 'test_mode')}
        try:
            yield DATASETS.build({**section, **changes})
        except DataError as error:   # every image is wrong, or a folder is not there
            problems.append(Problem('lists', str(error).replace('\n', ' ')))
        return
    for inner in (section.get('dataset'), *(section.get('datasets') or ())):
        yield from _built(inner, problems)


def _job(dataset: WeakSegDataset, info: dict[str, Any]) -> ImageJob:
    image_id, image = info['img_id'], info['img_path']
    if (error := info.get('error')) is not None:
        kinds = {str(image): 'image', osp.join(dataset.box_dir or '', f'{image_id}.xml'): 'annotation'}
        kind = kinds.get(str(error.file), 'tags')
        problem = Problem(kind, f'{error.file}: {error.problem}', image_id)
        return ImageJob(image_id, image, problems=(problem, ))
    mask = info.get('seg_map_path')
    if mask and not dataset.masks_named and not osp.isfile(mask):
        mask = None   # of the default folder, which most stages do without
    files: dict[str, Any] = dict(mask=mask, clip=dataset.box_outside == 'clip', size=info.get('ann_size'))
    names = dataset.metainfo['classes'][1:]
    if (annotations := info.get('annotations')) is not None:
        # labels of annotations whose box has no area are left out with them
        files.update(names=tuple(names[i['bbox_label']] for i in info['instances']),
                     boxes=tuple(corners(a['bbox']) for a in annotations))
    elif dataset.box_dir and 'instances' in info:
        files.update(xml=osp.join(dataset.box_dir, f'{image_id}.xml'))
    if dataset.tag_file and 'img_labels' in info:
        files.update(tags=tuple(names[i] for i in info['img_labels']))
    return ImageJob(image_id, image, **files)

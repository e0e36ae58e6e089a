"""Datasets with weak labels: boxes, image tags, pseudo labels and, for some images, masks."""

from __future__ import annotations

import difflib
import logging
import os
import os.path as osp
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset, PascalVOCDataset

from wsss_mm.datasets.label_readers import (
    BOX_CONVENTIONS,
    IMAGE_SUFFIXES,
    OUTSIDE_POLICIES,
    read_id_list,
    read_tags,
    read_voc_xml,
)
from wsss_mm.datasets.supervision import check_supervision, draw_supervision, listed_supervision
from wsss_mm.datasets.toy_voc import TOY_CLASSES, TOY_PALETTE
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.registry import DATASETS


@DATASETS.register_module()
class WeakSegDataset(BaseSegDataset):
    """Images in PASCAL VOC's folder layout with weak labels; the base for one's own data.

    Class 0 is the background. Every data info holds ``img_path``, ``img_id`` (the line of the list), ``num_classes``
    and mmseg's own keys; with boxes or tags ``img_labels`` (sorted class indices present, 0…C-1); with boxes also
    ``instances`` (``bbox``, ``bbox_label``, ``ignore_flag``) and ``ann_size`` (height, width as annotated); with label
    maps ``seg_map_path`` and ``<name>_path`` for each further name in ``label_dirs``; with ``prior_dir``
    ``prior_path``; and with ``mask_count``, ``box_count`` or ``supervision_files`` ``supervision``, one of ``'tags'``,
    ``'boxes'`` and ``'masks'``: then ``instances`` and ``seg_map_path`` are there for the images of that kind alone.

    Annotations are parsed when the list is read (10,582 XML files: a second or two), so that a mistake shows before
    the training starts.

    Args:
        ann_file: Id list below ``data_root``, or several, which are joined; ``''`` takes every image of the folder.
        data_root: Folder that ``ann_file``, ``data_prefix``, ``box_dir`` and ``mask_ann_file`` are relative to.
        data_prefix: Folders of images (``img_path``) and of ground-truth masks (``seg_map_path``); by default VOC's.
            Masks of a folder that is named here are looked for when the list is read; those of the default folder
            only when the pipeline loads them, since most weakly-supervised stages do without.
        box_dir: Folder of the XML annotations; None where no boxes are needed.
        tag_file: JSON of image tags below ``data_root``, ``{image id: [class names]}``, in place of the annotations
            of ``box_dir``; these are then read for the images with boxes only.
        box_convention: ``'official'`` takes VOC's 1-based numbers as they stand, as BANA's code does; ``'exact'``
            covers the very same pixels. See :func:`~wsss_mm.datasets.label_readers.read_voc_xml`.
        box_outside: ``'error'`` or ``'clip'``, for boxes that stick out of their image.
        use_difficult: Take objects marked difficult, as BANA does.
        label_dirs: Pseudo-label folders relative to the working directory, e.g. ``dict(seg_map='…/Y_crf',
            seg_map_ret='…/Y_ret')``; ``seg_map`` replaces the ground truth. Pseudo labels hold the ids of this
            dataset's own classes, so no ``label_map`` applies to them.
        mask_ann_file: Id list of images with masks (semi-supervised): all their label maps are the ground truth.
        prior_dir: Folder of class-agnostic foreground priors ``<image id>.png``, relative to the working directory,
            for :class:`~wsss_mm.datasets.transforms.LoadPrior`.
        mask_count, box_count: Extra supervision: so many images have masks, so many others boxes; all others tags
            alone. None for both: every image has all labels that the folders hold. The draw is by
            :func:`~wsss_mm.datasets.supervision.draw_supervision`.
        extra_ann_file: Id list below ``data_root`` that extra supervision is drawn from; the whole list if None.
        extra_seed: Seed of that draw.
        supervision_files: In place of the draw, id lists below ``data_root`` by kind, ``dict(masks='…', boxes='…')``:
            whose images have masks, or boxes; an image of both has its mask, all others have tags alone. Ids that the
            dataset does not hold are passed over.
        labels_made_by: Config of the stage that writes ``label_dirs``; named in the error when they are missing.
        kwargs: As of mmseg's ``BaseSegDataset``; ``img_suffix=None`` takes each image with the suffix that it has, JPEG
            or PNG. With ``test_mode=True`` single bad images are announced when the list is read and raise their error
            only when asked for, so that a labelling run can put them aside.

    Raises:
        DataError: missing folders or files (three are named, with the count), an empty split, bad annotations.
        ConfigError: arguments that contradict each other.
    """

    DEFAULT_PREFIX: Mapping[str, str] = dict(img_path='JPEGImages', seg_map_path='SegmentationClass')
    PREPARED_BY = 'check data_root, ann_file and data_prefix in the config'

    # Set by the base, which takes one list only and knows neither joined lists nor folders left out.
    ann_file: Any   # str | list[str]
    data_prefix: dict[str, str]

    def __init__(self, ann_file: str | Sequence[str] = '', data_root: str | None = None,
                 data_prefix: dict | None = None, box_dir: str | None = 'Annotations',
                 box_convention: str = 'official', box_outside: str = 'error', use_difficult: bool = True,
                 label_dirs: dict[str, str] | None = None, mask_ann_file: str | None = None,
                 labels_made_by: str | None = None, tag_file: str | None = None, prior_dir: str | None = None,
                 mask_count: int | None = None, box_count: int | None = None, extra_ann_file: str | None = None,
                 extra_seed: int = 0, supervision_files: dict[str, str] | None = None, **kwargs: Any) -> None:
        self.box_dir = box_dir
        self.tag_file = tag_file
        self.prior_dir = prior_dir
        self.supervision_files = dict(supervision_files or {})
        self.drawn_supervision = mask_count is not None or box_count is not None
        self.extra_supervision = self.drawn_supervision or bool(self.supervision_files)
        self.mask_count, self.box_count = mask_count or 0, box_count or 0
        self.extra_ann_file, self.extra_seed = extra_ann_file, extra_seed
        self.box_convention = box_convention
        self.box_outside = box_outside
        self.use_difficult = use_difficult
        self.label_dirs = dict(label_dirs or {})
        self.mask_ann_file = mask_ann_file
        self.labels_made_by = labels_made_by
        self.masks_named = bool((data_prefix or {}).get('seg_map_path'))
        prefix = dict(data_prefix or self.DEFAULT_PREFIX)
        self._check_arguments(prefix, kwargs)
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=prefix, **kwargs)

    def _check_arguments(self, prefix: dict, kwargs: dict) -> None:
        if self.box_convention not in BOX_CONVENTIONS:
            raise ConfigError(f'box_convention is {self.box_convention!r}', expected=f'one of {BOX_CONVENTIONS}')
        if self.box_outside not in OUTSIDE_POLICIES:
            raise ConfigError(f'box_outside is {self.box_outside!r}', expected=f'one of {OUTSIDE_POLICIES}')
        if kwargs.get('reduce_zero_label'):
            raise ConfigError('reduce_zero_label is True', expected='False: class 0 is the background')
        if self.label_dirs and 'seg_map' not in self.label_dirs:
            raise ConfigError(f'label_dirs has {sorted(self.label_dirs)}', expected="'seg_map' among its keys")
        if self.mask_ann_file and not (self.label_dirs and prefix.get('seg_map_path')):
            raise ConfigError('mask_ann_file needs pseudo labels and masks to choose between',
                              expected='label_dirs=dict(seg_map=…) and data_prefix=dict(seg_map_path=…)')
        check_supervision(self.supervision_files, self.drawn_supervision)
        if self.extra_supervision and self.label_dirs:
            raise ConfigError('mask_count, box_count or supervision_files together with label_dirs',
                              expected='extra supervision of a classifier, or pseudo labels of a segmentor',
                              fix='mask_ann_file names images whose pseudo labels the ground truth replaces')
        if (self.mask_count or 'masks' in self.supervision_files) and not prefix.get('seg_map_path'):
            raise ConfigError('some images are to have masks, but there is no folder of masks',
                              expected='data_prefix=dict(img_path=…, seg_map_path=…)')
        if self._some_boxes and self.box_dir is None:
            raise ConfigError('some images are to have boxes, but box_dir is None', expected="box_dir='Annotations'")
        if self.extra_ann_file is not None and not self.drawn_supervision:
            raise ConfigError('extra_ann_file without extra supervision', expected='mask_count or box_count')

    @property
    def _some_boxes(self) -> bool:
        return bool(self.box_count) or 'boxes' in self.supervision_files

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int] | None:
        """mmseg's mapping of mask ids for a subset of the dataset's classes; None for classes of one's own."""
        if set(new_classes or ()) <= set(cls.METAINFO.get('classes', ())):
            return super().get_label_map(new_classes)
        return None

    def _join_prefix(self) -> None:
        root = self.data_root or ''

        def join(path: str) -> str:
            return osp.join(root, path) if path else path
        self.ann_file = join(self.ann_file) if isinstance(self.ann_file, str) else [join(f) for f in self.ann_file]
        self.data_prefix = {key: osp.join(root, path) for key, path in self.data_prefix.items() if path is not None}
        for name in ('box_dir', 'mask_ann_file', 'tag_file', 'extra_ann_file'):
            path = getattr(self, name)
            setattr(self, name, None if path is None else join(path))
        self.supervision_files = {kind: join(path) for kind, path in self.supervision_files.items()}

    def get_cat_ids(self, idx: int) -> list[int]:
        """Class indices (0…C-1) present in an image, for MMEngine's ``ClassBalancedDataset``."""
        return self.get_data_info(idx)['img_labels']

    def prepare_data(self, idx: int) -> Any:
        """One image through the pipeline.

        Raises:
            DataError: the image's own error, where ``test_mode`` has put it off.
        """
        error = self.get_data_info(idx).get('error')
        if error is not None:
            raise error
        return super().prepare_data(idx)

    def load_data_list(self) -> list[dict]:
        """Read the list, look for every file, parse the annotations."""
        self._check_folders()
        with_mask = set(read_id_list(self.mask_ann_file)) if self.mask_ann_file else set()
        ids = self._image_ids()
        kinds = self._kinds(ids) if self.extra_supervision else {}
        infos = [self._paths_of(image_id, image_id in with_mask, kinds.get(image_id)) for image_id in ids]
        unchecked = () if self.masks_named or self.label_dirs or kinds else ('seg_map_path',)
        missing = _missing_files(infos, unchecked)
        index = self._class_index()
        tags = None if self.tag_file is None else read_tags(self.tag_file)
        for info in infos:
            if info['img_id'] in missing:
                info['error'] = missing[info['img_id']]
                continue
            try:
                info.update(self._weak_labels_of(info, index, tags))
            except DataError as error:
                info['error'] = error
        self.__dict__.pop('_image_names', None)   # the infos hold them
        failed = [info for info in infos if 'error' in info]
        if failed:
            summary = self._summary(failed, len(infos))
            if len(failed) == len(infos) or not self.test_mode:
                raise summary
            print_log(str(summary), 'current', logging.WARNING)
        return infos

    def _check_folders(self) -> None:
        if not self.metainfo.get('classes'):
            raise ConfigError('the dataset has no classes', fix="metainfo=dict(classes=('background', 'a', 'b'))")
        for name, folder in self.label_dirs.items():
            if not osp.isdir(folder):
                raise DataError(f'the pseudo labels {name!r} (label_dirs) are not there', file=folder,
                                expected='a folder of label maps, <image id>.png', fix=self._labels_command())
        folders: dict[str, str | None] = dict(img_path=self.data_prefix.get('img_path'))
        if self.tag_file is None or self._some_boxes:
            folders['box_dir'] = self.box_dir
        if self.masks_named:
            folders['seg_map_path'] = self.data_prefix.get('seg_map_path')
        for name, path in folders.items():
            if path is not None and not osp.isdir(path):
                raise DataError(f'no such folder ({name})', file=path, fix=self._data_command())

        if self.prior_dir is not None and not osp.isdir(self.prior_dir):
            raise DataError('no such folder (prior_dir)', file=self.prior_dir,
                            expected='<image id>.png: saliency maps or label maps, see docs/data.md')

    def _data_command(self) -> str:
        return self.PREPARED_BY.format(root=self.data_root or 'ROOT')

    def _labels_command(self) -> str:
        if self.labels_made_by is None:
            return 'make them with python tools/generate.py CONFIG, or correct label_dirs'
        return (f'run: python tools/generate.py {self.labels_made_by}\n'
                '    (python tools/train.py with this config runs the whole chain)')

    def _image_ids(self) -> list[str]:
        if self.ann_file:
            files = [self.ann_file] if isinstance(self.ann_file, str) else self.ann_file
            return list(dict.fromkeys(image_id for file in files for image_id in read_id_list(file)))
        folder, suffix = self.data_prefix['img_path'], self.img_suffix
        if suffix is None:
            ids = sorted(self._image_names)
        else:
            ids = sorted(name[:-len(suffix)] for name in os.listdir(folder) if name.endswith(suffix))
        if not ids:
            raise DataError(f'no image named *{suffix or IMAGE_SUFFIXES} in this folder', file=folder,
                            fix=self._data_command())
        return ids

    def _kinds(self, ids: list[str]) -> dict[str, str]:
        if self.supervision_files:
            return dict.fromkeys(ids, 'tags') | listed_supervision(ids, self.supervision_files)
        eligible = ids
        if self.extra_ann_file is not None:
            chosen = set(read_id_list(self.extra_ann_file))
            eligible = [image_id for image_id in ids if image_id in chosen]
        drawn = draw_supervision(eligible, self.mask_count, self.box_count, self.extra_seed)
        return dict.fromkeys(ids, 'tags') | drawn

    def _image_path(self, image_id: str) -> str:
        if self.img_suffix is None:
            name = self._image_names.get(image_id, image_id + IMAGE_SUFFIXES[0])
        else:
            name = image_id + self.img_suffix
        return osp.join(self.data_prefix['img_path'], name)

    @cached_property
    def _image_names(self) -> dict[str, str]:
        """File name of each image in the folder, by its id: for images of several suffixes."""
        names = (osp.splitext(name) for name in os.listdir(self.data_prefix['img_path']))
        return {stem: stem + suffix for stem, suffix in names if suffix in IMAGE_SUFFIXES}

    def _paths_of(self, image_id: str, with_mask: bool, kind: str | None) -> dict:
        pseudo = bool(self.label_dirs) and not with_mask
        info: dict[str, Any] = dict(
            img_id=image_id, img_path=self._image_path(image_id),
            num_classes=len(self._metainfo['classes']), label_map=None if pseudo else self.label_map,
            reduce_zero_label=False, seg_fields=[])
        for name in (self.label_dirs or ('seg_map',)) if kind in (None, 'masks') else ():
            folder = self.label_dirs[name] if pseudo else self.data_prefix.get('seg_map_path')
            if folder is not None:
                suffix = '.png' if pseudo else self.seg_map_suffix
                info[f'{name}_path'] = osp.join(folder, image_id + suffix)
        if self.prior_dir is not None:
            info['prior_path'] = osp.join(self.prior_dir, image_id + '.png')
        if self.box_dir is not None and (self.tag_file is None or kind == 'boxes'):
            info['ann_path'] = osp.join(self.box_dir, image_id + '.xml')
        if kind is not None:
            info['supervision'] = kind
        return info

    def _weak_labels_of(self, info: dict, index: dict[str, int], tags: Mapping[str, list[str]] | None) -> dict:
        found = self._boxes_of(info['ann_path'], index) if 'ann_path' in info else {}
        if info.get('supervision', 'boxes') != 'boxes':
            found = dict(img_labels=found['img_labels']) if found else {}
        if tags is not None:
            image_id = info['img_id']
            if image_id not in tags:
                raise DataError(f'no tags of image {image_id!r}', file=self.tag_file,
                                expected='an entry for every image of the list',
                                fix=f'add "{image_id}": ["…"], an empty list where no class is there')
            labels = self._class_indices(image_id, tags[image_id], index)
            beyond = sorted(set(found.get('img_labels', ())) - set(labels))
            if beyond:
                names = ', '.join(self._metainfo['classes'][i + 1] for i in beyond)
                raise DataError(f'has boxes of {names}, which the tags do not name', file=info['ann_path'],
                                expected=f'boxes of the classes that {self.tag_file} names')
            found['img_labels'] = labels
        return found

    def _class_indices(self, image_id: str, names: list[str], index: dict[str, int]) -> list[int]:
        for name in names:
            if name not in index:
                close = difflib.get_close_matches(name, index, 1)
                raise DataError(f'unknown class name {name!r} (image {image_id!r})', file=self.tag_file,
                                expected='one of ' + ', '.join(index),
                                fix=f'perhaps it is {close[0]!r}' if close else 'correct the name, or add the class to '
                                    'metainfo=dict(classes=...)')
        return sorted({index[name] for name in names} - {-1})

    def _boxes_of(self, ann_path: str, class_to_index: dict[str, int]) -> dict:
        found = read_voc_xml(ann_path, class_to_index, self.box_convention, self.box_outside)
        instances = [dict(bbox=box.tolist(), bbox_label=int(label), ignore_flag=int(difficult))
                     for box, label, difficult in zip(found.boxes, found.labels, found.difficult, strict=True)
                     if label >= 0 and (self.use_difficult or not difficult)]
        return dict(instances=instances, img_labels=sorted({i['bbox_label'] for i in instances}),
                    ann_size=found.size)

    def _class_index(self) -> dict[str, int]:
        """Class index of each name; -1 for the dataset's classes that ``metainfo`` leaves out."""
        chosen = {name: index for index, name in enumerate(self._metainfo['classes'][1:])}
        if self.label_map is not None:
            chosen.update((name, -1) for name in self.METAINFO['classes'][1:] if name not in chosen)
        return chosen

    def _summary(self, failed: list[dict], total: int) -> DataError:
        first = failed[0]['error']
        shown = '\n'.join('  ' + str(info['error']).replace('\n', '\n  ') for info in failed[:3])
        pseudo = any(str(first.file).startswith(osp.join(folder, '')) for folder in self.label_dirs.values())
        # a wrong annotation says itself what mends it
        fix = self._labels_command() if pseudo else None if first.fix else self._data_command()
        return DataError(f'{len(failed)} of {total} images cannot be used:\n{shown}',
                         file=self.ann_file if isinstance(self.ann_file, str) and self.ann_file else self.data_root,
                         fix=fix)


def _missing_files(infos: list[dict], unchecked: Sequence[str]) -> dict[str, DataError]:
    """The first missing file of each image that lacks one; every folder is listed once, no file is stat'ed."""
    listings: dict[str, set[str]] = {}
    missing = {}
    for info in infos:
        for key in [k for k in info if k.endswith('_path') and k not in unchecked]:
            folder, name = osp.split(info[key])
            if folder not in listings:
                listings[folder] = set(os.listdir(folder)) if osp.isdir(folder) else set()
            if name not in listings[folder]:
                missing[info['img_id']] = DataError(f'no such file ({key})', file=info[key])
                break
    return missing


@DATASETS.register_module()
class WeakVOCDataset(WeakSegDataset):
    """PASCAL VOC 2012 with weak labels; arguments as of :class:`WeakSegDataset`."""

    METAINFO = PascalVOCDataset.METAINFO
    PREPARED_BY = 'python tools/prepare_dataset.py voc --root {root}   (says what to put where)'


@DATASETS.register_module()
class ToyVOCDataset(WeakSegDataset):
    """The built-in toy VOC; its boxes are exact, so they are read as ``'exact'``."""

    METAINFO = dict(classes=TOY_CLASSES, palette=TOY_PALETTE)
    PREPARED_BY = 'python tools/prepare_dataset.py toy --root {root}   (tools/train.py draws it by itself)'

    def __init__(self, ann_file: str | Sequence[str] = '', *, box_convention: str = 'exact', **kwargs: Any) -> None:
        super().__init__(ann_file, box_convention=box_convention, **kwargs)

"""A run that makes instances of maps: the COCO file, resume, workers, and what stock loaders make of it."""

import json

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from wsss_mm.engine.stages import load_config
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.pseudo_labels import InstanceLabels
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.pseudo_labels.workers import LabelWorkers
from wsss_mm.run_lengths import decode_mask

I = 255  # noqa: E741  ignored


def test_a_run_gives_the_sources_annotations_with_masks(masks_run, explained_objects):
    source = json.loads((explained_objects / 'toy/annotations/boxes_train.json').read_text())
    truth = json.loads((explained_objects / 'toy/annotations/instances_train.json').read_text())
    found = json.loads((masks_run / 'instances.json').read_text())
    assert found['categories'] == source['categories'] and found['images'] == source['images']
    by_id = {a['id']: a for a in found['annotations']}
    assert sorted(by_id) == sorted(a['id'] for a in source['annotations'])
    for a in source['annotations']:
        assert {k: by_id[a['id']][k] for k in ('bbox', 'category_id', 'image_id')} == {
            k: a[k] for k in ('bbox', 'category_id', 'image_id')}
    ious = []
    for a in truth['annotations']:
        mask, own = (decode_mask(x['segmentation'], 96, 96) for x in (a, by_id[a['id']]))
        ious.append((mask & own).sum() / (mask | own).sum())
    assert np.mean(ious) > .6
    stem = source['images'][0]['file_name'][:-4]
    labels = np.array(Image.open(masks_run / f'labels/{stem}.png'))
    truth_map = np.array(Image.open(explained_objects / f'toy/SegmentationClass/{stem}.png'))
    assert (labels == truth_map)[(labels != I) & (truth_map != I)].mean() > .85


def test_a_run_that_is_cut_short_ends_with_the_same_bytes(masks_config, masks_run, label_masks, contents, monkeypatch,
                                                              tmp_path):
    """Cut after five images, in the middle of a line, then while the file of all is being written."""
    path, root, plain = masks_config(tmp_path), tmp_path / 'masks', LabelWorkers.map

    def stopping(self, samples):
        for number, item in enumerate(plain(self, samples), 1):
            yield item
            if number == 5:
                raise KeyboardInterrupt
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LabelWorkers, 'map', stopping)
        label_masks(path)
    with open(next(root.glob('sharing/*.jsonl')), 'ab') as stream:
        stream.write(b'{"files": {"labels/tra')
    (root / 'labels/.train_00009.png.tmp-0-77').write_bytes(b'half')

    def half(self, root, ids):
        yield b'{"annotations": ['
        raise KeyboardInterrupt
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(InstanceLabels, '_lines', half)
        label_masks(path)
    assert not (root / 'instances.json').exists() and not json.loads((root / 'run.json').read_text())['complete']
    assert label_masks(path) == dict(complete=True, labelled=0, skipped=12, failures={})
    expected, found = contents(masks_run), contents(root)
    assert expected.keys() == found.keys()
    assert all(expected[k] == found[k] for k in expected if k != 'run.json')   # which names the folder
    assert label_masks(path)['skipped'] == 12 and contents(root) == found


def test_workers_change_no_byte(masks_config, masks_run, contents, tmp_path):
    path = masks_config(tmp_path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        cfg = load_config(path)
        cfg.pseudo_labels.num_workers = 1
        assert LabellingRun(cfg).run()['labelled'] == 12
    assert contents(tmp_path / 'masks')['instances.json'] == contents(masks_run)['instances.json']


def test_other_maps_or_boxes_are_refused(masks_copy, label_masks, explained_objects):
    record, boxes = explained_objects / 'maps/run.json', explained_objects / 'toy/annotations/boxes_train.json'
    kept = record.read_bytes(), boxes.read_bytes()
    try:
        record.write_text(json.dumps(dict(complete=True, hash='of others')))
        with pytest.raises(ConfigError, match='changed: maps'):
            label_masks(masks_copy)
        record.write_text(json.dumps(dict(complete=False, hash='of the maps')))
        with pytest.raises(DataError, match='not complete'):
            label_masks(masks_copy)
        record.write_bytes(kept[0])
        boxes.write_bytes(kept[1] + b' ')
        with pytest.raises(ConfigError, match='changed: annotations'):
            label_masks(masks_copy)
    finally:
        record.write_bytes(kept[0])
        boxes.write_bytes(kept[1])


# ---- stock loaders

def test_mmdet_trains_on_the_file(masks_run, explained_objects):
    """mmdet's own dataset and loader: every annotation, none ignored, masks as written."""
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations
    found = json.loads((masks_run / 'instances.json').read_text())
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = CocoDataset(
            ann_file=str(masks_run / 'instances.json'),
            data_prefix=dict(img=str(explained_objects / 'toy/JPEGImages')),
            metainfo=dict(classes=[c['name'] for c in found['categories']]), pipeline=[], test_mode=True)
        load = LoadAnnotations(with_bbox=True, with_mask=True, poly2mask=True)
        assert len(dataset) == 12
        count = 0
        for i in range(len(dataset)):
            info = dataset.get_data_info(i)
            own = [a for a in found['annotations'] if a['image_id'] == info['img_id']]
            results = load(dict(info, img_shape=(96, 96), ori_shape=(96, 96)))
            assert not results['gt_ignore_flags'].any() and len(results['gt_masks'].masks) == len(own)
            count += len(own)
            for mask, a in zip(results['gt_masks'].masks, own, strict=True):
                assert np.array_equal(mask > 0, decode_mask(a['segmentation'], 96, 96))
        assert count == len(found['annotations'])


def test_mmseg_trains_on_the_label_maps(masks_run, explained_objects):
    """mmseg's own VOC-style dataset, with pillow, reads palette numbers as classes."""
    from mmseg.datasets import PascalVOCDataset
    from mmseg.datasets.transforms import LoadAnnotations
    dataset = PascalVOCDataset(
        ann_file=str(explained_objects / 'toy/ImageSets/Segmentation/train.txt'), pipeline=[], data_prefix=dict(
            img_path=str(explained_objects / 'toy/JPEGImages'), seg_map_path=str(masks_run / 'labels')))
    load, seen = LoadAnnotations(imdecode_backend='pillow'), set()
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        labels = load(info)['gt_seg_map']
        assert np.array_equal(labels, np.array(Image.open(info['seg_map_path'])))
        seen |= set(np.unique(labels).tolist())
    assert len(dataset) == 12 and {0, I} < seen <= {*range(7), I}

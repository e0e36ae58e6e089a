"""Instances of annotated boxes: label maps of them, the COCO file, what stock loaders make of it, resume, the check."""

import json
import shutil

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from wsss_mm.datasets.prepare_instances import write_instances
from wsss_mm.engine.stages import load_config
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.explainers import object_maps
from wsss_mm.pseudo_labels import InstanceLabels, semantic_labels
from wsss_mm.pseudo_labels.instance_labels import valid_boxes
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.pseudo_labels.workers import LabelWorkers
from wsss_mm.refinement import ProposalRefiner, Proposals, refine_mask
from wsss_mm.registry import TASK_UTILS
from wsss_mm.run_lengths import decode_mask, encode_masks
from wsss_mm.structures import ImageSample, ObjectMasks

I = 255  # noqa: E741  ignored


def row(*values):
    return np.array([values], np.uint8)


# ---- label maps

@pytest.mark.parametrize('mode, expected', [('official', (1, 1, I, I, 2, I)), ('paper', (1, 1, I, 2, 2, I)),
                                            ('ignore_not_over_fg', (1, 1, I, 2, 2, I))])
def test_two_classes_and_what_is_ignored(mode, expected):
    """Two objects of class 1, one of class 2, whose boxes overlap in part."""
    masks = np.stack([row(1, 1, 1, 2, 0, 0), row(0, 1, 0, 0, 0, 0), row(0, 0, 1, 1, 1, 2)])
    boxes = np.array([[0, 0, 4, 1], [0, 0, 4, 1], [1, 0, 6, 1]], np.float32)
    assert semantic_labels(masks, boxes, np.array([1, 1, 2]), mode=mode)[0].tolist() == list(expected)


@pytest.mark.parametrize('mode, expected', [('official', (1, 3, 2, 2, 1, 0)), ('paper', (1, I, I, I, 1, 0)),
                                            ('ignore_not_over_fg', (1, 3, 2, 2, 1, 0))])
def test_a_box_within_another_is_drawn_over_it(mode, expected):
    """The smallest last: 3 within 2 within 1."""
    masks = np.stack([row(0, 1, 0, 0, 0, 0), row(1, 1, 1, 1, 1, 0), row(0, 1, 1, 1, 0, 0)])
    boxes = np.array([[1, 0, 2, 1], [0, 0, 6, 1], [1, 0, 4, 1]], np.float32)
    assert semantic_labels(masks, boxes, np.array([3, 1, 2]), mode=mode)[0].tolist() == list(expected)


def test_equal_boxes_are_not_within_each_other():
    masks, boxes = np.stack([row(1, 1, 0), row(0, 1, 1)]), np.array([[0, 0, 3, 1]] * 2, np.float32)
    assert semantic_labels(masks, boxes, np.array([1, 2]))[0].tolist() == [1, I, 2]


@pytest.mark.parametrize('seed', range(4))
def test_label_maps_are_those_of_the_published_loops(seed):
    """One plane per class, then box after box."""
    rng = np.random.default_rng(seed)
    masks = rng.choice(3, (7, 9, 11), p=(.6, .35, .05)).astype(np.uint8)
    low = rng.integers(0, 5, (7, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 6, (7, 2))], 1).astype(np.float32)
    labels = rng.integers(1, 4, 7)
    planes = np.zeros((4, 9, 11), bool)
    for mask, label in zip(masks, labels, strict=True):
        planes[label] |= mask == 1
    expected = np.where(planes.sum(0) > 1, I, planes.argmax(0))
    for i in np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(1), kind='stable'):
        if any((boxes[i][:2] >= b[:2]).all() and (boxes[i][2:] <= b[2:]).all() and (boxes[i] != b).any()
               for b in boxes):
            expected[masks[i] == 1] = labels[i]
    for mask in masks:
        expected[mask == 2] = I
    assert np.array_equal(semantic_labels(masks, boxes, labels), expected)


@pytest.mark.parametrize('mode, expected', [('official', (I, I, 0, 0)), ('paper', (1, I, 0, 0))])
def test_crowds_are_ignored(mode, expected):
    masks, boxes = row(1, 0, 0, 0)[None], np.array([[0, 0, 1, 1]], np.float32)
    mask = np.array([[True, True, False, False]])
    for crowd in (dict(bbox=[0, 0, 2, 1]), dict(bbox=[0, 0, 4, 1], segmentation=encode_masks(mask[None])[0])):
        assert semantic_labels(masks, boxes, np.array([1]), [crowd], mode)[0].tolist() == list(expected)
        assert semantic_labels(masks[:0], boxes[:0], np.zeros(0, int), [crowd])[0].tolist() == [I, I, 0, 0]
    with pytest.raises(DataError, match='size'):
        semantic_labels(masks[..., :3], boxes, np.array([1]), [crowd])


def test_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match="mode='best'"):
        semantic_labels(row(1)[None], np.zeros((1, 4)), np.array([1]), mode='best')


# ---- one image

@TASK_UTILS.register_module()
class GivenMasks(InstanceLabels):
    """Masks by annotation id, from the test."""

    def __init__(self, masks, **options):
        super().__init__(**options)
        self.masks = masks

    def object_masks(self, sample, features, constants):
        masks = np.stack([self.masks[i] for i in sample.box_ids.tolist()])
        return ObjectMasks(masks, sample.box_ids, sample.boxes, sample.box_labels, ['ok'] * len(masks),
                           details=[dict(positives=int(i)) for i in sample.box_ids])


def sample_of(boxes, labels, **fields):
    image = np.full((40, 60, 3), 100, np.uint8)
    image[5:25, 5:35] = 200
    labels = np.array(labels, np.int64)
    return ImageSample('a', image, np.array(boxes, np.float32).reshape(-1, 4), labels, np.unique(labels), **fields)


def block(x1, y1, x2, y2, value=1):
    mask = np.zeros((40, 60), np.uint8)
    mask[y1:y2, x1:x2] = value
    return mask


def made(result):
    return json.loads(result.files['instances/a.json'])


def test_an_image_of_each_kind_of_object():
    """One with a mask, one without a pixel, one whose box is outside; ids and boxes are the source's."""
    masks = {7: block(5, 5, 20, 20) + block(20, 5, 30, 20, 2), 9: block(0, 0, 0, 0), 4: block(0, 0, 1, 1)}
    annotations = [dict(id=i, image_id=3, category_id=10 * c, bbox=[b], difficult=0, area=1, segmentation='truth')
                   for i, c, b in ((7, 1, 'b7'), (9, 2, 'b9'), (4, 1, 'b4'))]
    sample = sample_of([[4.5, 5, 35, 25], [36, 20, 56, 36], [59.5, 3, 80, 30]], [1, 2, 1], annotations=annotations,
                       crowds=[dict(id=5, image_id=3, category_id=20, bbox=[0, 38, 60, 2], iscrowd=1)])
    result = GivenMasks(masks, ann_file='boxes.json').label(sample, {}, {})
    found = made(result)
    assert found['left_out'] == [4] and [a['id'] for a in found['instances']] == [7, 9]
    first, second = found['instances']
    assert first == dict(id=7, image_id=3, category_id=10, bbox=['b7'], difficult=0, area=225, iscrowd=0, status='ok',
                         positives=7, segmentation=encode_masks(masks[7][None] == 1)[0],
                         ignore_region=encode_masks(masks[7][None] == 2)[0])
    assert second['status'] in ('box_prior', 'box_inner')
    mask = decode_mask(second['segmentation'], 40, 60)
    assert mask.sum() == second['area'] > 64 and mask[28, 46]
    crowd = found['crowds'][0]
    assert crowd['iscrowd'] == 1 and crowd['area'] == 120 == decode_mask(crowd['segmentation'], 40, 60).sum()
    labels = result.labels['labels']
    assert (labels[38:] == I).all() and (labels[5:20, 5:20] == 1).all() and (labels[5:20, 20:30] == I).all()
    assert (labels[mask] == 2).all() and (labels[masks[4] == 1] == 0).all()
    assert len(result.notes) == 2 and 'annotation 4 left out' in result.notes[0] and 'annotation 9: ' in result.notes[1]


def test_boxes_and_numbers_without_a_coco_file():
    found = made(GivenMasks({1: block(5, 5, 20, 20)}, classes=['cow']).label(
        sample_of([[5.25, 5, 35.5, 25]], [1]), {}, {}))
    assert found['instances'][0]['bbox'] == [5.25, 5, 30.25, 20] and found['instances'][0]['category_id'] == 1
    assert found['image'] == dict(id='a', file_name='a.jpg', height=40, width=60)


def test_an_image_without_objects():
    class NoMasks(GivenMasks):
        def object_masks(self, sample, features, constants):
            return ObjectMasks(np.zeros((0, 40, 60), np.uint8), sample.box_ids, sample.boxes, sample.box_labels, [])
    result = NoMasks({}, classes=['cow']).label(sample_of([], []), {}, {})
    assert not result.labels['labels'].any() and made(result)['instances'] == []


def refiner(proposals):
    found = ProposalRefiner(dict(type='wsss_mm.HierarchyProposals'))
    found.proposals = lambda image_id, image: proposals
    return found


@pytest.mark.parametrize('refine_labels', [True, False])
def test_masks_are_refined_by_proposals(refine_labels, monkeypatch):
    """The sure mask and the possible one, each by the rule; the label map of these or of those before."""
    sure, possible = block(5, 5, 20, 45), block(5, 5, 35, 25)
    proposals = Proposals.from_masks([block(5, 5, 38, 24) > 0, block(4, 4, 22, 30) > 0, block(6, 6, 10, 10) > 0])
    generator = GivenMasks({1: np.where(sure, 1, 2 * possible)}, classes=['cow'], refine_labels=refine_labels)
    generator.refiner = refiner(proposals)
    box = np.array([2, 2, 40, 38], np.float32)
    result = generator.label(sample_of([box], [1]), {}, {})
    mask = decode_mask(made(result)['instances'][0]['segmentation'], 40, 60)
    expected = refine_mask(sure > 0, box, proposals)
    assert np.array_equal(mask, expected) and (mask != (sure > 0)).any()
    region = decode_mask(made(result)['instances'][0]['ignore_region'], 40, 60)
    assert np.array_equal(region, refine_mask((sure | possible) > 0, box, proposals) & ~expected)
    labels = result.labels['labels']
    assert np.array_equal(labels == 1, mask if refine_labels else sure > 0)


def test_a_mask_that_refinement_would_empty_stays():
    """The best proposal has a pixel in common with the mask, but none in the box."""
    mask = block(18, 5, 22, 25)
    generator = GivenMasks({1: mask}, classes=['cow'])
    proposals = Proposals.from_masks([block(30, 30, 40, 40) > 0])
    generator.refiner = refiner(proposals)
    found = made(generator.label(sample_of([[5, 5, 20, 25]], [1]), {}, {}))['instances'][0]
    assert np.array_equal(decode_mask(found['segmentation'], 40, 60), mask == 1)


def test_valid_boxes():
    boxes = np.array([[-5, 0, 1, 9], [-5, 0, .5, 9], [9, 9, 10, 10], [9.5, 9, 20, 10], [30, 3, 40, 8]], np.float32)
    assert valid_boxes(boxes, 10, 10).tolist() == [True, False, True, False, False]


def test_what_does_not_fit_is_refused():
    sample, masks = sample_of([[5, 5, 35, 25]], [1]), {1: block(5, 5, 20, 20)}
    with pytest.raises(ConfigError, match='names no annotations'):
        GivenMasks(masks, ann_file='boxes.json').label(sample, {}, {})
    named = sample_of([[5, 5, 35, 25]], [1], annotations=[dict(id=1)])
    with pytest.raises(ConfigError, match='would be lost'):
        GivenMasks(masks, classes=['cow']).label(named, {}, {})
    with pytest.raises(DataError, match='40 x 60'):
        GivenMasks({1: masks[1][:30]}, classes=['cow']).label(sample, {}, {})
    with pytest.raises(ConfigError, match='without ann_file and classes'):
        GivenMasks(masks)
    with pytest.raises(ConfigError, match='semantic'):
        GivenMasks(masks, classes=['cow'], semantic='best')
    with pytest.raises(ConfigError, match='rule'):
        GivenMasks(masks, classes=['cow'], refiner=dict(
            type='wsss_mm.ProposalRefiner', proposals=dict(type='wsss_mm.HierarchyProposals'), rule='best'))
    with pytest.raises(DataError, match='no such COCO file'):
        GivenMasks(masks, ann_file='none.json').fingerprint()


# ---- the file of all

@pytest.fixture
def two_images(tmp_path):
    """The files of two images with an object each, and the two COCO files of these; the ids of the second's."""
    def write(image=2, annotation=8, category='cow'):
        (tmp_path / 'instances').mkdir()
        for stem, own in (('a', 7), ('b', annotation)):
            (tmp_path / f'instances/{stem}.json').write_text(json.dumps(dict(
                image=dict(id=stem, file_name=f'{stem}.jpg', height=4, width=5), crowds=[], left_out=[],
                instances=[dict(id=own, category_id=1, bbox=[0, 0, 1, 1])])))
        for stem, number, own, name in (('a', 1, 7, 'cow'), ('b', image, annotation, category)):
            (tmp_path / f'{stem}.json').write_text(json.dumps(dict(
                images=[dict(id=number, file_name=f'part/{stem}.png', height=4, width=5)],
                annotations=[dict(id=own, image_id=number, category_id=1, bbox=[0, 0, 1, 1])],
                categories=[dict(id=1, name=name)])))
        return GivenMasks({}, ann_file=[str(tmp_path / f'{stem}.json') for stem in 'ab'])
    return write


def gathered(generator, root):
    return json.loads(b''.join(generator.gather(root, ['a', 'b'])['instances.json']))


def test_several_coco_files_become_one(two_images, tmp_path):
    found = gathered(two_images(), tmp_path)
    assert [(i['id'], i['file_name']) for i in found['images']] == [(1, 'part/a.png'), (2, 'part/b.png')]
    assert [(a['id'], a['image_id']) for a in found['annotations']] == [(7, 1), (8, 2)]
    assert found['categories'] == [dict(id=1, name='cow')]


def test_without_a_coco_file_all_is_numbered(two_images, tmp_path):
    two_images()
    found = gathered(GivenMasks({}, classes=['cow', 'dog']), tmp_path)
    assert [(i['id'], i['file_name']) for i in found['images']] == [(1, 'a.jpg'), (2, 'b.jpg')]
    assert [(a['id'], a['image_id']) for a in found['annotations']] == [(1, 1), (2, 2)]
    assert found['categories'] == [dict(id=1, name='cow'), dict(id=2, name='dog')]


@pytest.mark.parametrize('change, words', [
    (dict(annotation=7), 'annotation id 7 occurs twice'), (dict(image=1), 'image id 1 occurs twice'),
    (dict(category='dog'), 'other categories')])
def test_coco_files_that_do_not_go_together_are_refused(two_images, tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        gathered(two_images(**change), tmp_path)


def test_images_that_the_coco_file_has_not_are_refused(two_images, tmp_path):
    two_images()
    with pytest.raises(DataError, match="no image 'b'"):
        gathered(GivenMasks({}, ann_file=str(tmp_path / 'a.json')), tmp_path)


# ---- a run

@pytest.fixture(scope='module')
def explained(toy_root, tmp_path_factory):
    """A toy VOC with its COCO files, and maps of its objects: their true masks, coarse and with noise."""
    folder = tmp_path_factory.mktemp('explained')
    root = folder / 'toy'
    shutil.copytree(toy_root, root)
    write_instances(root)
    truth = json.loads((root / 'annotations/instances_train.json').read_text())
    for image in truth['images']:
        own = [a for a in truth['annotations'] if a['image_id'] == image['id']]
        size = (image['height'], image['width'])
        rng = np.random.default_rng(image['id'])
        grids = [np.clip(decode_mask(a['segmentation'], *size)[3::6, 3::6] * .8 + .2 * rng.random((16, 16)), 0, 1)
                 .astype(np.float32) for a in own]
        boxes = np.array([a['bbox'] for a in own], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        stem = image['file_name'][:-4]
        maps = object_maps(stem, size, size, boxes, np.array([a['category_id'] - 1 for a in own]),
                           np.array([a['id'] for a in own]), grids=grids, statuses=['ok'] * len(own))
        (folder / 'maps/objects').mkdir(parents=True, exist_ok=True)
        (folder / f'maps/objects/{stem}.npz').write_bytes(maps.to_bytes())
    (folder / 'maps/run.json').write_text(json.dumps(dict(complete=True, hash='of the maps')))
    return folder


@pytest.fixture(scope='module')
def config(explained, write_config):
    """Write a config of the run into a folder of its own, ``<folder>/masks``."""
    def write(folder):
        return write_config(folder / 'masks.py', 'bbam/masks_toy.py', f"""
pseudo_labels = dict(
    out_dir='{folder}/masks', num_workers=0, dataset=dict(data_root='{explained}/toy'),
    generator=dict(map_dir='{explained}/maps/objects', ann_file='{explained}/toy/annotations/boxes_train.json',
                   builder=dict(blur=(3, 9))))""")
    return write


def run(path):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return LabellingRun(load_config(path)).run()


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
    """The folder of an unbroken run."""
    folder = tmp_path_factory.mktemp('whole')
    assert run(config(folder))['complete']
    return folder / 'masks'


@pytest.fixture
def finished(config, whole, tmp_path):
    """A copy of it, ``tmp_path / 'masks'``, and its config."""
    shutil.copytree(whole, tmp_path / 'masks')
    return config(tmp_path)


def test_a_run_gives_the_sources_annotations_with_masks(whole, explained):
    source = json.loads((explained / 'toy/annotations/boxes_train.json').read_text())
    truth = json.loads((explained / 'toy/annotations/instances_train.json').read_text())
    found = json.loads((whole / 'instances.json').read_text())
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
    labels = np.array(Image.open(whole / f'labels/{stem}.png'))
    truth_map = np.array(Image.open(explained / f'toy/SegmentationClass/{stem}.png'))
    assert (labels == truth_map)[(labels != I) & (truth_map != I)].mean() > .85


def test_a_run_that_is_cut_short_ends_with_the_same_bytes(config, whole, contents, monkeypatch, tmp_path):
    """Cut after five images, in the middle of a line, then while the file of all is being written."""
    path, root, plain = config(tmp_path), tmp_path / 'masks', LabelWorkers.map

    def stopping(self, samples):
        for number, item in enumerate(plain(self, samples), 1):
            yield item
            if number == 5:
                raise KeyboardInterrupt
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LabelWorkers, 'map', stopping)
        run(path)
    with open(root / 'manifest.jsonl', 'ab') as stream:
        stream.write(b'{"files": {"labels/tra')
    (root / 'labels/.train_00009.png.tmp-0-77').write_bytes(b'half')

    def half(self, root, ids):
        yield b'{"annotations": ['
        raise KeyboardInterrupt
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(InstanceLabels, '_lines', half)
        run(path)
    assert not (root / 'instances.json').exists() and not json.loads((root / 'run.json').read_text())['complete']
    assert run(path) == dict(complete=True, labelled=0, skipped=12, failures={})
    expected, found = contents(whole), contents(root)
    assert expected.keys() == found.keys()
    assert all(expected[k] == found[k] for k in expected if k != 'run.json')   # which names the folder
    assert run(path)['skipped'] == 12 and contents(root) == found


def test_workers_change_no_byte(config, whole, contents, tmp_path):
    path = config(tmp_path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        cfg = load_config(path)
        cfg.pseudo_labels.num_workers = 1
        assert LabellingRun(cfg).run()['labelled'] == 12
    assert contents(tmp_path / 'masks')['instances.json'] == contents(whole)['instances.json']


def test_other_maps_or_boxes_are_refused(finished, explained):
    record, boxes = explained / 'maps/run.json', explained / 'toy/annotations/boxes_train.json'
    kept = record.read_bytes(), boxes.read_bytes()
    try:
        record.write_text(json.dumps(dict(complete=True, hash='of others')))
        with pytest.raises(ConfigError, match='changed: maps'):
            run(finished)
        record.write_text(json.dumps(dict(complete=False, hash='of the maps')))
        with pytest.raises(DataError, match='not complete'):
            run(finished)
        record.write_bytes(kept[0])
        boxes.write_bytes(kept[1] + b' ')
        with pytest.raises(ConfigError, match='changed: annotations'):
            run(finished)
    finally:
        record.write_bytes(kept[0])
        boxes.write_bytes(kept[1])


# ---- stock loaders

def test_mmdet_trains_on_the_file(whole, explained):
    """mmdet's own dataset and loader: every annotation, none ignored, masks as written."""
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations
    found = json.loads((whole / 'instances.json').read_text())
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = CocoDataset(
            ann_file=str(whole / 'instances.json'), data_prefix=dict(img=str(explained / 'toy/JPEGImages')),
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


def test_mmseg_trains_on_the_label_maps(whole, explained):
    """mmseg's own VOC-style dataset, with pillow, reads palette numbers as classes."""
    from mmseg.datasets import PascalVOCDataset
    from mmseg.datasets.transforms import LoadAnnotations
    dataset = PascalVOCDataset(
        ann_file=str(explained / 'toy/ImageSets/Segmentation/train.txt'), pipeline=[], data_prefix=dict(
            img_path=str(explained / 'toy/JPEGImages'), seg_map_path=str(whole / 'labels')))
    load, seen = LoadAnnotations(imdecode_backend='pillow'), set()
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        labels = load(info)['gt_seg_map']
        assert np.array_equal(labels, np.array(Image.open(info['seg_map_path'])))
        seen |= set(np.unique(labels).tolist())
    assert len(dataset) == 12 and {0, I} < seen <= {*range(7), I}


# ---- the check

def test_a_whole_run_is_found_whole(finished, call_tool):
    done = call_tool('generate', finished, '--verify')
    assert done.code == 0 and '25 files checked, no problems' in done.out


def test_what_is_broken_is_listed(finished, call_tool, tmp_path, contents):
    root = tmp_path / 'masks'
    labels, instances = sorted((root / 'labels').iterdir()), sorted((root / 'instances').iterdir())
    labels[0].unlink()
    labels[1].write_bytes(labels[1].read_bytes() + b' ')
    made = json.loads((root / 'instances.json').read_text())
    gone = made['annotations'].pop(0)
    made['annotations'][0]['id'] = 999
    (root / 'instances.json').write_text(json.dumps(made))
    lines = (root / 'manifest.jsonl').read_bytes().splitlines(True)
    (root / 'manifest.jsonl').write_bytes(b''.join(lines[:-2] + lines[-3:-2] + lines[-1:]))
    before = contents(root)
    done = call_tool('generate', finished, '--verify')
    assert done.code == 1 and contents(root) == before
    for words in (f'{labels[0]}: missing', f'{labels[1]}: changed', 'instances.json: changed', 'is there 2 times',
                  f'the image {instances[-2].stem} is missing', f'the annotation {gone["id"]} of',
                  'the annotation 999 is none of'):
        assert words in done.out, words


def test_pictures_of_another_size_are_listed(finished, call_tool, explained):
    """The hash fits, the size does not: another image lies in the place of the one that was labelled."""
    picture = sorted((explained / 'toy/JPEGImages').glob('train_*.jpg'))[0]
    kept = picture.read_bytes()
    try:
        Image.open(picture).resize((50, 40)).save(picture)
        done = call_tool('generate', finished, '--verify')
    finally:
        picture.write_bytes(kept)
    assert done.code == 1 and '(96, 96) (height, width)' in done.out and 'has (40, 50)' in done.out


def test_runs_that_are_not_there_or_not_whole_are_listed(config, call_tool, tmp_path):
    assert 'no run has begun' in call_tool('generate', config(tmp_path), '--verify').out
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'masks/run.json').write_text('{"complete": false}')
    done = call_tool('generate', config(tmp_path), '--verify')
    assert done.code == 1 and 'not complete' in done.out


def test_other_runs_are_checked_too(unbroken, call_tool, tmp_path):
    """Labels of a classifier: no instances there."""
    shutil.copytree(unbroken[0].parent / 'labels', tmp_path / 'labels')
    done = call_tool('generate', unbroken[0], '--out-dir', tmp_path / 'labels', '--verify')
    assert done.code == 0 and '48 files checked' in done.out
    next((tmp_path / 'labels/Y_ret').iterdir()).write_bytes(b'')
    assert call_tool('generate', unbroken[0], '--out-dir', tmp_path / 'labels', '--verify').code == 1

"""BANA's instances: objects of two label maps, and the chain from a COCO file of boxes to one of masks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from wsss_mm.datasets.prepare_instances import write_instances
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.pseudo_labels import LabelPairInstances
from wsss_mm.pseudo_labels.label_pair_instances import pair_masks
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.run_lengths import decode_mask
from wsss_mm.structures import ImageSample


def boxes_of(*rows):
    return torch.tensor(rows).view(-1, 4)


def test_agreeing_pixels_are_the_object():
    crf = torch.tensor([[3, 3, 0, 3], [3, 5, 0, 3]], dtype=torch.uint8)
    ret = torch.tensor([[3, 0, 3, 3], [5, 5, 0, 3]], dtype=torch.uint8)
    both = torch.stack([crf, ret])
    boxes, labels = boxes_of([0, 0, 3, 2], [0, 0, 4, 2]), torch.tensor([3, 5])
    assert pair_masks(both, boxes, labels).tolist() == [
        [[1, 2, 2, 0], [2, 0, 0, 0]],    # column 3 is outside the box
        [[0, 0, 0, 0], [2, 1, 0, 0]]]
    assert pair_masks(crf[None], boxes, labels).tolist() == [
        [[1, 1, 0, 0], [1, 0, 0, 0]], [[0, 0, 0, 0], [0, 1, 0, 0]]]
    ret[0, 0] = 255                      # may be class 3
    assert pair_masks(torch.stack([crf, ret]), boxes, labels)[0, 0, 0] == 2
    assert pair_masks(both, boxes[:0], labels[:0]).shape == (0, 2, 4)


def test_the_smallest_box_of_a_class_owns_a_pixel():
    maps = torch.full((2, 4, 6), 2, dtype=torch.uint8)
    boxes, labels = boxes_of([0, 0, 6, 4], [1, 1, 3, 3], [2, 1, 5, 3], [2, 1, 5, 3]), torch.tensor([2, 2, 2, 2])
    found = pair_masks(maps, boxes, labels)
    assert (found.sum(0) == 1).all()     # each pixel once
    assert found[1].sum() == 4 and found[1, 1:3, 1:3].all()
    assert found[2].sum() == 4 and found[3].sum() == 0   # of equal boxes the first
    labels[1] = 1                        # another class: no owner there
    assert pair_masks(maps, boxes, labels)[2].sum() == 6


def test_order_and_mirror():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(0, 4, (2, 12, 15), generator=generator).to(torch.uint8)
    boxes, labels = boxes_of([0, 0, 9, 8], [3, 2, 15, 12], [4, 4, 8, 9], [1, 0, 3, 12]), torch.tensor([1, 2, 1, 3])
    found = pair_masks(maps, boxes, labels)
    order = torch.tensor([2, 0, 3, 1])
    assert (pair_masks(maps, boxes[order], labels[order]) == found[order]).all()
    mirrored = boxes.clone()
    mirrored[:, [0, 2]] = 15 - boxes[:, [2, 0]]
    assert (pair_masks(maps.flip(2), mirrored, labels) == found.flip(2)).all()
    one = torch.cat([pair_masks(maps, boxes[i:i + 1], labels[i:i + 1]) for i in (1, 3)])
    assert (one == found[[1, 3]]).all()  # the only ones of their class


@pytest.fixture(scope='module')
def coco_toy(toy_root, tmp_path_factory):
    root = shutil.copytree(toy_root, tmp_path_factory.mktemp('coco') / 'toy')
    write_instances(root)
    return root


@pytest.fixture(scope='module')
def labelled(coco_toy, label_config, classifier, tmp_path_factory):
    """BANA's labels on boxes of a COCO file."""
    folder = tmp_path_factory.mktemp('bana')
    cfg = Config.fromfile(label_config(folder, coco_toy))
    cfg.pseudo_labels.dataset = dict(
        type='wsss_mm.CocoBoxDataset', data_root=str(coco_toy), ann_file='annotations/boxes_train.json',
        data_prefix=dict(img_path='JPEGImages'), test_mode=True, pipeline=cfg.pseudo_labels.dataset.pipeline)
    assert LabellingRun(cfg, classifier).run()['complete']
    return cfg


def test_labels_are_those_of_the_xml_boxes(labelled, unbroken, contents):
    found = contents(Path(labelled.pseudo_labels.out_dir))
    images = [name for name in found if name.endswith('.png')]
    assert len(images) == 24 and all(found[name] == unbroken[1][name] for name in images)


def test_classes_that_the_classifier_never_saw(labelled, classifier, tmp_path, coco_toy):
    """Labels of eight classes by a classifier of six: refused, but for the class-agnostic map."""
    renamed = json.loads((coco_toy / 'annotations/boxes_train.json').read_text())
    for category in renamed['categories']:
        category['id'] += 2
    for item in renamed['annotations']:
        item['category_id'] += 2
    renamed['categories'] = [dict(id=1, name='a'), dict(id=2, name='b'), *renamed['categories']]
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps(renamed))
    cfg = Config(labelled.to_dict())
    cfg.pseudo_labels.dataset.ann_file = str(path)
    cfg.pseudo_labels.out_dir = str(tmp_path / 'refused')
    failures = LabellingRun(cfg, classifier).run()['failures']
    assert failures and all('class_agnostic=True' in text for text in failures.values())
    cfg.pseudo_labels.generator.class_agnostic = True
    cfg.pseudo_labels.out_dir = str(tmp_path / 'labels')
    assert LabellingRun(cfg, classifier).run()['complete']
    seen = np.unique([np.array(Image.open(p)) for p in (tmp_path / 'labels/Y_crf').glob('*.png')])
    assert seen.max() > 6 and not {1, 2} & set(seen.tolist())


@pytest.fixture
def run(labelled, coco_toy, tmp_path):
    def run(folders=('Y_crf', 'Y_ret'), **options):
        made = labelled.pseudo_labels.out_dir
        generator = dict(type='wsss_mm.LabelPairInstances', label_dirs=[f'{made}/{f}' for f in folders],
                         ann_file=str(coco_toy / 'annotations/boxes_train.json')) | options
        cfg = Config(dict(pseudo_labels=dict(
            out_dir=str(tmp_path / 'instances'), num_workers=0, dataset=labelled.pseudo_labels.dataset.to_dict(),
            generator=generator)))
        return LabellingRun(cfg)
    return run


def test_instances_of_the_toy(run, labelled, coco_toy):
    """Every annotation once, with the source's id and box; objects lie where both labels have their class."""
    job = run()
    assert job.run()['complete']
    found = json.loads((job.folder.root / 'instances.json').read_text())
    source = json.loads((coco_toy / 'annotations/boxes_train.json').read_text())
    own = {a['id']: a for a in found['annotations']}
    assert own.keys() == {a['id'] for a in source['annotations']} and found['categories'] == source['categories']
    names = {i['id']: i['file_name'].removesuffix('.jpg') for i in found['images']}
    regions = 0
    for item in source['annotations']:
        made = own[item['id']]
        assert all(made[k] == item[k] for k in ('image_id', 'category_id', 'bbox', 'difficult'))
        mask = decode_mask(made['segmentation'], 96, 96)
        assert mask.sum() == made['area'] > 0
        if made['status'] != 'ok':
            continue
        says = np.stack([np.array(Image.open(f'{labelled.pseudo_labels.out_dir}/{f}/{names[item["image_id"]]}.png'))
                         for f in ('Y_crf', 'Y_ret')]) == item['category_id']
        assert says.all(0)[mask].all()
        if 'ignore_region' in made:
            regions += 1
            assert (says.any(0) & ~says.all(0))[decode_mask(made['ignore_region'], 96, 96)].all()
    assert regions > 5


def test_one_label_map_ignores_nothing(run):
    job = run(['Y_crf'])
    assert job.run()['complete']
    found = json.loads((job.folder.root / 'instances.json').read_text())['annotations']
    assert not any('ignore_region' in a for a in found if a['status'] == 'ok')


def test_detectors_read_them(run, coco_toy):
    pytest.importorskip('mmdet')
    from mmengine.registry import DefaultScope

    from wsss_mm.datasets import InstanceLabelDataset
    job = run()
    job.run()
    with DefaultScope.overwrite_default_scope('mmdet'):
        data = InstanceLabelDataset(
            ann_file=str(job.folder.root / 'instances.json'), data_prefix=dict(img=str(coco_toy / 'JPEGImages')),
            metainfo=dict(classes=('cat', 'dog', 'cow', 'car', 'train', 'boat')),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='wsss_mm.LoadInstanceLabels')])
        masks = [data[i]['gt_masks'].masks for i in range(len(data))]
    assert len(masks) == 12 and set(np.unique(np.concatenate(masks))) == {0, 1, 2}


def test_what_is_wrong_is_named(run, labelled, tmp_path):
    for label_dirs in ([], ['a', 'b', 'c'], 'a'):
        with pytest.raises(ConfigError, match='label_dirs'):
            LabelPairInstances(label_dirs, classes=('cat',))
    with pytest.raises(DataError, match='no label maps here'):
        LabelPairInstances([str(tmp_path / 'nowhere')], classes=('cat',)).fingerprint()
    (tmp_path / 'part/Y_crf').mkdir(parents=True)
    (tmp_path / 'part/run.json').write_text('{"complete": false}')
    maker = LabelPairInstances([str(tmp_path / 'part/Y_crf')], classes=('cat',))
    with pytest.raises(DataError, match='run.json: the run that makes the label maps is not complete'):
        maker.fingerprint()
    sample = ImageSample('a', np.zeros((5, 5, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64),
                         np.zeros(0, np.int64))
    with pytest.raises(DataError, match='a.png'):
        maker.object_masks(sample, {}, {})
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / 'part/Y_crf/a.png')
    with pytest.raises(DataError, match=r'a.png: has 4 x 5 pixels'):
        maker.object_masks(sample, {}, {})


def test_fingerprints_follow_the_labels(tmp_path):
    """By the run where there is one, else by the bytes; another second map is another result."""
    folder = tmp_path / 'x/Y'
    folder.mkdir(parents=True)

    def fingerprint(*folders):
        return LabelPairInstances([str(f) for f in folders], classes=('cat',)).fingerprint()['maps']
    seen = [fingerprint(folder)]
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(folder / 'a.png')
    seen += [fingerprint(folder), fingerprint(folder, folder)]
    for product in ('1', '2'):
        (tmp_path / 'x/run.json').write_text(json.dumps(dict(complete=True, hash=product)))
        seen.append(fingerprint(folder))
    assert len(set(seen)) == 5

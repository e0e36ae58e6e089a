"""Instances from displacements, and their file in COCO's format."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api

from wsss_mm.errors import ConfigError
from wsss_mm.pseudo_labels import IRNInstances
from wsss_mm.pseudo_labels.instances import group_pixels, move_to_centres, run_lengths, split_maps
from wsss_mm.structures import ClassMaps, ImageSample

CLASSES = ('cat', 'dog', 'cow')
HEIGHT, WIDTH = 47, 62   # maps of 12 x 16


def to_nearest(*centres, size=(12, 16), strength=1.):
    """Displacement to the nearest of some centres, in pixels of the map."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(side)) for side in size], indexing='ij'))
    fields = torch.stack([torch.tensor(centre)[:, None, None] - grid for centre in centres])
    nearest = fields.norm(dim=1).argmin(0)
    return strength * fields.permute(2, 3, 0, 1)[torch.arange(size[0])[:, None], torch.arange(size[1]), nearest] \
        .permute(2, 0, 1), nearest


def test_pixels_come_to_their_centre():
    field, nearest = to_nearest((5., 3.), (6., 12.))
    place = move_to_centres(field, moves=300)
    for number, centre in enumerate(((5., 3.), (6., 12.))):
        found = place[:, nearest == number].T
        assert (found - torch.tensor(centre)).norm(dim=1).max() < 1e-3


def test_moves_interpolate_and_stay_on_the_map():
    field = torch.zeros(2, 3, 4)
    field[1] = torch.tensor([0., 1., 2., 3.])   # dx grows with x: x doubles until the border
    assert move_to_centres(field, 1)[1].equal(torch.tensor([0., 2., 3., 3.]).expand(3, 4))
    field[1] = torch.tensor([.5, 1., 0., 0.])
    # from 0 to .5, where dx is .75: 1.25, where it is .75 again: 2
    assert move_to_centres(field, 3)[1, :, 0].tolist() == [2.] * 3
    assert move_to_centres(-5 * torch.ones(2, 3, 4), 2).abs().max() == 0
    assert move_to_centres(torch.ones(2, 1, 1), 3).abs().max() == 0


def test_groups_are_those_of_the_centres():
    field, nearest = to_nearest((5., 3.), (6., 12.))
    groups = group_pixels(field, still=2.5)
    assert groups.unique().tolist() == [0, 1] and groups.equal(nearest) or groups.equal(1 - nearest)


def test_pixels_that_come_nowhere_are_a_group():
    field = torch.zeros(2, 4, 12)
    field[1, :, 4:] = 3.   # to the right border, where it still is 3
    groups = group_pixels(field)
    assert groups.unique().tolist() == [0, 1] and (groups[:, 4:] == groups[0, 11]).all()
    assert (groups[:, :4] != groups[0, 11]).all()


def test_split_maps():
    maps = torch.tensor([[[1., 2., 0.]], [[0., 0., 3.]]])
    split, number = split_maps(maps, torch.tensor([[0, 1, 1]]))
    assert split.tolist() == [[[1., 0., 0.]], [[0., 2., 0.]], [[0., 0., 3.]]] and number.tolist() == [0, 0, 1]
    split, number = split_maps(torch.zeros(2, 1, 3), torch.tensor([[0, 1, 1]]))
    assert split.shape == (0, 1, 3) and len(number) == 0


@pytest.mark.parametrize('seed', [0, 1])
def test_run_lengths_are_decoded_to_the_mask(seed):
    mask = np.random.default_rng(seed).random((13, 9)) > .6
    found = run_lengths(mask)
    assert isinstance(found['counts'], str)
    assert (mask_api.decode(found).astype(bool) == mask).all()


# ---------------------------------------------------------------- the generator

def generator_with(maps, ids, monkeypatch, **options):
    generator = IRNInstances('maps', CLASSES, **options)
    found = ClassMaps('a', np.array(ids, np.int64), np.asarray(maps, np.float32), HEIGHT, WIDTH)
    monkeypatch.setattr(generator.saved, 'load', lambda sample: dataclasses.replace(found))
    return generator


def labelled(generator, field, tags, image_id='a', boundary=None):
    sample = ImageSample(image_id, np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((0, 4), np.float32),
                         np.zeros(0, np.int64), np.array(tags, np.int64))
    boundary = torch.zeros(12, 16) if boundary is None else boundary
    return generator.label(sample, dict(boundary=boundary, displacement=field), dict(stride=torch.tensor(4.)))


def two_cats():
    """A map with two peaks, a wall around each, and displacements to them."""
    field, nearest = to_nearest((5., 3.), (6., 12.))
    boundary = torch.full((12, 16), .95)
    boundary[3:8, 1:6] = 0
    boundary[4:9, 10:15] = 0
    return (boundary == 0).float()[None], field, boundary


def test_two_instances_of_one_class(monkeypatch):
    maps, field, boundary = two_cats()
    generator = generator_with(maps, [1], monkeypatch, save_maps=False)
    result = labelled(generator, field, [1], boundary=boundary)
    found = json.loads(result.files['instances/a.json'])
    assert found['image'] == dict(id='a', file_name='a.jpg', height=HEIGHT, width=WIDTH)
    assert len(found['instances']) == 2 and {i['category_id'] for i in found['instances']} == {1}
    for instance, (x, y) in zip(sorted(found['instances'], key=lambda i: i['bbox'][0]), ((14, 22), (50, 26)),
                                strict=True):
        mask = mask_api.decode(instance['segmentation'])
        assert mask.shape == (HEIGHT, WIDTH) and mask[y, x] and mask.sum() == instance['area'] > 200
        left, top, width, height = instance['bbox']
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (left, top, left + width, top + height)
        assert .9 < instance['score'] <= 1
    assert set(result.labels) == {'labels'} and set(np.unique(result.labels['labels'])) == {0, 1}


def test_fragments_have_a_score_of_zero(monkeypatch):
    generator = generator_with([], [], monkeypatch)
    scores = torch.zeros(1, HEIGHT, WIDTH)
    scores[0, 5:25, 10:30], scores[0, 40:42, 50:55] = .9, .8
    large, small = generator.instances(scores, np.array([3]))
    assert (large['area'], large['score'], large['category_id']) == (400, .9, 3)
    assert (small['area'], small['score'], small['bbox']) == (10, 0., [50, 40, 5, 2])   # 10 of 2,914 pixels


@pytest.mark.parametrize('tags', [[], [2]])
def test_images_without_instances(tags, monkeypatch):
    generator = generator_with(np.zeros((len(tags), 12, 16)), tags, monkeypatch)
    result = labelled(generator, to_nearest((5., 3.))[0], tags)
    assert json.loads(result.files['instances/a.json'])['instances'] == []


def test_a_stock_coco_dataset_reads_every_instance(monkeypatch, tmp_path):
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations
    maps, field, boundary = two_cats()
    generator = generator_with(maps.repeat(2, 1, 1) * torch.tensor([1., .6])[:, None, None], [1, 3], monkeypatch)
    (tmp_path / 'instances').mkdir()
    count = 0
    for image_id in ('x1', 'x2', 'empty'):
        result = labelled(generator, field, [1, 3], image_id, boundary if image_id != 'empty' else boundary * 0 + 1)
        content = result.files[f'instances/{image_id}.json']
        count += len(json.loads(content)['instances'])
        (tmp_path / f'instances/{image_id}.json').write_bytes(content)
    gathered = generator.gather(tmp_path, ['empty', 'x1', 'x2'])
    (tmp_path / 'instances.json').write_bytes(gathered['instances.json'])
    annotations = json.loads(gathered['instances.json'])['annotations']
    assert [a['id'] for a in annotations] == list(range(1, count + 1)) and count >= 4
    dataset = CocoDataset(ann_file=str(tmp_path / 'instances.json'), metainfo=dict(classes=CLASSES),
                          data_prefix=dict(img='JPEGImages'), pipeline=[], serialize_data=False)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [info['img_path'] for info in infos] == [f'JPEGImages/{i}.jpg' for i in ('empty', 'x1', 'x2')]
    assert sum(len(info['instances']) for info in infos) == count
    loaded = 0
    for info in infos:
        found = LoadAnnotations(with_bbox=True, with_mask=True)(dict(info, ori_shape=(HEIGHT, WIDTH)))
        assert found['gt_masks'].masks.sum((1, 2)).tolist() == [
            a['area'] for a in annotations if a['image_id'] == info['img_id']]
        assert set(found['gt_bboxes_labels'].tolist()) <= {0, 2} and not found['gt_ignore_flags'].any()
        loaded += len(found['gt_masks'])
    assert loaded == count


def test_without_pycocotools(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    with pytest.raises(ConfigError, match='pycocotools'):
        IRNInstances('maps', CLASSES)


def test_generators_travel_to_the_workers(tmp_path):
    import pickle

    from wsss_mm.pseudo_labels import IRNConfidentLabels, IRNLabels
    maps = ClassMaps('a', np.array([2]), np.random.default_rng(0).random((1, HEIGHT, WIDTH), np.float32), HEIGHT, WIDTH)
    (tmp_path / 'a.npz').write_bytes(maps.to_bytes())
    sample = ImageSample('a', np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((0, 4), np.float32),
                         np.zeros(0, np.int64), np.array([2]))
    features = dict(boundary=torch.rand(12, 16), displacement=to_nearest((5., 3.))[0])
    crf = dict(type='wsss_mm.DenseCRF', preset='irn', iterations=1)
    for generator in (IRNConfidentLabels(str(tmp_path), refiner=crf), IRNLabels(str(tmp_path)),
                      IRNInstances(str(tmp_path), CLASSES)):
        sent = pickle.loads(pickle.dumps(generator))
        assert sent.fingerprint() == generator.fingerprint() and set(generator.fingerprint()) == {'maps'}
        one, other = (g.label(sample, features, dict(stride=torch.tensor(4.))) for g in (generator, sent))
        assert one.labels['labels'].tolist() == other.labels['labels'].tolist() and one.files == other.files
        assert set(np.unique(one.labels['labels'])) <= {0, 2, 255}

"""OoD images of a list, and a training set that comes with them."""

import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, RepeatDataset, pseudo_collate, worker_init_fn
from PIL import Image
from torch.utils.data import DataLoader

from wsss_mm.datasets import OoDImages, WithOoDImages
from wsss_mm.errors import ConfigError, DataError

LOAD = dict(type='wsss_mm.LoadImage')
PACK = dict(type='wsss_mm.PackWeakInputs')
CROP = dict(type='wsss_mm.RandomCropWithBoxes', crop_size=16)


@pytest.fixture
def folder(tmp_path):
    """Seven grey images; the grey value says which; one in a sub-folder, one of another type."""
    names = ['a.jpg', 'b.png', 'c.jpeg', 'd.jpg', 'e.jpg', 'f.webp', 'sub/g.jpg']
    (tmp_path / 'images/sub').mkdir(parents=True)
    for i, name in enumerate(names):
        Image.new('RGB', (20, 24), (30 * i, 30 * i, 30 * i)).save(tmp_path / 'images' / name)
    (tmp_path / 'list.txt').write_text('sub/g\nb\n\na\nf.webp\nb\nc\n')
    return tmp_path


def ood(folder, **options):
    # serialising collects garbage, which takes a second in a large process
    options = dict(dict(ann_file='list.txt', pipeline=[LOAD, CROP, PACK], serialize_data=False), **options)
    return OoDImages(data_root=str(folder), data_prefix=dict(img_path='images'), **options)


class Numbers(BaseDataset):
    """Images that are their own number; class i % 3."""

    METAINFO = dict(classes=('background', 'x', 'y', 'z'))

    def load_data_list(self):
        return [dict(number=i, img_labels=[i % 3]) for i in range(12)]

    def get_cat_ids(self, idx):
        return self.get_data_info(idx)['img_labels']

    def prepare_data(self, idx):
        image = np.full((16, 16, 3), idx, np.uint8)
        from wsss_mm.datasets.transforms import PackWeakInputs
        return PackWeakInputs()(dict(img=image, img_path='', gt_label=np.eye(3, dtype=np.float32)[idx % 3]))


def with_ood(folder, **options):
    return WithOoDImages(Numbers(serialize_data=False), dict(
        type='wsss_mm.OoDImages', data_root=str(folder), ann_file='list.txt', data_prefix=dict(img_path='images'),
        pipeline=[LOAD, CROP, PACK], serialize_data=False, **options))


def grey(sample):
    return int(sample['data_samples'].ood_image.float().mean().round())


# ---- the list

def test_images_are_those_of_the_list_sorted_each_once(folder):
    found = ood(folder)
    assert [found.get_data_info(i)['img_id'] for i in range(len(found))] == ['a', 'b', 'c', 'f.webp', 'sub/g']
    greys = [float(found[i]['inputs'].float().mean()) for i in range(5)]
    assert greys == pytest.approx([0, 30, 60, 150, 180], abs=2)


def test_without_a_list_the_folder_counts(folder):
    found = ood(folder, ann_file='')
    ids = [found.get_data_info(i)['img_id'] for i in range(len(found))]
    assert ids == ['a.jpg', 'b.png', 'c.jpeg', 'd.jpg', 'e.jpg']


def test_smaller_sets_lie_in_larger_ones(folder):
    def chosen(count, seed=0):
        found = ood(folder, count=count, count_seed=seed)
        return [found.get_data_info(i)['img_id'] for i in range(len(found))]
    sets = [chosen(n) for n in range(1, 6)]
    assert [len(s) for s in sets] == [1, 2, 3, 4, 5] and all(s == sorted(s) for s in sets)
    assert all(set(a) < set(b) for a, b in itertools.pairwise(sets))
    assert len({tuple(chosen(2, seed)) for seed in range(20)}) > 3


@pytest.mark.parametrize('options, error, match', [
    (dict(ann_file='none.txt'), DataError, 'not readable'),
    (dict(ann_file='empty.txt'), DataError, 'the list of OoD images is empty'),
    (dict(ann_file='wrong.txt'), DataError, "2 of 3 OoD images are not there, such as 'y'"),
    (dict(data_prefix=dict(img_path='pictures')), DataError, 'no such folder'),
    (dict(data_prefix=dict(img_path='images/none'), ann_file=''), DataError, 'no OoD image'),
    (dict(count=0), ConfigError, 'count=0 of 5'), (dict(count=6), ConfigError, 'count=6 of 5')])
def test_lists_that_cannot_be_used(folder, options, error, match):
    (folder / 'empty.txt').write_text('\n')
    (folder / 'wrong.txt').write_text('a\nz\ny\n')
    (folder / 'images/none').mkdir()
    with pytest.raises(error, match=match):
        OoDImages(**dict(dict(data_root=str(folder), data_prefix=dict(img_path='images'), ann_file='list.txt',
                              pipeline=[]), **options))


# ---- beside a training set

def test_every_image_is_used_equally_often(folder):
    data = with_ood(folder)
    assert len(data) == 12
    drawn = [grey(data[i % 12]) for i in range(25)]
    counts = Counter(drawn)
    assert len(counts) == 5 and set(counts.values()) == {5}
    rounds = [tuple(drawn[i:i + 5]) for i in range(0, 25, 5)]
    assert all(len(set(r)) == 5 for r in rounds) and len(set(rounds)) > 1
    sample = data[3]['data_samples']
    assert sample.ood_image.dtype == torch.uint8 and sample.ood_image.shape == (3, 16, 16)
    assert sample.gt_label.tolist() == [1, 0, 0]


def test_a_batch_larger_than_the_list(folder):
    loader = DataLoader(with_ood(folder, count=2), 12, collate_fn=pseudo_collate)
    (found,) = loader
    assert {int(s.ood_image.float().mean().round()) for s in found['data_samples']} == {
        grey(dict(data_samples=s)) for s in found['data_samples'][:2]}


def epochs(data, workers, number=2, rank=0):
    """Grey values drawn in each epoch, as mmengine's runner loads them."""
    torch.manual_seed(7)
    loader = DataLoader(
        data, 2, num_workers=workers, collate_fn=pseudo_collate,
        worker_init_fn=lambda i: worker_init_fn(i, workers, rank, 3))
    return [[int(s.ood_image.float().mean().round()) for found in loader for s in found['data_samples']]
            for _ in range(number)]


def test_workers_draw_from_streams_of_their_own(folder):
    data = with_ood(folder)
    data[0]   # a stream begun in the main process is not handed on
    found = epochs(data, 2)
    assert found == epochs(data, 2)
    assert found[0] != found[1]
    for epoch in found:
        for worker in (0, 1):   # of six draws of each worker five are a permutation
            own = [v for i in range(worker, 6, 2) for v in epoch[2 * i:2 * i + 2]]
            assert len(set(own[:5])) == 5
        assert epoch[0:2] + epoch[4:6] != epoch[2:4] + epoch[6:8]


def test_ranks_draw_otherwise(folder, monkeypatch):
    found = []
    for rank in (0, 1):
        monkeypatch.setattr('wsss_mm.datasets.ood.get_rank', lambda rank=rank: rank)
        data = with_ood(folder)
        torch.manual_seed(0)
        found.append([grey(data[i]) for i in range(12)])
    assert found[0] != found[1]


def test_a_copy_in_another_process_draws_the_same(folder):
    data = with_ood(folder)
    torch.manual_seed(0)
    copy = pickle.loads(pickle.dumps(data))
    assert [grey(copy[i]) for i in range(8)] == [grey(data[i]) for i in range(8)]


def test_it_stands_for_the_training_set(folder):
    data = with_ood(folder)
    assert data.metainfo['classes'] == Numbers.METAINFO['classes']
    assert data.get_data_info(4)['number'] == 4 and data.get_cat_ids(4) == [1]
    inner = dict(type='RepeatDataset', dataset=Numbers(serialize_data=False), times=2)
    lazy = WithOoDImages(inner, ood(folder, lazy_init=True), lazy_init=True)
    lazy.full_init()
    assert len(lazy) == 24 and grey(lazy[20]) in (0, 30, 60, 150, 180)
    balanced = WithOoDImages(ClassBalancedDataset(Numbers(serialize_data=False), oversample_thr=.5), ood(folder))
    assert len(balanced) > 12 and 'ood_image' in balanced[0]['data_samples']
    wrapped = dict(type='wsss_mm.WithOoDImages', dataset=Numbers(serialize_data=False), ood=ood(folder))
    assert 'ood_image' in RepeatDataset(wrapped, 2)[13]['data_samples']


def test_no_ood_image_and_images_that_are_normalised_already(folder):
    class Nothing(BaseDataset):
        def load_data_list(self):
            return []
    with pytest.raises(DataError, match='empty'):
        WithOoDImages(Numbers(serialize_data=False), Nothing(serialize_data=False))
    floats = ood(folder, pipeline=[LOAD, lambda r: dict(inputs=torch.rand(3, 16, 16))])
    data = WithOoDImages(Numbers(serialize_data=False), floats)
    with pytest.raises(ConfigError, match='float32'):
        data[0]

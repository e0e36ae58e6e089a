"""Image tags from a file, extra supervision of some images, priors, and batches of such images."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.runner import Runner
from mmseg.registry import MODELS
from PIL import Image

from wsss_mm.datasets import MixedSupervisionSampler, WeakVOCDataset, draw_supervision, read_tags
from wsss_mm.datasets.transforms import (
    LoadImage,
    LoadLabelMaps,
    LoadPrior,
    LoadWeakLabels,
    PackWeakInputs,
    RandomCropWithBoxes,
)
from wsss_mm.errors import ConfigError, DataError

from .conftest import write_ids, write_png, write_xml

ALL = ['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']
TAGS = dict(a=['cat'], b=['person', 'dog'], empty=[], full=['cat'])
EXTRA = [LoadImage(), LoadWeakLabels(), LoadLabelMaps(), PackWeakInputs()]


def build(tiny_voc, **kwargs):
    return WeakVOCDataset(ann_file=ALL, data_root=str(tiny_voc.root), **kwargs)


def with_tags(tiny_voc, tags=TAGS, text=None, **kwargs):
    (tiny_voc.root / 'tags.json').write_text(json.dumps(tags) if text is None else text)
    return build(tiny_voc, tag_file='tags.json', **kwargs)


def kinds(dataset):
    return {info['img_id']: info['supervision'] for info in map(dataset.get_data_info, range(len(dataset)))}


# ---- tag files

def test_tags_replace_the_annotations(tiny_voc):
    shutil.rmtree(tiny_voc.root / 'Annotations')
    dataset = with_tags(tiny_voc, pipeline=[LoadImage(), LoadWeakLabels(), PackWeakInputs()])
    assert [dataset.get_cat_ids(i) for i in range(4)] == [[7], [11, 14], [], [7]]
    assert 'instances' not in dataset.get_data_info(0) and 'ann_path' not in dataset.get_data_info(0)
    samples = [dataset[i]['data_samples'] for i in range(4)]
    assert [s.gt_label.nonzero().flatten().tolist() for s in samples] == [[7], [11, 14], [], [7]]
    assert all(set(s.keys()) == {'gt_label'} for s in samples)


def test_tags_of_a_subset_of_the_classes(tiny_voc):
    dataset = with_tags(tiny_voc, metainfo=dict(classes=('background', 'person', 'cat')))
    assert [dataset.get_cat_ids(i) for i in range(4)] == [[1], [0], [], [1]]


def test_images_without_an_entry_are_named_and_counted(tiny_voc):
    with pytest.raises(DataError) as info:
        with_tags(tiny_voc, dict(a=['cat']))
    text = str(info.value)
    assert '3 of 4 images' in text and "no tags of image 'b'" in text and 'tags.json' in text
    dataset = with_tags(tiny_voc, dict(a=['cat']), test_mode=True, pipeline=[LoadImage(), LoadWeakLabels()])
    assert dataset[0]['gt_label'].sum() == 1
    with pytest.raises(DataError, match="no tags of image 'b'"):
        dataset.prepare_data(1)


@pytest.mark.parametrize('name, fix', [('persn', "'person'"), ('background', 'metainfo'), ('Cat', "'cat'")])
def test_unknown_class_names(tiny_voc, name, fix):
    with pytest.raises(DataError, match=f'unknown class name {name!r} .image .b.') as info:
        with_tags(tiny_voc, {**TAGS, 'b': [name]})
    assert fix in str(info.value) and 'aeroplane' in str(info.value)


@pytest.mark.parametrize('text, found', [
    ('{"a": ["cat"', 'not readable'), ('["a"]', 'holds a list'), ('{"a": [7]}', r"image 'a' has \[7\]"),
    ('{"a": "cat"}', "image 'a' has"), ('{"a": [], "b": [], "a": ["cat"]}', "'a' is there twice"), ('\xff', '')])
def test_files_of_another_form(tiny_voc, text, found):
    with pytest.raises(DataError, match=f'tags.json: .*{found}') as info:
        with_tags(tiny_voc, text=text)
    assert '["class name", …]' in str(info.value)


def test_missing_tag_file(tmp_path):
    with pytest.raises(DataError, match='none.json'):
        read_tags(tmp_path / 'none.json')


# ---- extra supervision

def test_draws_are_nested_reproducible_and_disjoint():
    ids = [f'2007_{i:06d}' for i in range(60)]
    full = draw_supervision(ids, 40, 20, seed=3)
    masks = {i for i, kind in full.items() if kind == 'masks'}
    assert len(masks) == 40 and len(full) == 60
    assert draw_supervision(ids[::-1], 40, 20, seed=3) == full != draw_supervision(ids, 40, 20, seed=4)
    small = draw_supervision(ids, 10, 0, seed=3)
    assert set(small) < set(draw_supervision(ids, 20, 0, seed=3)) < masks
    assert set(draw_supervision(ids, 0, 10, seed=3)) == set(small)
    assert not draw_supervision(ids, 0, 0)
    # fixed for good: a published set of 200 has to stay the same one
    assert list(draw_supervision(['a', 'b', 'c', 'd'], 1, 2, seed=0).items()) == [
        ('b', 'masks'), ('a', 'boxes'), ('c', 'boxes')]
    shares = np.mean([[i in draw_supervision(ids, 20, 0, seed=s) for i in ids] for s in range(300)], 0)
    assert abs(shares - 1 / 3).max() < .12


def test_every_image_has_the_labels_of_its_kind_alone(tiny_voc):
    dataset = build(tiny_voc, mask_count=1, box_count=1, pipeline=EXTRA)
    found = kinds(dataset)
    assert sorted(found.values()) == ['boxes', 'masks', 'tags', 'tags']
    fields = dict(tags={'gt_label'}, boxes={'gt_label', 'gt_instances', 'gt_bg_mask'}, masks={'gt_label', 'gt_sem_seg'})
    for i, (image_id, kind) in enumerate(found.items()):
        info, sample = dataset.get_data_info(i), dataset[i]['data_samples']
        assert set(sample.keys()) == fields[kind]
        assert ('instances' in info) == (kind == 'boxes') and ('seg_map_path' in info) == (kind == 'masks')
        assert sample.gt_label.sum() == len(TAGS[image_id])


def test_counts_of_zero_show_no_label_but_tags(tiny_voc):
    dataset = build(tiny_voc, mask_count=0, pipeline=EXTRA)
    assert set(kinds(dataset).values()) == {'tags'}
    assert all(set(dataset[i]['data_samples'].keys()) == {'gt_label'} for i in range(4))
    plain = build(tiny_voc, pipeline=EXTRA)
    assert 'supervision' not in plain.get_data_info(0) and 'gt_sem_seg' in plain[0]['data_samples']


def test_extra_supervision_from_a_list_of_its_own(tiny_voc):
    write_ids(tiny_voc.root / 'masks.txt', ['b', 'full', 'elsewhere'])
    dataset = build(tiny_voc, mask_count=2, extra_ann_file='masks.txt')
    assert kinds(dataset) == dict(a='tags', b='masks', empty='tags', full='masks')
    with pytest.raises(ConfigError, match='make 3 images') as info:
        build(tiny_voc, mask_count=2, box_count=1, extra_ann_file='masks.txt')
    assert 'at most the 2' in str(info.value)


def test_supervision_by_lists(tiny_voc):
    """An image of both lists has its mask; ids of other lists are passed over; the rest have tags."""
    write_ids(tiny_voc.root / 'masks.txt', ['full', 'elsewhere'])
    write_ids(tiny_voc.root / 'boxes.txt', ['b', 'full'])
    dataset = build(tiny_voc, supervision_files=dict(masks='masks.txt', boxes='boxes.txt'), pipeline=EXTRA)
    assert kinds(dataset) == dict(a='tags', b='boxes', empty='tags', full='masks')
    fields = dict(tags={'gt_label'}, boxes={'gt_label', 'gt_instances', 'gt_bg_mask'}, masks={'gt_label', 'gt_sem_seg'})
    for i, kind in enumerate(kinds(dataset).values()):
        assert set(dataset[i]['data_samples'].keys()) == fields[kind]
    sampler = MixedSupervisionSampler(dataset, 4, 2, seed=0)
    assert sorted(dataset.get_data_info(i)['img_id'] for i in sampler.extra) == ['b', 'full']
    alone = build(tiny_voc, supervision_files=dict(boxes='boxes.txt'))
    assert kinds(alone) == dict(a='tags', b='boxes', empty='tags', full='boxes')
    with pytest.raises(DataError, match='nowhere.txt'):
        build(tiny_voc, supervision_files=dict(masks='nowhere.txt'))


def test_listed_boxes_beside_a_tag_file(tiny_voc):
    """Annotations are there, and read, for the listed images alone, as of one's own data."""
    write_ids(tiny_voc.root / 'boxes.txt', ['b'])
    for name in ('a', 'empty', 'full'):
        (tiny_voc.root / f'Annotations/{name}.xml').unlink()
    dataset = with_tags(tiny_voc, supervision_files=dict(boxes='boxes.txt'))
    assert [len(info.get('instances', ())) for info in map(dataset.get_data_info, range(4))] == [0, 2, 0, 0]


def test_boxes_beside_a_tag_file(tiny_voc):
    write_ids(tiny_voc.root / 'boxes.txt', ['b'])
    for name in ('a', 'empty', 'full'):
        (tiny_voc.root / f'Annotations/{name}.xml').unlink()
    dataset = with_tags(tiny_voc, box_count=1, extra_ann_file='boxes.txt')
    assert dataset.get_data_info(1)['img_labels'] == [11, 14] and len(dataset.get_data_info(1)['instances']) == 2
    with pytest.raises(DataError, match='b.xml: has boxes of person, which the tags do not name'):
        with_tags(tiny_voc, {**TAGS, 'b': ['dog']}, box_count=1, extra_ann_file='boxes.txt')


def test_masks_are_looked_for_and_measured_where_they_count(tiny_voc):
    write_ids(tiny_voc.root / 'masks.txt', ['b'])
    arguments = dict(mask_count=1, extra_ann_file='masks.txt', pipeline=EXTRA)
    write_png(tiny_voc.root / 'SegmentationClass/b.png', np.zeros((8, 9)))
    write_png(tiny_voc.root / 'SegmentationClass/a.png', np.zeros((8, 9)))
    dataset = build(tiny_voc, **arguments)
    assert dataset[0]['data_samples'].gt_label.sum() == 1
    with pytest.raises(DataError, match='b.png: label map of 8 x 9 .* for an image of 40 x 31'):
        dataset[1]
    (tiny_voc.root / 'SegmentationClass/a.png').unlink()
    build(tiny_voc, **arguments)
    (tiny_voc.root / 'SegmentationClass/b.png').unlink()
    with pytest.raises(DataError, match='b.png'):
        build(tiny_voc, **arguments)


@pytest.mark.parametrize('kwargs, found', [
    (dict(mask_count=-1), 'mask_count is -1'), (dict(mask_count=3, box_count=2), 'make 5 images'),
    (dict(box_count=1, box_dir=None), 'box_dir is None'), (dict(extra_ann_file='x.txt'), 'extra_ann_file'),
    (dict(mask_count=1, data_prefix=dict(img_path='JPEGImages')), 'no folder of masks'),
    (dict(mask_count=1, label_dirs=dict(seg_map='x')), 'label_dirs'),
    (dict(supervision_files=dict(points='x')), "the kinds .'points'."),
    (dict(supervision_files=dict(masks='x'), box_count=0), 'together with mask_count or box_count'),
    (dict(supervision_files=dict(masks='x'), label_dirs=dict(seg_map='x')), 'together with label_dirs'),
    (dict(supervision_files=dict(boxes='x'), box_dir=None), 'box_dir is None'),
    (dict(supervision_files=dict(masks='x'), extra_ann_file='x.txt'), 'extra_ann_file')])
def test_contradicting_arguments(tiny_voc, kwargs, found):
    with pytest.raises(ConfigError, match=found):
        build(tiny_voc, **kwargs)


# ---- batches

def test_images_of_all_kinds_in_one_batch(tiny_voc):
    folder = tiny_voc.labels('prior', TAGS, 3)
    dataset = build(tiny_voc, mask_count=1, box_count=1, prior_dir=folder, pipeline=Compose(
        [*EXTRA[:-1], LoadPrior('labels'), RandomCropWithBoxes((30, 40), placement='random'), EXTRA[-1]]).transforms)
    packed = [dataset[i] for i in range(4)]
    preprocessor = MODELS.build(dict(type='wsss_mm.WeakSegDataPreProcessor', mean=[0, 0, 0], std=[1, 1, 1],
                                     size=(32, 48)))
    batch = preprocessor({k: [p[k] for p in packed] for k in ('inputs', 'data_samples')}, True)
    assert batch['inputs'].shape == (4, 3, 32, 48)
    for sample, kind in zip(batch['data_samples'], kinds(dataset).values(), strict=True):
        assert ('gt_sem_seg' in sample) == (kind == 'masks') and ('gt_instances' in sample) == (kind == 'boxes')
        maps = [sample.gt_prior.data] + [sample.get(k).data for k in ('gt_sem_seg', 'gt_bg_mask') if k in sample]
        assert all(m.shape == (1, 32, 48) and (m[:, 30:] == 255).all() and (m[..., 40:] == 255).all() for m in maps)
        assert sample.gt_prior.data.dtype == torch.uint8 and set(sample.gt_prior.data.unique().tolist()) == {254, 255}
        assert sample.pad_shape == (32, 48)


class Infos(list):
    """A dataset of which only the supervision counts."""

    def get_data_info(self, index):
        return dict(supervision=self[index]) if self[index] else {}


def batches(sampler, count):
    indices = iter(sampler)
    return [list(itertools.islice(indices, sampler.batch_size)) for _ in range(count)]


def test_every_batch_holds_its_share():
    dataset = Infos(['tags'] * 7 + ['masks', 'boxes', 'masks'])
    sampler = MixedSupervisionSampler(dataset, 4, 1, seed=5)
    found = batches(sampler, 20)
    assert len(sampler) == 10 and all(batch[3] >= 7 for batch in found)
    # each stream covers its images once an epoch
    everything = [i for batch in found for i in batch[:3]]
    extra = [batch[3] for batch in found]
    assert all(sorted(everything[10 * n:10 * n + 10]) == list(range(10)) for n in range(6))
    assert all(sorted(extra[3 * n:3 * n + 3]) == [7, 8, 9] for n in range(6))
    assert batches(MixedSupervisionSampler(dataset, 4, 1, seed=5), 20) == found
    assert batches(MixedSupervisionSampler(dataset, 4, 1, seed=6), 20) != found
    straight = MixedSupervisionSampler(dataset, 4, 2, shuffle=False, seed=5)
    assert batches(straight, 2) == [[0, 1, 7, 8], [2, 3, 9, 7]]


def test_ranks_share_the_batches(monkeypatch):
    dataset = Infos(['tags'] * 5 + ['masks'] * 2)
    alone = batches(MixedSupervisionSampler(dataset, 3, 1, seed=1), 12)
    for rank in range(3):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 3))
        assert batches(MixedSupervisionSampler(dataset, 3, 1, seed=1), 4) == alone[rank::3]


def test_fewer_images_than_a_batch(tiny_voc):
    """As the runner builds it: three images, batches of eight."""
    loader = Runner.build_dataloader(dict(
        batch_size=8, num_workers=0,
        sampler=dict(type='wsss_mm.MixedSupervisionSampler', batch_size=8, extra_per_batch=3),
        dataset=dict(type='wsss_mm.WeakVOCDataset', data_root=str(tiny_voc.root), ann_file=ALL[0], mask_count=1,
                     pipeline=[dict(type=f'wsss_mm.{t}') for t in (
                         'LoadImage', 'LoadWeakLabels', 'LoadLabelMaps', 'PackWeakInputs')])), seed=0)
    for batch in itertools.islice(loader, 4):
        assert len(batch['inputs']) == 8
        assert all('gt_sem_seg' in sample for sample in batch['data_samples'][5:])
        assert {sample.img_id for sample in batch['data_samples'][:5]} == {'a', 'b', 'empty'}


@pytest.mark.parametrize('infos, arguments, found', [
    (['tags', None], (4, 1), 'no image has'), (['masks'], (4, 5), 'extra_per_batch is 5'),
    (['masks'], (4, -1), 'extra_per_batch is -1')])
def test_impossible_batches(infos, arguments, found):
    with pytest.raises(ConfigError, match=found):
        MixedSupervisionSampler(Infos(infos), *arguments, seed=0)


# ---- priors

def test_prior_from_saliency_and_from_labels(tiny_voc):
    folder = tiny_voc.root / 'prior'
    folder.mkdir()
    grey = np.arange(33 * 47).reshape(33, 47) % 256
    for name, size in tiny_voc.sizes.items():
        Image.fromarray((grey if name == 'a' else np.zeros(size)).astype(np.uint8)).save(folder / f'{name}.png')
    saliency = build(tiny_voc, prior_dir=str(folder), pipeline=[LoadImage(), LoadPrior()])[0]
    assert saliency['gt_prior'].dtype == np.uint8 and saliency['seg_fields'] == ['gt_prior']
    np.testing.assert_allclose(saliency['gt_prior'], grey * 254 / 255, atol=.5)
    assert saliency['gt_prior'].max() == 254
    write_png(folder / 'a.png', np.where(grey == 9, 255, grey % 21))
    labels = build(tiny_voc, prior_dir=str(folder), pipeline=[LoadImage(), LoadPrior('labels')])[0]['gt_prior']
    np.testing.assert_array_equal(labels, np.where(grey == 9, 255, np.where(grey % 21 > 0, 254, 0)))


def test_wrong_priors(tiny_voc):
    folder = tiny_voc.labels('prior', ['a', 'b', 'empty'], 1)
    with pytest.raises(DataError, match='prior_path.*full.png|full.png'):
        build(tiny_voc, prior_dir=folder)
    with pytest.raises(DataError, match='prior_dir'):
        build(tiny_voc, prior_dir=folder + '-none')
    write_png(tiny_voc.root / 'prior/full.png', np.ones((4, 5)))
    dataset = build(tiny_voc, prior_dir=folder, pipeline=[LoadImage(), LoadPrior('labels')])
    with pytest.raises(DataError, match='full.png: prior of 4 x 5 .* for an image of 17 x 19'):
        dataset[3]
    with pytest.raises(DataError, match='is coloured'):   # the palette of a label map
        build(tiny_voc, prior_dir=folder, pipeline=[LoadImage(), LoadPrior()])[0]
    with pytest.raises(ConfigError, match='prior_dir'):
        LoadPrior()(dict(seg_fields=[]))
    with pytest.raises(ConfigError, match='kind'):
        LoadPrior('mask')


def test_labels_of_a_crop_stay_those_of_the_image(tiny_voc):
    write_xml(tiny_voc.root / 'Annotations/a.xml', tiny_voc.sizes['a'], [('cat', 40, 28, 46, 32)])
    crop = RandomCropWithBoxes(8)
    crop._offset = lambda margin: 0
    sample = build(tiny_voc, box_count=4, pipeline=[*EXTRA[:-1], crop, EXTRA[-1]])[0]['data_samples']
    assert sample.gt_label[7] == 1 and len(sample.gt_instances) == 0

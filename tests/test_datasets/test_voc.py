"""Datasets: what a data info holds, and what is refused when the list is read."""

import pickle

import numpy as np
import pytest
from mmseg.registry import DATASETS
from PIL import Image

from wsss_mm.datasets import ToyVOCDataset, WeakSegDataset, WeakVOCDataset
from wsss_mm.errors import ConfigError, DataError

from .conftest import write_ids, write_xml

TRAIN = 'ImageSets/Segmentation/train.txt'
VAL = 'ImageSets/Segmentation/val.txt'
LOAD = [dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.LoadWeakLabels')]


def build(tiny_voc, ann_file=TRAIN, **kwargs):
    return WeakVOCDataset(ann_file=ann_file, data_root=str(tiny_voc.root), **kwargs)


def test_data_info(tiny_voc):
    dataset = build(tiny_voc)
    info = dataset.get_data_info(1)
    assert len(dataset) == 3 and info['img_id'] == 'b'
    assert info['img_path'] == str(tiny_voc.root / 'JPEGImages/b.jpg')
    assert info['seg_map_path'] == str(tiny_voc.root / 'SegmentationClass/b.png')
    assert info['instances'] == [dict(bbox=[1, 1, 31, 12], bbox_label=11, ignore_flag=0),
                                 dict(bbox=[10, 10, 25, 40], bbox_label=14, ignore_flag=0)]
    assert info['img_labels'] == [11, 14] == dataset.get_cat_ids(1)
    assert info['seg_fields'] == [] and info['reduce_zero_label'] is False and info['label_map'] is None
    assert 'seg_map_ret_path' not in info
    empty = dataset.get_data_info(2)
    assert empty['instances'] == [] and empty['img_labels'] == []


def test_built_by_its_prefixed_name_and_without_boxes(tiny_voc):
    dataset = DATASETS.build(dict(type='wsss_mm.WeakVOCDataset', ann_file=VAL, data_root=str(tiny_voc.root),
                                  box_dir=None, test_mode=True))
    assert 'instances' not in dataset.get_data_info(0)


def test_several_lists_indices_and_lazy_init(tiny_voc):
    both = build(tiny_voc, [TRAIN, VAL])
    assert [both.get_data_info(i)['img_id'] for i in range(4)] == ['a', 'b', 'empty', 'full']
    assert [build(tiny_voc, [TRAIN, VAL], indices=[3, 0]).get_data_info(i)['img_id'] for i in (0, 1)] == ['full', 'a']
    lazy = build(tiny_voc, 'nowhere.txt', lazy_init=True)
    assert lazy.metainfo['classes'][1] == 'aeroplane'
    with pytest.raises(DataError, match='nowhere.txt'):
        lazy.full_init()


def test_difficult_objects_can_be_left_out(tiny_voc):
    write_xml(tiny_voc.root / 'Annotations/a.xml', tiny_voc.sizes['a'], tiny_voc.objects['a'], difficult=1)
    assert build(tiny_voc).get_data_info(0)['img_labels'] == [7]
    assert build(tiny_voc, use_difficult=False).get_data_info(0)['img_labels'] == []


def test_pseudo_labels_and_semi_supervision(tiny_voc):
    folders = dict(seg_map=tiny_voc.labels('Y_crf', ['a', 'b', 'empty'], 1),
                   seg_map_ret=tiny_voc.labels('Y_ret', ['a', 'b', 'empty'], 2))
    info = build(tiny_voc, label_dirs=folders).get_data_info(0)
    assert info['seg_map_path'].endswith('Y_crf/a.png') and info['seg_map_ret_path'].endswith('Y_ret/a.png')
    write_ids(tiny_voc.root / 'masks.txt', ['b'])
    semi = build(tiny_voc, label_dirs=folders, mask_ann_file='masks.txt')
    infos = [semi.get_data_info(i) for i in range(3)]
    truth = str(tiny_voc.root / 'SegmentationClass/b.png')
    assert infos[1]['seg_map_path'] == infos[1]['seg_map_ret_path'] == truth
    assert all(i['seg_map_path'].endswith(f'Y_crf/{i["img_id"]}.png') for i in (infos[0], infos[2]))


def test_subset_of_classes(tiny_voc):
    classes = ('background', 'person', 'cat')
    labels = tiny_voc.labels('Y_crf', ['a', 'b', 'empty'], 2)
    dataset = build(tiny_voc, metainfo=dict(classes=classes))
    info = dataset.get_data_info(1)
    assert [i['bbox_label'] for i in info['instances']] == [0]   # the dog is not asked for
    assert info['label_map'][15] == 1 and info['label_map'][12] == 255
    assert len(dataset.metainfo['palette']) == 3
    # pseudo labels hold this dataset's own ids
    assert build(tiny_voc, metainfo=dict(classes=classes), label_dirs=dict(seg_map=labels),
                 ).get_data_info(1)['label_map'] is None


def test_own_classes(tiny_voc):
    own = dict(classes=('background', 'hamster', 'cat'), palette=[[0, 0, 0], [9, 9, 9], [1, 2, 3]])
    write_xml(tiny_voc.root / 'Annotations/a.xml', tiny_voc.sizes['a'], [('hamster', 1, 1, 9, 9)])
    write_ids(tiny_voc.root / TRAIN, ['a'])
    for kind in (WeakVOCDataset, WeakSegDataset):
        dataset = kind(ann_file=TRAIN, data_root=str(tiny_voc.root), metainfo=own)
        assert dataset.get_data_info(0)['img_labels'] == [0] and dataset.metainfo['palette'] == own['palette']
        assert dataset.get_data_info(0)['num_classes'] == 3 and dataset.label_map is None
    with pytest.raises(ConfigError, match='no classes'):
        WeakSegDataset(ann_file=TRAIN, data_root=str(tiny_voc.root))


def test_folder_without_a_list(tiny_voc):
    dataset = build(tiny_voc, '')
    assert [dataset.get_data_info(i)['img_id'] for i in range(4)] == ['a', 'b', 'empty', 'full']


def test_toy_boxes_are_exact(tiny_voc):
    write_ids(tiny_voc.root / TRAIN, ['a'])
    dataset = ToyVOCDataset(ann_file=TRAIN, data_root=str(tiny_voc.root))
    assert dataset.get_data_info(0)['instances'][0]['bbox'] == [2, 4, 20, 30]
    assert dataset.metainfo['classes'][dataset.get_data_info(0)['img_labels'][0] + 1] == 'cat'


def test_missing_images_are_named_and_counted(tiny_voc):
    write_ids(tiny_voc.root / TRAIN, ['a', 'n1', 'n2', 'n3', 'n4'])
    with pytest.raises(DataError) as info:
        build(tiny_voc)
    text = str(info.value)
    assert '4 of 5 images' in text and all(f'n{i}.jpg' in text for i in (1, 2, 3)) and 'n4.jpg' not in text
    assert 'prepare_dataset.py' in text


@pytest.mark.parametrize('folder', ['JPEGImages', 'Annotations'])
def test_missing_folders(tiny_voc, folder):
    (tiny_voc.root / folder).rename(tiny_voc.root / 'elsewhere')
    with pytest.raises(DataError, match=folder):
        build(tiny_voc)


def test_masks_are_looked_for_where_they_are_named(tiny_voc):
    (tiny_voc.root / 'SegmentationClass/b.png').unlink()
    assert len(build(tiny_voc)) == 3
    with pytest.raises(DataError, match='b.png'):
        build(tiny_voc, data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'))
    assert 'seg_map_path' not in build(tiny_voc, data_prefix=dict(img_path='JPEGImages')).get_data_info(0)


def test_missing_pseudo_labels_name_the_command(tiny_voc):
    with pytest.raises(DataError, match=r'python tools/generate.py configs/bap/classifier.py') as info:
        build(tiny_voc, label_dirs=dict(seg_map=str(tiny_voc.root / 'none')),
              labels_made_by='configs/bap/classifier.py')
    assert 'tools/train.py' in str(info.value) and str(tiny_voc.root / 'none') in str(info.value)
    part = tiny_voc.labels('part', ['a'], 0)
    with pytest.raises(DataError, match=r'2 of 3 images') as info:
        build(tiny_voc, label_dirs=dict(seg_map=part), labels_made_by='configs/x.py')
    assert 'part/b.png' in str(info.value) and 'generate.py configs/x.py' in str(info.value)


def test_empty_split(tiny_voc):
    write_ids(tiny_voc.root / TRAIN, [])
    with pytest.raises(DataError, match='split is empty'):
        build(tiny_voc)


def test_bad_annotation_stops_training_but_not_a_labelling_run(tiny_voc):
    write_xml(tiny_voc.root / 'Annotations/b.xml', tiny_voc.sizes['b'], [('cat', 100, 1, 120, 9)])
    with pytest.raises(DataError, match='lies outside') as info:
        build(tiny_voc)
    pickle.loads(pickle.dumps(info.value))
    dataset = build(tiny_voc, test_mode=True, pipeline=LOAD)
    assert [dataset.get_data_info(i)['img_id'] for i in range(3)] == ['a', 'b', 'empty']
    dataset.prepare_data(0)
    with pytest.raises(DataError, match='lies outside'):
        dataset.prepare_data(1)


def test_annotation_of_another_size(tiny_voc):
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(tiny_voc.root / 'JPEGImages/a.jpg')
    with pytest.raises(DataError, match=r'a.xml: annotated for 33 x 47 .* the image has 50 x 50'):
        build(tiny_voc, pipeline=LOAD)[0]


@pytest.mark.parametrize('kwargs, found', [
    (dict(box_convention='corner'), 'box_convention'), (dict(box_outside='drop'), 'box_outside'),
    (dict(reduce_zero_label=True), 'reduce_zero_label'), (dict(label_dirs=dict(seg_map_ret='x')), 'label_dirs'),
    (dict(mask_ann_file='x.txt'), 'mask_ann_file')])
def test_contradicting_arguments(tiny_voc, kwargs, found):
    with pytest.raises(ConfigError, match=found):
        build(tiny_voc, **kwargs)

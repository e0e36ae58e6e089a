"""What the dry run reads: the overlay of the working directory, reduced lists and configs, data that stand in."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from wsss_mm.datasets.supervision import hash_order
from wsss_mm.engine import stages
from wsss_mm.engine.estimate import configs, lists
from wsss_mm.engine.estimate.synthetic import stand_in, stand_in_labels
from wsss_mm.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]


# ---- the overlay

def test_overlay_shows_what_is_there_and_changes_nothing(place):
    place.link('data')
    place.write('data/lists/train.txt', b'a\n')
    place.folder('data/made')
    (place.inside('data/made') / 'x').write_text('x')
    assert place.inside('data/image.jpg').read_text() == 'picture'
    assert place.inside('data/lists/train.txt').read_text() == 'a\n'
    assert Path('data/lists/train.txt').read_text() == 'a\nb\n' and sorted(os.listdir('data')) == ['image.jpg', 'lists']
    place.remove()
    assert Path('data/image.jpg').read_text() == 'picture' and not place.root.exists()


def test_overlay_takes_paths_from_anywhere(place, tmp_path):
    place.link('../elsewhere')
    assert (place.cwd / '../elsewhere').is_dir() and place.inside(tmp_path / 'elsewhere').is_symlink()
    assert not place.is_own('../elsewhere/labels')   # writing there would write to the real folder
    assert place.is_own('work_dirs/labels')
    place.open('../elsewhere')
    assert place.is_own('../elsewhere/labels')


def test_a_folder_hides_the_real_one(place):
    place.link('data')
    place.folder('data/lists')
    assert os.listdir(place.inside('data/lists')) == [] and os.listdir('data/lists') == ['train.txt']
    place.link('not/there')
    assert not place.inside('not').exists()


# ---- lists

def test_list_files_of_a_config():
    cfg = dict(train=dict(dataset=dict(data_root='d', ann_file=['a.txt', 'b.txt'], extra_ann_file='c.txt')),
               val=[dict(type='CocoDataset', ann_file='w/x.json')], patches=dict(ann_file='p/patches.npz'),
               ood=dict(type='wsss_mm.OoDImages', ann_file='ood.txt'))
    assert sorted(lists.list_files(cfg)) == ['d/a.txt', 'd/b.txt', 'd/c.txt', 'w/x.json']


def coco_file(path, names):
    images = [dict(id=i, file_name=f'folder/{n}.jpg', height=4, width=6) for i, n in enumerate(names)]
    annotations = [dict(id=10 * i + k, image_id=i, category_id=1, bbox=[0, 0, 1, 1],
                        segmentation=dict(size=[4, 6], counts='x')) for i in range(len(names)) for k in range(2)]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=[dict(id=1, name='cat')])))


def test_reduced_lists(tmp_path):
    names = [f'i{n}' for n in range(9)]
    (tmp_path / 'a.txt').write_text(''.join(f'{n}\n' for n in names))
    coco_file(tmp_path / 'a.json', names)
    for suffix in ('txt', 'json'):
        path = tmp_path / f'a.{suffix}'
        assert lists.ids_of(path) == names
        small = tmp_path / f'b.{suffix}'
        small.write_bytes(lists.reduced(path, {'i3', 'i7', 'of another list'}))
        assert lists.ids_of(small) == ['i3', 'i7']
        small.write_bytes(lists.reduced(path, set()))
        assert lists.ids_of(small) == ['i0']   # no list is empty
    small.write_bytes(lists.reduced(tmp_path / 'a.json', {'i3', 'i7'}))
    found = json.loads(small.read_text())
    assert [a['id'] for a in found['annotations']] == [30, 31, 70, 71]
    assert found['annotations'][0]['segmentation'] == dict(size=[4, 6], counts='x')
    assert found['categories'] == [dict(id=1, name='cat')]
    assert lists.ids_of(tmp_path / 'none.txt') == []


def test_choice_is_the_same_in_any_order():
    ids = [f'i{n}' for n in range(50)]
    assert lists.choose([ids], 5) == lists.choose([ids[::-1]], 5) == set(hash_order(ids)[:5])
    assert lists.choose([ids], 5) < lists.choose([ids], 6)
    assert len(lists.choose([ids[:20], ids[20:]], 5)) == 10


def test_public_counts():
    root = 'VOC/ImageSets/Segmentation'
    assert lists.public_count('voc', [f'{root}/trainaug.txt', f'{root}/val.txt']) == 10582 + 1449
    assert lists.public_count('voc', ['VOC/annotations/boxes_trainaug.json']) == 10582
    assert lists.public_count('coco17', ['coco/annotations/instances_train2017.json']) == 118287
    assert lists.public_count('voc', [f'{root}/mine.txt']) is None and lists.public_count('voc', []) is None


# ---- configs

def test_config_of_a_training_downloads_nothing_and_keeps_the_parts(place):
    cfg = stages.load_config(ROOT / 'configs/aeft/classifier_voc.py')
    cfg.train_dataloader.dataset.data_root = '/data/voc'
    out = configs.of_training(cfg, place, dict(out='clock', seconds=1.), 8)
    text = configs.as_python(out).decode()
    assert 'Pretrained' not in text and 'final.pth' not in text and out['load_from'] is None
    assert out['train_dataloader']['dataset']['data_root'] == str(place.inside('/data/voc'))
    assert [h['type'] for h in out['custom_hooks']].count('wsss_mm.StageHook') == 0
    assert out['custom_hooks'][-1] == dict(type='wsss_mm.SampleClockHook', out='clock', seconds=1.)
    for key in ('optim_wrapper', 'param_scheduler'):
        assert out[key] == cfg.to_dict()[key]
    read = {}
    exec(text, read)   # a config file is Python; tuples and lists come back as what they were
    assert all(read[key] == out[key] and type(read[key]) is type(out[key]) for key in out)


def test_extra_supervision_fits_the_sample(place):
    cfg = Config(dict(pseudo_labels=dict(dataset=dict(mask_count=200, box_count=0))))
    dataset = configs.of_labelling(cfg, place, 16)['pseudo_labels']['dataset']
    assert dataset == dict(type='wsss_mm.ImagesUntilDeadline', dataset=dict(mask_count=4, box_count=0))


@pytest.mark.parametrize(('loop', 'loader', 'images', 'expected'), [
    (dict(type='IterBasedTrainLoop', max_iters=700), dict(batch_size=16), None, 700),
    (dict(by_epoch=True, max_epochs=3), dict(batch_size=4), 10, 9),
    (dict(type='EpochBasedTrainLoop', max_epochs=3), dict(batch_size=4, drop_last=True), 10, 6),
    (dict(by_epoch=True, max_epochs=3), dict(batch_size=4), None, None)])
def test_iterations(loop, loader, images, expected):
    assert configs.iterations(Config(dict(train_cfg=loop, train_dataloader=loader)), images) == expected


@pytest.mark.parametrize(('loop', 'hook', 'expected'), [
    (dict(max_iters=2500, val_interval=1000), dict(by_epoch=False, interval=1000, max_keep_ckpts=2), (3, 3, 2)),
    (dict(max_iters=2000, val_interval=2000), dict(by_epoch=False, interval=1000), (1, 2, 2)),
    (dict(by_epoch=True, max_epochs=4), dict(interval=2, max_keep_ckpts=1, save_best='mIoU'), (4, 2, 2))])
def test_intervals(loop, hook, expected):
    cfg = Config(dict(train_cfg=loop, val_dataloader=dict(batch_size=1), default_hooks=dict(checkpoint=hook)))
    assert configs.intervals(cfg, loop.get('max_iters', 400)) == expected


def test_done_iterations(tmp_path):
    assert configs.done_iterations(tmp_path) == 0
    (tmp_path / 'last_checkpoint').write_text('/anywhere/iter_300.pth')
    assert configs.done_iterations(tmp_path) == 300
    (tmp_path / 'last_checkpoint').write_text('/anywhere/epoch_3.pth')
    assert configs.done_iterations(tmp_path) == 0


# ---- data that are not there

def test_voc_stands_in(place):
    ids = stand_in(place, 'voc', 'VOC2012', ['VOC2012/ImageSets/Segmentation/mine.txt'], 3)
    assert len(ids) == 6 and not Path('VOC2012').exists()
    root = place.inside('VOC2012')
    data = DATASETS.build(dict(
        type='wsss_mm.WeakVOCDataset', data_root=str(root), ann_file='ImageSets/Segmentation/mine.txt',
        pipeline=[dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.LoadWeakLabels')]))
    assert data[0]['img'].shape == (375, 500, 3) and len(data) == 3
    for info in (data.get_data_info(i) for i in range(3)):
        truth = np.asarray(Image.open(root / f'SegmentationClass/{info["img_id"]}.png'))
        assert truth.shape == (375, 500) and set(np.unique(truth)) - {0} == {i + 1 for i in info['img_labels']}
        for instance in info['instances']:   # boxes are those of the masks
            x1, y1, x2, y2 = map(int, instance['bbox'])
            assert (truth[y1:y2, x1:x2] == instance['bbox_label'] + 1).any()


def test_labels_stand_in_where_there_are_none(place):
    stand_in(place, 'voc', 'VOC2012', [], 2)
    place.folder('work_dirs/made')
    loader = dict(dataset=dict(dataset=dict(
        data_root='VOC2012', ann_file='ImageSets/Segmentation/train.txt',
        label_dirs=dict(seg_map='work_dirs/none', seg_map_ret='work_dirs/made'))))
    assert stand_in_labels(place, loader, lists.ids_of) == ['work_dirs/none']
    files = sorted(place.inside('work_dirs/none').iterdir())
    assert [f.stem for f in files] == lists.ids_of(place.inside('VOC2012/ImageSets/Segmentation/train.txt'))
    labels = np.asarray(Image.open(files[0]))
    assert labels.shape == (375, 500) and set(np.unique(labels)) == {0, 1}
    assert stand_in_labels(place, loader, lists.ids_of) == []


def test_coco_stands_in(place):
    stand_in(place, 'coco', 'coco', [], 2)
    stand_in(place, 'coco17', 'coco17', [], 2)
    tags = DATASETS.build(dict(type='wsss_mm.WeakCOCODataset', data_root=str(place.inside('coco')),
                               ann_file='ImageSets/Segmentation/train.txt', pipeline=[]))
    assert len(tags) == 2 and all(tags.get_data_info(i)['img_labels'] for i in range(2))
    boxes = DATASETS.build(dict(
        type='wsss_mm.CocoBoxDataset', data_root=str(place.inside('coco17')), data_prefix=dict(img_path='train2017'),
        ann_file='annotations/instances_train2017.json', pipeline=[dict(type='wsss_mm.LoadImage')]))
    assert len(boxes) == 2 and boxes[0]['img'].shape == (480, 640, 3)
    assert [i['bbox_label'] for i in boxes.get_data_info(0)['instances']]

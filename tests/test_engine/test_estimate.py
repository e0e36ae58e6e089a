"""The dry run: what it sees of the data, what follows from a sample, and that it leaves nothing behind."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from wsss_mm.datasets.supervision import hash_order
from wsss_mm.engine import stages
from wsss_mm.engine.estimate import configs, lists, samples, table
from wsss_mm.engine.estimate.chain import ChainEstimate
from wsss_mm.engine.estimate.overlay import Overlay
from wsss_mm.engine.estimate.parts import FOLDER, SECONDS, ImagesUntilDeadline
from wsss_mm.engine.estimate.processes import run_capped
from wsss_mm.engine.estimate.samples import Estimate
from wsss_mm.engine.estimate.synthetic import stand_in, stand_in_labels
from wsss_mm.errors import ConfigError, WSSSError
from wsss_mm.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]


# ---- the overlay

@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a data folder, and an overlay of it."""
    real = tmp_path / 'real'
    (real / 'data/lists').mkdir(parents=True)
    (real / 'data/lists/train.txt').write_text('a\nb\n')
    (real / 'data/image.jpg').write_text('picture')
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(real)
    return Overlay(tmp_path / 'overlay')


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


# ---- what follows from a sample: programs that write what the tools would

WRITER = """
import json, os, sys, time
{body}
"""


def program(tmp_path, body):
    path = tmp_path / 'program.py'
    path.write_text(WRITER.format(body=body))
    return [sys.executable, str(path)]


TRAINING = dict(
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=500), work_dir='work_dirs/t',
    train_dataloader=dict(batch_size=4, num_workers=1, dataset=dict()), val_dataloader=dict(dataset=dict()),
    default_hooks=dict(checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1)))


def events_of(place, tmp_path, events, cfg=TRAINING, seconds=2., counts=None):
    body = f"""
with open({str(place.cwd / 'events.jsonl')!r}, 'w') as f:
    for e in {events!r}:
        if e['event'] == 'begun':
            e['time'] = time.time()
        f.write(json.dumps(e) + chr(10))
"""
    found = Estimate('train x', 'not trained yet')
    samples.sample_training(found, program(tmp_path, body), Config(dict(cfg)), place, seconds,
                            counts or dict(train=100, val=50), dict(train=8, val=4))
    return found


def test_training_time_and_disk(place, tmp_path):
    events = [dict(event='weights', size=1000), dict(event='before_train', seconds=0.), dict(event='begun'),
              *[dict(event='iteration', seconds=s, step=s - .1) for s in (9., 9., 9., .5, .4, .6, .5)],
              dict(event='after_train', seconds=0.), *[dict(event='loaded', seconds=.01)] * 8,
              dict(event='checkpoint', seconds=2., size=3000),
              *[dict(event='validated', seconds=s, images=1) for s in (5., .2, .2, .2)],
              dict(event='validation', seconds=6.)]
    found = events_of(place, tmp_path, events)
    # 1000 median iterations, two checkpoints, two validations of 50 images with 6 - 4 * .2 s that do not grow
    expected = found.figures['start'] + 500 + 2 * 2 + 2 * (50 * .2 + 5.2)
    assert found.seconds == pytest.approx(expected) and not found.at_least and found.notes == []
    assert found.disk == 3000 + 1000   # one checkpoint at a time, and the weights
    assert found.figures['step'] == pytest.approx(.4)


def test_loading_decides_where_it_is_slower(place, tmp_path):
    events = [dict(event='weights', size=1), dict(event='begun'),
              *[dict(event='iteration', seconds=.1, step=.1)] * 8, *[dict(event='loaded', seconds=.5)] * 3]
    found = events_of(place, tmp_path, events, dict(TRAINING, val_dataloader=None))
    assert found.figures['iteration'] == pytest.approx(4 * .5) and 'loading images decides' in found.notes


def test_an_interrupted_training_has_less_to_do(place, tmp_path):
    Path('work_dirs/t').mkdir(parents=True)
    Path('work_dirs/t/last_checkpoint').write_text('work_dirs/t/iter_900.pth')
    events = [dict(event='weights', size=1), dict(event='begun'), *[dict(event='iteration', seconds=1., step=1.)] * 8]
    found = events_of(place, tmp_path, events, dict(TRAINING, val_dataloader=None))
    assert found.figures['iterations'] == 100
    assert found.seconds == pytest.approx(100 + found.figures['start'])


def test_a_slow_iteration_gives_a_lower_bound(place, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, 'START', 0.)
    events = [dict(event='weights', size=1000), dict(event='begun')]
    body = f"""
with open({str(place.cwd / 'events.jsonl')!r}, 'w') as f:
    for e in {events!r}:
        f.write(json.dumps(dict(e, time=time.time())) + chr(10))
time.sleep(60)
"""
    found = Estimate('train x', 'not trained yet')
    samples.sample_training(found, program(tmp_path, body), Config(dict(TRAINING)), place, 2.,
                            dict(train=100, val=50), dict(train=8, val=4))
    assert found.at_least and found.seconds > 500   # a thousand times what it was given and did not suffice
    assert found.notes == ['no iteration was done in time'] and found.disk == 3 * 1000 + 1000


def test_a_failing_sample_says_why(place, tmp_path):
    found = Estimate('train x', '')
    line = program(tmp_path, "print('error: the list is empty'); print('  to mend it: fill it'); sys.exit(2)")
    samples.sample_training(found, line, Config(dict(TRAINING)), place, 1., dict(train=1, val=1), dict(train=1, val=1))
    assert found.notes == ['the sample failed: the list is empty'] and found.seconds is None


LABELLING = """
out = os.path.join(os.getcwd(), 'work_dirs/l')
for i in range({count}):
    os.makedirs(out + '/labels', exist_ok=True)
    path = out + '/labels/i%d.png' % i
    open(path, 'wb').write(bytes({size}))
    begun = {start} + {pace} * max(0, i - 5) + .001 * i
    os.utime(path, (begun, begun))
    with open(out + '/manifest.jsonl', 'a') as f:
        f.write(json.dumps(dict(id='i%d' % i, files={{'labels/i%d.png' % i: 'hash'}}, notes=[])) + chr(10))
"""


def test_labelling_pace_without_the_queue(place, tmp_path):
    # six images of the queue are there at once; afterwards one in two seconds
    body = LABELLING.format(count=14, size=5000, start='time.time()', pace=2.)
    cfg = Config(dict(pseudo_labels=dict(out_dir='work_dirs/l', num_workers=2, dataset=dict())))
    found = Estimate('labels x', '')
    done = samples.sample_labelling(found, program(tmp_path, body), cfg, place, 5., 1000, 14)
    assert done == {f'i{i}' for i in range(14)}
    assert found.figures['image'] == pytest.approx(2., abs=.01)
    assert found.seconds == pytest.approx(2000 + found.figures['start'], abs=20)
    assert 1000 * 8192 < found.disk < 1000 * 8400   # whole blocks, and a line of the manifest
    assert not Path('work_dirs').exists()


def test_labelling_that_was_begun(place, tmp_path):
    Path('work_dirs/l').mkdir(parents=True)
    Path('work_dirs/l/manifest.jsonl').write_text(''.join(
        json.dumps(dict(id=str(i), files={}, notes=[])) + '\n' for i in range(900)))
    body = LABELLING.format(count=9, size=10, start='time.time()', pace=1.)
    cfg = Config(dict(pseudo_labels=dict(out_dir='work_dirs/l', num_workers=0, dataset=dict())))
    found = Estimate('labels x', '')
    samples.sample_labelling(found, program(tmp_path, body), cfg, place, 5., 1000, 9)
    assert found.figures['images'] == 100


def test_no_image_in_time_is_a_lower_bound(place, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, 'START', 0.)
    cfg = Config(dict(pseudo_labels=dict(out_dir='work_dirs/l', num_workers=2, dataset=dict())))
    found = Estimate('labels x', '')
    assert samples.sample_labelling(found, program(tmp_path, 'time.sleep(60)'), cfg, place, .5, 1000, 9) == set()
    assert found.at_least and found.seconds == pytest.approx(1000 * 1. / 2) and found.disk is None


def test_a_tool_grows_by_what_its_progress_counts(place, tmp_path):
    line = program(tmp_path, "time.sleep(.6); print('scored: 4/4 (100 %)  10.0/s  took 0:00:00')")
    found = Estimate('report', '')
    samples.sample_tool(found, line, place, 1., 25.)
    assert found.figures['counted'] == pytest.approx(.4)
    assert found.seconds == pytest.approx(found.figures['start'] + .4 * 25) and found.figures['start'] > .1


def test_run_capped_ends_children_too(tmp_path):
    line = program(tmp_path, f"""
import subprocess
child = subprocess.Popen([sys.executable, '-c', 'import time; data = bytearray(60_000_000); time.sleep(60)'])
open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))
time.sleep(60)""")
    ended = run_capped(line, tmp_path, tmp_path / 'log', 4.)
    assert ended.code is None and ended.seconds >= 4
    if sys.platform.startswith('linux'):
        assert ended.memory > 60_000_000
        state = Path(f'/proc/{(tmp_path / "pid").read_text()}/stat')
        for _ in range(100):   # a killed process takes a while to go
            if not state.exists() or state.read_text().rpartition(')')[2].split()[0] == 'Z':
                break
            time.sleep(.1)
        else:
            pytest.fail('the child is still there')
    assert run_capped([sys.executable, '-c', 'print(3); exit(4)'], tmp_path, tmp_path / 'log', 30.)[::3] == (4, '3\n')


def test_the_time_of_a_labelling_sample_begins_with_its_first_label(toy_root, tmp_path, monkeypatch):
    monkeypatch.setenv(SECONDS, '0')
    monkeypatch.setenv(FOLDER, str(tmp_path))
    inner = dict(type='wsss_mm.ToyVOCDataset', data_root=str(toy_root), test_mode=True,
                 ann_file='ImageSets/Segmentation/train.txt', pipeline=[dict(type='wsss_mm.LoadImage')])
    data = DATASETS.build(dict(type='wsss_mm.ImagesUntilDeadline', dataset=inner))
    assert isinstance(data, ImagesUntilDeadline) and len(data) == 12 and data.metainfo['classes'][1] == 'cat'
    assert data.prepare_data(0)['img'].shape == (96, 96, 3)
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels/a.png').write_text('')
    data.prepare_data(1)
    with pytest.raises(WSSSError, match='over'):
        data.prepare_data(2)


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


# ---- the table

def test_table(tmp_path):
    found = [Estimate('data d', 'complete', 0., disk=0), Estimate(
        'train a', 'not trained yet', 3700., disk=2_500_000_000, memory=900_000_000, folder=str(tmp_path / 'a/b')),
        Estimate('labels a', 'no labels yet', 90., at_least=True, disk=10 ** 17, folder=str(tmp_path), notes=['slow'])]
    lines = table.as_text(found).splitlines()
    assert lines[2].split()[-6:] == ['62', 'min', '2.5', 'GB', '900', 'MB'] and 'over 90 s' in lines[3]
    assert lines[4].split()[:5] == ['all', 'at', 'least', '63', 'min'] and 'labels a: slow' in lines
    assert lines[-1].startswith('warning: ') and lines[-1].endswith('not enough')
    total = table.as_json(found)
    assert total['seconds'] == 3790. and not total['complete'] and len(total['file_systems']) == 1
    assert table.summary(found[:2])['complete']


@pytest.mark.parametrize(('seconds', 'text'), [(4.4, '4 s'), (100, '2 min'), (7500, '2 h 05 min'),
                                              (50 * 3600, '2 d 02 h')])
def test_duration(seconds, text):
    assert table.duration(seconds) == text


def test_sizes():
    assert [table.size(v) for v in (0, 950, 9_940, 12_345_678, 10 ** 15)] == ['0 B', '950 B', '9.9 kB', '12 MB',
                                                                            '1000 TB']


# ---- a whole chain

def test_a_chain_is_estimated_and_nothing_is_left(toy_root, tmp_path, write_config, run_tool, monkeypatch):
    """Boxes become labels, a segmentor learns them: the second sample reads what the first one made."""
    root = tmp_path / 'place'
    shutil.copytree(toy_root, root / 'data/toy_voc/boxes_world0')
    write_config(root / 'tiny/labels.py', 'box_baselines/box_fill_toy.py',
                 "prerequisites = []\npseudo_labels = dict(num_workers=0)\n")
    write_config(root / 'tiny/segmentor.py', 'bap/deeplabv2_boxfill_toy.py', """
prerequisites = [dict(run='labels', config='tiny/labels.py')]
model = dict(backbone=dict(channels=(8, 8, 8), init_cfg=None), decode_head=dict(in_channels=8, channels=8))
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
report = None""")
    before = sorted(str(p) for p in root.rglob('*'))
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setenv('TMPDIR', str(tmp_path / 'tmp'))
    said = run_tool(root, 'train', 'tiny/segmentor.py', '--estimate', '--json', '--sample', '4', '--budget', '16')
    labels, training = json.loads(said.stdout)['stages']
    assert (labels['stage'], labels['state']) == ('labels tiny/labels.py', 'no labels yet')
    assert labels['figures']['images'] == 16 and labels['notes'] == []   # twelve of train, four of val
    # A PNG is one block, and so is nothing else; a line of the manifest each.
    assert 16 * 4096 < labels['disk'] < 16 * 4600
    assert training['figures']['iterations'] == 500 and training['figures']['sampled'] >= 1
    assert training['figures']['validations'] == 1 and not training['at_least'] and training['disk'] > 1000
    assert training['notes'] == [] or training['notes'][0].startswith('of ')   # a busy machine has time for few
    assert sorted(str(p) for p in root.rglob('*')) == before and not list((tmp_path / 'tmp').glob('wsss_mm-*'))


def test_too_little_is_refused():
    with pytest.raises(ConfigError, match='an estimate of 0 images'):
        ChainEstimate([], ROOT / 'tools', sample=0)



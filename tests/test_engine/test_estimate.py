"""The dry run: what follows from a sample, its table, a whole chain, and that it leaves nothing behind."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config

from wsss_mm.engine.estimate import samples, table
from wsss_mm.engine.estimate.chain import ChainEstimate
from wsss_mm.engine.estimate.parts import FOLDER, SECONDS, ImagesUntilDeadline
from wsss_mm.engine.estimate.processes import run_capped
from wsss_mm.engine.estimate.samples import Estimate
from wsss_mm.errors import ConfigError, WSSSError
from wsss_mm.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize('record', ['manifest.jsonl', 'sharing/ab.jsonl'])   # ended, or cut off in the middle
def test_labelling_that_was_begun(place, tmp_path, record):
    path = Path('work_dirs/l') / record
    path.parent.mkdir(parents=True)
    path.write_text(''.join(
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



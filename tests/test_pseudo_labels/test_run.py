"""The labelling run with real parts: same bytes however it is computed, bad images aside, other settings refused."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from wsss_mm.datasets.label_readers import read_image
from wsss_mm.errors import CheckpointError, ConfigError, WSSSError
from wsss_mm.pseudo_labels import LabelGenerator
from wsss_mm.pseudo_labels.run import LabellingRun, image_size, size_batches
from wsss_mm.pseudo_labels.workers import LabelWorkers
from wsss_mm.structures import ImageSample, LabelResult


@pytest.fixture(scope='session')
def unbroken(tmp_path_factory, label_config, classifier, contents):
    """A labelling run in one go and one process: its config's path and the bytes of its files."""
    folder = tmp_path_factory.mktemp('unbroken')
    config = label_config(folder)
    assert LabellingRun(Config.fromfile(config), classifier).run() == dict(
        complete=True, labelled=16, skipped=0, failures={})
    return Path(config), contents(folder / 'labels')


@pytest.fixture
def make_run(unbroken, tmp_path, classifier):
    """A run of the unbroken one's config into another folder."""

    def make(out='labels', checkpoint=classifier, rank=0, world_size=1, **options):
        cfg = Config.fromfile(unbroken[0])
        cfg.merge_from_dict({f'pseudo_labels.{k.replace("__", ".")}': v for k, v in options.items()})
        cfg.pseudo_labels.out_dir = str(tmp_path / out)
        return LabellingRun(cfg, checkpoint, rank=rank, world_size=world_size)
    return make


def test_the_labels_are_worth_comparing(unbroken):
    """Random weights, but maps of several classes, which differ between the two outputs."""
    names = set(unbroken[1])
    ids = [f'train_{i:05d}' for i in range(12)] + [f'val_{i:05d}' for i in range(4)]
    assert names == {'run.json', 'manifest.jsonl', *(f'{f}/{i}.png' for f in ('Y_crf', 'Y_ret') for i in ids),
                     *(f'maps/{i}.npz' for i in ids)}
    labels = [np.array(Image.open(unbroken[0].parent / f'labels/{f}/{i}.png')) for f in ('Y_crf', 'Y_ret')
              for i in ids]
    assert sum(len(np.unique(x)) > 1 for x in labels) > 20 and len(np.unique(labels)) > 3
    assert any((a != b).any() for a, b in zip(labels[:16], labels[16:], strict=True))


@pytest.mark.parametrize('num_workers', [1, 2])
def test_workers_change_no_byte(make_run, unbroken, contents, num_workers):
    run = make_run(num_workers=num_workers)
    run.run()
    assert contents(run.folder.root) == unbroken[1]


@pytest.mark.parametrize('order', [(0, 1), (1, 0)])
def test_shards_change_no_byte(make_run, unbroken, contents, order):
    runs = [make_run(rank=rank, world_size=2) for rank in order]
    assert [r.run()['complete'] for r in runs] == [False, True]
    assert contents(runs[0].folder.root) == unbroken[1]


def test_a_lone_run_takes_over_from_a_killed_shard(make_run, unbroken, contents):
    shard = make_run(rank=1, world_size=3)
    shard.run()
    (shard.folder.root / 'Y_crf/.train_00002.png.tmp-2-77').write_bytes(b'half')   # another shard was killed
    (shard.folder.root / 'failures.rank2.json').write_text('{}')
    assert make_run().run() == dict(complete=True, labelled=11, skipped=5, failures={})
    assert contents(shard.folder.root) == unbroken[1]


def children_of(pid):
    return [int(p) for p in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f'waited {seconds} s: {what}'
        time.sleep(.01)


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='looks for the children in /proc')
def test_interrupted_again_and_again_equals_unbroken(unbroken, tmp_path, contents, classifier, start_tool, run_tool):
    """Killed alone, killed with its workers, stopped with Ctrl-C, each at a random moment, then left to finish."""
    moments, root = random.Random(7), tmp_path / 'labels'
    manifest = root / 'manifest.jsonl'
    arguments = unbroken[0], '--checkpoint', classifier, '--out-dir', root

    def finished():
        return len(manifest.read_bytes().splitlines()) if manifest.is_file() else 0

    for kill, number, num_workers in (
            (os.kill, signal.SIGKILL, 2), (os.killpg, signal.SIGKILL, 1), (os.killpg, signal.SIGINT, 1)):
        before = finished()
        process = start_tool(tmp_path, 'generate', *arguments, '--num-workers', num_workers)
        wait_until(lambda: finished() > before or process.poll() is not None, 'a first label')   # noqa: B023
        time.sleep(moments.uniform(0, .05))
        workers = children_of(process.pid)
        assert process.poll() is None and len(workers) >= 2 and finished() < 16
        kill(process.pid, number)
        said = process.communicate(timeout=60)[1]
        wait_until(lambda: not any(map(alive, workers)), 'workers outlive their parent')         # noqa: B023
        if number == signal.SIGINT:
            assert process.returncode == 130 and 'the same command goes on' in said and 'Traceback' not in said
    assert not json.loads((root / 'run.json').read_text())['complete']
    before = finished()
    done = run_tool(tmp_path, 'generate', *arguments, '--num-workers', 0)
    assert f'{16 - before} new, {before} kept' in done.stdout
    assert contents(root) == unbroken[1]


# ---------------------------------------------------------------- batches

MIXED = [(60, 80), (60, 80), (96, 96), (60, 80), (80, 60), (60, 80), (96, 96), (60, 80), (60, 80), (96, 96), (80, 60),
         (1, 33)]
PARTITION = [[0, 1, 3], [2, 6, 9], [4, 10], [5, 7, 8], [11]]


@pytest.fixture(scope='session')
def mixed_config(toy_root, tmp_path_factory, label_config):
    """Class maps of a toy VOC of mixed sizes, in batches of three: its config's path."""
    folder = tmp_path_factory.mktemp('mixed')
    root = folder / 'toy'
    shutil.copytree(toy_root, root)
    for number, size in enumerate(MIXED):
        path = root / f'JPEGImages/train_{number:05d}.jpg'
        Image.open(path).crop((0, 0, *size[::-1])).save(path)
        annotate(root / f'Annotations/train_{number:05d}.xml', size, *[
            (name, 1, 1, *size[::-1]) for name in ('cow', 'dog', 'cat')[:number % 3 + 1]])
    return label_config(folder, root, """
pseudo_labels['batch_size'] = 3
pseudo_labels['dataset']['ann_file'] = 'ImageSets/Segmentation/train.txt'
pseudo_labels['generator'] = dict(
    _delete_=True, type='wsss_mm.ClassMapLabels', threshold=.3, localizer=dict(
        type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.GradCAM', layer='backbone.layer1'), scales=(1., .5)))
""")


@pytest.fixture
def mixed_run(mixed_config, tmp_path, classifier):
    def make(out='labels', rank=0, world_size=1, **options):
        cfg = Config.fromfile(mixed_config)
        cfg.pseudo_labels.update(out_dir=str(tmp_path / out), **options)
        return LabellingRun(cfg, classifier, rank=rank, world_size=world_size)
    return make


@pytest.fixture(scope='session')
def unbroken_mixed(mixed_config, classifier, contents):
    cfg = Config.fromfile(mixed_config)
    assert LabellingRun(cfg, classifier).run() == dict(complete=True, labelled=12, skipped=0, failures={})
    labels = [np.array(Image.open(p)) for p in sorted(Path(cfg.pseudo_labels.out_dir).glob('labels/*.png'))]
    assert [x.shape for x in labels] == MIXED and sum(len(np.unique(x)) > 1 for x in labels) > 6
    return contents(Path(cfg.pseudo_labels.out_dir))


def test_batches_of_one_size_in_the_lists_order(mixed_config, tmp_path):
    images = Path(Config.fromfile(mixed_config).pseudo_labels.dataset.data_root) / 'JPEGImages'
    paths = [str(images / f'train_{i:05d}.jpg') for i in range(12)]
    assert size_batches(paths, 3) == PARTITION
    assert size_batches(paths, 1) == [[i] for i in range(12)]
    (tmp_path / 'text.jpg').write_text('no image')
    odd = [str(tmp_path / 'text.jpg'), paths[0], str(tmp_path / 'none.jpg'), paths[1]]
    assert size_batches(odd, 8) == [[0], [1, 3], [2]]


def test_turned_images_have_the_size_they_are_read_with(tmp_path):
    path = tmp_path / 'turned.jpg'
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.zeros((4, 9, 3), np.uint8)).save(path, exif=exif)
        assert image_size(path) == read_image(path).shape[:2]
    assert image_size(path) == (9, 4)


@pytest.mark.parametrize(('num_workers', 'ranks'), [(0, 2), (0, 3), (1, 1)])
def test_neither_workers_nor_shards_change_a_batched_byte(mixed_run, unbroken_mixed, contents, num_workers, ranks):
    runs = [mixed_run(rank=rank, world_size=ranks, num_workers=num_workers) for rank in reversed(range(ranks))]
    assert [r.run()['complete'] for r in runs] == [False] * (ranks - 1) + [True]
    assert contents(runs[0].folder.root) == unbroken_mixed


def test_resume_within_a_batch_changes_no_byte(mixed_run, unbroken_mixed, contents):
    """Its batch is computed again as it was, and only what is missing is written."""
    run = mixed_run()
    run.run()
    stamps = {}
    for number in (0, 3, 9, 10):
        (run.folder.root / f'labels/train_{number:05d}.png').unlink()
    stamps = {p: p.stat().st_mtime_ns for p in run.folder.root.glob('labels/*.png')}
    seen = []
    again = mixed_run()
    extract = again.generator.extract_batch
    again.generator.extract_batch = lambda *a: seen.append(len(a[1])) or extract(*a)
    assert again.run() == dict(complete=True, labelled=4, skipped=8, failures={})
    assert seen == [3, 3, 2] and contents(run.folder.root) == unbroken_mixed
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in stamps.items())


def test_a_bad_image_leaves_its_batch_as_it_was(mixed_run, unbroken_mixed, contents):
    run = mixed_run()
    path = Path(run.dataset.get_data_info(1)['img_path'])
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:len(whole) // 2])      # its header still says its size
        found = run.run()
    finally:
        path.write_bytes(whole)
    assert found['labelled'] == 11 and list(found['failures']) == ['train_00001']
    files = contents(run.folder.root)
    others = [n for n in unbroken_mixed if n.startswith(('labels', 'maps')) and '_00001' not in n]
    assert len(others) == 22 and all(files[n] == unbroken_mixed[n] for n in others)
    assert mixed_run().run() == dict(complete=True, labelled=1, skipped=11, failures={})
    assert contents(run.folder.root) == unbroken_mixed


def test_a_batch_that_fails_is_run_image_by_image(mixed_run):
    run = mixed_run()
    extract = run.generator.extract_batch

    def fails_on_one(model, images, inputs, samples):
        if len(images) > 1 or 'train_00006' in samples[0].img_path:
            raise RuntimeError('out of memory')
        return extract(model, images, inputs, samples)

    run.generator.extract_batch = fails_on_one
    found = run.run()
    assert found['labelled'] == 11 and list(found['failures']) == ['train_00006']
    assert 'out of memory' in found['failures']['train_00006']


def test_generators_that_know_no_batches(make_run, unbroken, contents):
    """Sixteen images of one size, BANA's features one by one out of the batch: the same files."""
    run = make_run(batch_size=5)
    assert run.run()['complete']
    files = contents(run.folder.root)
    assert {n: b for n, b in files.items() if n != 'run.json'} == {
        n: b for n, b in unbroken[1].items() if n != 'run.json'}
    with pytest.raises(ConfigError, match='batch_size=0'):
        make_run('other', batch_size=0)


# ---------------------------------------------------------------- bad input

def annotate(path, size, *objects):
    nodes = ''.join(f'<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}'
                    '</ymax></bndbox></object>' for name, a, b, c, d in objects)
    path.write_text(f'<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{nodes}</annotation>')


@pytest.fixture
def odd_toy(toy_root, tmp_path):
    """A toy VOC with all kinds of images, four of which cannot be labelled: their ids and a word of their error."""
    root = tmp_path / 'toy'
    shutil.copytree(toy_root, root)
    images, boxes = root / 'JPEGImages', root / 'Annotations'
    whole = (images / 'train_00000.jpg').read_bytes()
    (images / 'train_00000.jpg').write_bytes(whole[:len(whole) // 2])
    for number, mode in ((1, 'L'), (2, 'CMYK')):
        path = images / f'train_{number:05d}.jpg'
        Image.open(path).convert(mode).save(path)
    annotate(boxes / 'train_00003.xml', (96, 96))
    annotate(boxes / 'train_00004.xml', (96, 96), ('cow', 1, 1, 96, 96))
    annotate(boxes / 'train_00005.xml', (96, 96), ('cow', 60, 10, 140, 50))
    annotate(boxes / 'train_00006.xml', (96, 96), ('zebra', 6, 10, 40, 50))
    (boxes / 'train_00007.xml').unlink()
    for number, size, box in ((8, (61, 95), (3, 5, 60, 41)), (9, (7, 3), (1, 2, 2, 5)), (10, (1, 1), (1, 1, 1, 1))):
        path = images / f'train_{number:05d}.jpg'
        Image.open(path).crop((0, 0, *size[::-1])).save(path)
        annotate(boxes / f'train_{number:05d}.xml', size, ('dog', *box))
    return root, dict(train_00000='not readable as an image', train_00005='outside the image',
                      train_00006="unknown class name 'zebra'", train_00007='no such file')


def test_bad_images_are_put_aside_and_mended(odd_toy, toy_root, tmp_path, label_config, classifier, call_tool,
                                             contents):
    root, bad = odd_toy
    config = label_config(tmp_path, root)
    out = tmp_path / 'labels'
    said = call_tool('generate', config, '--checkpoint', classifier, '--device', 'cpu')
    assert said.code == 1 and 'error: 4 images could not be labelled' in said.err and 'failures.json' in said.err
    failures = json.loads((out / 'failures.json').read_text())
    assert failures.keys() == bad.keys()
    assert all(bad[i] in failures[i] and str(root) in failures[i] for i in bad)
    records = {r['id']: r for r in map(json.loads, (out / 'manifest.jsonl').read_text().splitlines())}
    assert len(records) == 12 and not records.keys() & bad.keys()
    for image_id in records:
        with Image.open(root / f'JPEGImages/{image_id}.jpg') as image:
            for folder in ('Y_crf', 'Y_ret'):
                with Image.open(out / folder / f'{image_id}.png') as label:
                    assert label.size == image.size and label.mode == 'P'
    assert {i for i, r in records.items() if r['notes']} == {'train_00004', 'train_00010'}
    assert 'no pixel outside the boxes' in records['train_00004']['notes'][0]
    assert (np.array(Image.open(out / 'Y_crf/train_00004.png')) == 3).any()     # the cow fills the image
    assert not np.array(Image.open(out / 'Y_crf/train_00003.png')).any()        # no object
    assert not json.loads((out / 'run.json').read_text())['complete']

    for image_id in bad:
        shutil.copy(toy_root / f'JPEGImages/{image_id}.jpg', root / 'JPEGImages')
        shutil.copy(toy_root / f'Annotations/{image_id}.xml', root / 'Annotations')
    said = call_tool('generate', config, '--checkpoint', classifier, '--device', 'cpu')
    assert said.code == 0 and '4 new, 12 kept' in said.out
    mended = contents(out)
    assert 'failures.json' not in mended
    call_tool('generate', config, '--checkpoint', classifier, '--device', 'cpu', '--out-dir', tmp_path / 'anew')
    assert contents(tmp_path / 'anew') == mended


def test_shards_keep_their_failures_apart(odd_toy, tmp_path, label_config, classifier):
    cfg = Config.fromfile(label_config(tmp_path, odd_toy[0]))
    runs = [LabellingRun(cfg, classifier, rank=rank, world_size=2) for rank in (0, 1)]
    for run in runs:
        run.run()
    found = [json.loads(run.folder.failures_path.read_text()) for run in runs]
    assert [sorted(f) for f in found] == [['train_00000', 'train_00006'], ['train_00005', 'train_00007']]
    assert LabellingRun(cfg, classifier).run()['failures'].keys() == odd_toy[1].keys()
    assert not list(runs[0].folder.root.glob('*.rank*'))


# ---------------------------------------------------------------- refusals

def test_other_settings_are_refused(unbroken, tmp_path, classifier, call_tool):
    arguments = (unbroken[0], '--checkpoint', classifier, '--device', 'cpu')
    out = unbroken[0].parent / 'labels'
    said = call_tool('generate', *arguments, '--cfg-options', 'pseudo_labels.generator.rel_threshold=.5')
    assert said.code == 2 and 'changed: pseudo_labels\n' in said.err and 'Traceback' not in said.err
    assert f'rm -r {out}' in said.err and 'pseudo_labels.out_dir' in said.err
    weights = torch.load(classifier, weights_only=True)
    weights['state_dict']['head.classifier.weight'][0, 0] += 1
    torch.save(weights, tmp_path / 'other.pth')
    said = call_tool('generate', unbroken[0], '--checkpoint', tmp_path / 'other.pth')
    assert said.code == 2 and 'changed: checkpoint\n' in said.err
    said = call_tool('generate', *arguments)
    assert said.code == 0 and '0 new, 16 kept' in said.out


def test_the_way_out_of_a_refusal_works(make_run):
    root = make_run().folder.root
    with pytest.raises(ConfigError, match='other settings'):
        make_run(generator__background='class_map')
    shutil.rmtree(root)
    assert make_run(generator__background='class_map').folder.done() == set()


def test_weights_of_another_network(make_run, classifier, tmp_path):
    weights = torch.load(classifier, weights_only=True)['state_dict']
    del weights['backbone.stem.0.weight']
    torch.save(dict(state_dict=weights), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='another network.*backbone.stem.0.weight'):
        make_run(checkpoint=tmp_path / 'other.pth')


# ---------------------------------------------------------------- workers

class Filling(LabelGenerator):
    """Labels the image with its first pixel's value, slowly; ends its process on the value 13, the first time."""

    outputs = ('labels',)

    def __init__(self, seconds=0., once=None):
        self.seconds, self.once = seconds, once

    def label(self, sample, features, constants):
        time.sleep(self.seconds)
        value = sample.image[0, 0, 0]
        if value == 13 and self.once and not self.once.exists():
            self.once.touch()
            os._exit(9)
        return LabelResult(dict(labels=np.full(sample.image.shape[:2], value, np.uint8)))


def samples(count, seen=None):
    for i in range(count):
        if seen is not None:
            seen.append(i)
        none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
        yield str(i), ImageSample(str(i), np.full((4, 4, 3), i, np.uint8), *none), {}, None


@pytest.mark.parametrize('num_workers', [0, 1])
def test_the_queue_is_bounded(tmp_path, num_workers):
    """However long the list, the network is never more than 2 * workers + 2 images ahead of the files."""
    limit, seen, ahead, found = 2 * num_workers + 2, [], [], set()
    with LabelWorkers(Filling(.01), {}, [[0, 0, 0]], tmp_path, 0, num_workers) as workers:
        for image_id, hashes, _, error in workers.map(samples(60, seen)):
            ahead.append(len(seen) - len(found))
            assert error is None and set(hashes) == {f'labels/{image_id}.png'}
            found.add(image_id)
    assert len(found) == 60 and max(ahead) <= limit
    assert max(ahead) > num_workers or not num_workers      # … and the workers are kept busy
    assert np.array(Image.open(tmp_path / 'labels/42.png'))[0, 0] == 42


def test_a_worker_that_dies_ends_the_run_and_the_next_goes_on(tmp_path):
    def label():
        with LabelWorkers(Filling(0, tmp_path / 'died'), {}, [[0, 0, 0]], tmp_path, 0, 1) as workers:
            return [found[0] for found in workers.map(samples(15))]
    with pytest.raises(WSSSError, match='a labelling process died') as caught:
        label()
    assert 'run the same command again' in str(caught.value) and 'num_workers lower' in str(caught.value)
    assert sorted(map(int, label())) == list(range(15))


def test_an_unwritable_folder_is_the_runs_error_not_the_images(make_run):
    run = make_run()
    (run.folder.root / 'Y_crf').write_text('a file where the folder should be')
    with pytest.raises(WSSSError, match='cannot write the labels of train_00000') as caught:
        run.run()
    assert 'make room' in str(caught.value)


# ---------------------------------------------------------------- the labels' use

def test_a_stock_mmseg_dataset_reads_the_labels(unbroken, toy_root):
    from mmseg.registry import DATASETS
    out = unbroken[0].parent / 'labels'
    dataset = DATASETS.build(dict(
        type='PascalVOCDataset', data_root=str(toy_root), ann_file='ImageSets/Segmentation/train.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path=str(out / 'Y_crf')),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', imdecode_backend='pillow'),
                  dict(type='PackSegInputs')]))
    assert len(dataset) == 12
    for item in dataset:
        sample = item['data_samples']
        written = np.array(Image.open(out / 'Y_crf' / f'{Path(sample.img_path).stem}.png'))
        assert (sample.gt_sem_seg.data[0].numpy() == written).all() and written.shape == item['inputs'].shape[1:]

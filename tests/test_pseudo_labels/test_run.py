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
from PIL import Image

from wsss_mm.errors import CheckpointError, ConfigError, WSSSError
from wsss_mm.pseudo_labels import LabelGenerator
from wsss_mm.pseudo_labels.workers import LabelWorkers
from wsss_mm.structures import ImageSample, LabelResult


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


def children_of(pid):
    return [int(p) for p in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition, what, seconds=150):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f'waited {seconds} s: {what}'
        time.sleep(.01)


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='looks for the children in /proc')
def test_interrupted_again_and_again_equals_unbroken(unbroken, tmp_path, contents, classifier, start_tool, run_tool):
    """Killed alone, killed with its workers, stopped with Ctrl-C, each at a random moment, then left to finish."""
    moments, root = random.Random(7), tmp_path / 'labels'
    arguments = unbroken[0], '--checkpoint', classifier, '--out-dir', root

    def finished():
        return sum(len(path.read_bytes().splitlines()) for path in root.glob('sharing/*.jsonl'))

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
            assert process.returncode == 130 and 'Traceback' not in said
            assert 'repeat the same command: what is complete is kept' in said
    assert not json.loads((root / 'run.json').read_text())['complete']
    before = finished()
    done = run_tool(tmp_path, 'generate', *arguments, '--num-workers', 0)
    assert f'{16 - before} new, {before} kept' in done.stdout
    assert contents(root) == unbroken[1]


# ---------------------------------------------------------------- bad input

@pytest.fixture
def odd_toy(toy_root, tmp_path, annotate):
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
    run = make_run()
    run.run()
    root = run.folder.root
    with pytest.raises(ConfigError, match='other settings'):
        make_run(generator__background='class_map')
    shutil.rmtree(root)
    assert make_run(generator__background='class_map').run()['labelled'] == 16


def test_weights_of_another_network(make_run, classifier, tmp_path):
    weights = torch.load(classifier, weights_only=True)['state_dict']
    del weights['backbone.stem.0.weight']
    torch.save(dict(state_dict=weights), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='another network.*backbone.stem.0.weight'):
        make_run(checkpoint=tmp_path / 'other.pth')


# ---------------------------------------------------------------- workers

class Filling(LabelGenerator):
    """Labels the image with its first pixel's value, slowly; ends its process on the value 13, or ``once``."""

    outputs = ('labels',)

    def __init__(self, seconds=0., once=None):
        self.seconds, self.once = seconds, once

    def label(self, sample, features, constants):
        time.sleep(self.seconds)
        value = sample.image[0, 0, 0]
        if value == 13 and not (self.once and self.once.exists()):
            if self.once:
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
    with LabelWorkers(Filling(.01, tmp_path), {}, [[0, 0, 0]], tmp_path, 0, num_workers) as workers:
        for image_id, hashes, _, error in workers.map(samples(60, seen)):
            ahead.append(len(seen) - len(found))
            assert error is None and set(hashes) == {f'labels/{image_id}.png'}
            found.add(image_id)
    assert len(found) == 60 and max(ahead) <= limit
    assert max(ahead) > num_workers or not num_workers      # … and the workers are kept busy
    assert np.array(Image.open(tmp_path / 'labels/42.png'))[0, 0] == 42


@pytest.mark.parametrize('always', [False, True])
def test_a_worker_that_dies_costs_one_image_at_most(tmp_path, always):
    """What was under way is labelled again, alone; the image at which a second process dies has failed."""
    with LabelWorkers(Filling(0, None if always else tmp_path / 'died'), {}, [[0, 0, 0]], tmp_path, 0, 1) as workers:
        found = {image_id: error for image_id, _, _, error in workers.map(samples(15 + always))}
    assert sorted(map(int, found)) == list(range(15 + always))
    assert {i: 'died twice' in e for i, e in found.items() if e} == ({'13': True} if always else {})
    assert np.array(Image.open(tmp_path / 'labels/14.png'))[0, 0] == 14


def test_processes_that_keep_dying_end_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr('wsss_mm.pseudo_labels.workers._TOO_MANY', 1)
    with pytest.raises(WSSSError, match='died at 1 images one after the other') as caught, LabelWorkers(
            Filling(), {}, [[0, 0, 0]], tmp_path, 0, 1) as workers:
        list(workers.map(samples(14)))
    assert 'run the same command again' in str(caught.value) and 'num_workers lower' in str(caught.value)


def test_an_unwritable_folder_is_the_runs_error_not_the_images(make_run):
    run = make_run()
    run.folder.root.mkdir()
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

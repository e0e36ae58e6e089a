"""Labels from the scores of two CRFs: the rule, crops with padding, flips, pooling."""

import numpy as np
import pytest
from mmengine.dataset import Compose

from wsss_mm.datasets.transforms import LoadConfidentScores, PackWeakInputs, PoolConfidentScores, RandomCropWithBoxes
from wsss_mm.datasets.transforms.confident import confident_labels
from wsss_mm.errors import ConfigError, DataError


def save(folder, ids, low, high, name='a'):
    (folder / 'scores').mkdir(exist_ok=True)
    np.savez_compressed(folder / 'scores' / f'{name}.npz', class_ids=np.array(ids), low=low, high=high)
    return dict(img_id=name, img_path=f'{name}.jpg', seg_map_path=str(folder / 'labels' / f'{name}.png'), seg_fields=[],
                img=np.zeros((*low.shape[1:], 3), np.uint8), img_shape=low.shape[1:], ori_shape=low.shape[1:])


def scores(height, width, count=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (count, height, width), np.uint8) for _ in range(2)]


def test_rule_is_the_published_one(parity):
    found = {k: v.numpy() for k, v in parity('psa/psa').items() if k.startswith('conf')}
    labels = confident_labels(found['conf_la'], found['conf_ha'], np.array([1, 2]))
    assert np.array_equal(labels, found['conf_label']) and set(np.unique(labels)) == {0, 1, 2, 255}


def test_rule_by_hand():
    # columns: foreground in both; background in both; foreground in low, background in high; the other way; no score
    low = np.array([[.1, .9, .2, .8, 0], [.9, .1, .8, .2, 0]])[:, None]
    high = np.array([[.2, .7, .6, .3, 0], [.8, .3, .4, .7, 0]])[:, None]
    assert confident_labels(low, high, np.array([7])).tolist() == [[7, 0, 0, 255, 255]]


def test_pooled_labels(tmp_path, parity):
    """Means over cells decide, and each cell's label is repeated."""
    low, high = scores(24, 32)
    results = PoolConfidentScores(8)(LoadConfidentScores()(save(tmp_path, [4, 9], low, high)))
    means = [s.reshape(3, 3, 8, 4, 8).mean((2, 4)) for s in (low, high)]
    expected = confident_labels(*means, np.array([4, 9]))
    assert np.array_equal(results['gt_seg_map'], np.kron(expected, np.ones((8, 8), np.uint8)))
    assert results['seg_fields'] == ['gt_seg_map'] and 'gt_scores' not in results
    packed = PackWeakInputs()(results)['data_samples']
    assert packed.gt_sem_seg.data.shape == (1, 24, 32) and 'gt_scores' not in packed


def test_crop_pads_with_no_score(tmp_path):
    """A small image in a larger window: cells of padding are unsure, cells of both are judged by what is image."""
    low = np.zeros((2, 10, 13), np.uint8)
    low[1] = 255
    results = LoadConfidentScores()(save(tmp_path, [5], low, low))
    results = PoolConfidentScores(8)(RandomCropWithBoxes(24, label_pad=0, placement='center')(results))
    labels = results['gt_seg_map']
    corner = (24 - 10 + 1) // 2, (24 - 13 + 1) // 2
    filled = np.zeros((24, 24), bool)
    filled[corner[0]:corner[0] + 10, corner[1]:corner[1] + 13] = True
    cells = np.kron(filled.reshape(3, 8, 3, 8).any((1, 3)), np.ones((8, 8), bool))
    assert np.array_equal(labels, np.where(cells, 5, 255))


def test_flip_and_many_classes(tmp_path):
    """Channels beyond what OpenCV takes at a time; the mirrored image has the mirrored labels."""
    low, high = scores(16, 24, count=7)
    steps = [LoadConfidentScores(), dict(type='RandomFlip', prob=1.), PoolConfidentScores(8)]
    plain = Compose([steps[0], steps[2]])(save(tmp_path, range(1, 7), low, high))
    flipped = Compose([s if isinstance(s, dict) else s for s in steps])(save(tmp_path, range(1, 7), low, high))
    assert np.array_equal(flipped['gt_seg_map'], plain['gt_seg_map'][:, ::-1])


def test_size_that_is_no_multiple(tmp_path):
    low, high = scores(11, 9, count=1)
    assert PoolConfidentScores(8)(LoadConfidentScores()(save(tmp_path, [], low, high)))['gt_seg_map'].tolist() == \
        np.zeros((11, 9)).tolist()   # no class: all surely background


def test_broken_files(tmp_path):
    low, high = scores(8, 8)
    results = save(tmp_path, [1, 2], low, high)
    path = tmp_path / 'scores/a.npz'
    for image, content, match in (
            (np.zeros((8, 9, 3), np.uint8), None, r'\(3, 8, 9\)'), (None, path.read_bytes()[:-40], 'not readable'),
            (None, b'', 'not readable')):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=match) as error:
            LoadConfidentScores()({**results, **({} if image is None else dict(img=image))})
        assert 'a.npz' in str(error.value)
    np.savez(path, class_ids=np.array([1, 2]), low=low.astype(np.float32), high=high)
    with pytest.raises(DataError, match='float32'):
        LoadConfidentScores()(results)
    np.savez(path, class_ids=np.array([{}], dtype=object), low=low, high=high)
    with pytest.raises(DataError, match='not readable'):
        LoadConfidentScores()(results)
    path.unlink()
    with pytest.raises(DataError, match='no scores'):
        LoadConfidentScores()(results)


def test_wrong_pipelines():
    with pytest.raises(ConfigError, match='stride=0'):
        PoolConfidentScores(0)
    with pytest.raises(ConfigError, match='without gt_scores'):
        PoolConfidentScores()(dict(seg_fields=[]))
    with pytest.raises(ConfigError, match='names no labels'):
        LoadConfidentScores()(dict(img_id='a'))

"""One pass over the pixels gives what an arg max per threshold gives, to the last pixel."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.evaluation import ClassMapMetric, ConfusionMatrix, ThresholdCurve, evaluate_class_maps
from wsss_mm.registry import METRICS
from wsss_mm.structures import ClassMaps

CLASSES = ('background', 'cat', 'dog', 'cow', 'car')


def naive(images, num_classes, thresholds):
    """A confusion matrix per threshold, from the arg max over a constant plane and the maps."""
    found = []
    for t in thresholds:
        matrix = ConfusionMatrix(num_classes)
        for maps, ids, truth in images:
            planes = np.concatenate([np.full((1, *truth.shape), t, np.float32), maps.astype(np.float32)])
            matrix.update(np.r_[0, ids].astype(np.uint8)[planes.argmax(0)], truth)
        found.append(matrix)
    return found


def draw(rng, num_classes=5, size=None):
    """Maps on a coarse grid of scores, so that ties with thresholds and between classes are frequent."""
    size = size or tuple(rng.integers(1, 12, 2))
    ids = np.sort(rng.permutation(np.arange(1, num_classes))[:rng.integers(0, num_classes)])
    truth = rng.integers(0, num_classes, size).astype(np.uint8)
    truth[rng.random(size) < .1] = 255
    return (rng.integers(-2, 21, (len(ids), *size)) / 20).astype(np.float32), ids, truth


def test_parity_with_the_published_sweep(parity):
    data = parity('cam/threshold_sweep')
    curve = ThresholdCurve(21, data['thresholds'].numpy())
    for i in range(5):
        truth = data[f'gt{i}'].numpy()
        curve.update(data[f'cam{i}'].numpy(), data[f'keys{i}'].numpy() + 1, np.where(truth < 0, 255, truth))
    np.testing.assert_array_equal(curve.iou(), data['iou'].numpy())
    np.testing.assert_allclose(curve.scores()['miou'], data['miou'].numpy(), rtol=0, atol=1e-15)


def test_parity_with_a_published_label(parity):
    """Scored against itself, a label is perfect at its own threshold and at no other."""
    data = parity('vwe/cam_label')
    curve = ThresholdCurve(21, [.10, float(data['bkg']), .18])
    curve.update(data['high_res'].numpy(), data['keys'].numpy() + 1, data['label'].numpy())
    miou = curve.scores()['miou']
    assert miou[1] == 1 and curve.best() == 1 and max(miou[0], miou[2]) < 1


@pytest.mark.parametrize('seed', range(200))
def test_equals_one_arg_max_per_threshold(seed):
    rng = np.random.default_rng(seed)
    images = [draw(rng) for _ in range(rng.integers(1, 4))]
    curve = ThresholdCurve(5, np.arange(11) / 10)
    for image in images:
        curve.update(*image)
    expected = naive(images, 5, curve.thresholds)
    np.testing.assert_array_equal(curve.confusion(), [m.counts[:, :-1] for m in expected])
    scores = curve.scores()
    for name, of in (('iou', 'iou'), ('class_precision', 'precision'), ('class_recall', 'recall')):
        np.testing.assert_array_equal(scores[name], [getattr(m, of)() for m in expected])
    np.testing.assert_allclose(scores['miou'], [m.miou() for m in expected], rtol=1e-14)


def test_hand_computed():
    truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
    curve = ThresholdCurve(3, [0, .5, 1]).update(np.array([[[0, .6, .5, 1, 1]]]), [1], truth)
    #  t = 0: 0 1 1 1;  t = .5: 0 1 0 1 (a tie is background);  t = 1: nothing is above
    scores, foreground = curve.scores(), curve.scores(foreground=True)
    np.testing.assert_allclose(scores['iou'], [[1 / 2, 2 / 3, np.nan], [1 / 3, 1 / 3, np.nan], [1 / 2, 0, np.nan]])
    np.testing.assert_allclose(scores['miou'], [7 / 12, 1 / 3, 1 / 4])
    np.testing.assert_allclose(scores['precision'], [(1 + 2 / 3) / 2, 1 / 2, 1 / 2])  # never predicted: left out
    np.testing.assert_allclose(scores['recall'], [3 / 4, 1 / 2, 1 / 2])
    np.testing.assert_allclose(scores['f1'], [2 * 5 / 6 * 3 / 4 / (5 / 6 + 3 / 4), 1 / 2, 1 / 2])
    np.testing.assert_allclose(foreground['miou'], [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(foreground['precision'], [2 / 3, 1 / 2, np.nan])
    assert curve.best() == 0 and curve.nearest(.6) == 1
    found = curve.to_json(['background', 'cat', 'dog'])
    assert found['classes']['dog']['iou'] == [None] * 3 and found['miou'][2] == 25


def test_merged_shards_are_the_whole():
    rng = np.random.default_rng(1)
    images = [draw(rng) for _ in range(12)]
    whole, parts = ThresholdCurve(5), [ThresholdCurve(5) for _ in range(3)]
    for i, image in enumerate(images):
        whole.update(*image)
        parts[i % 3].update(*image)
    merged = parts[2].merge(parts[0]).merge(parts[1])
    np.testing.assert_array_equal(merged.counts, whole.counts)
    with pytest.raises(ValueError, match='different thresholds'):
        whole.merge(ThresholdCurve(5, [.1]))
    with pytest.raises(ValueError, match='21 classes'):
        whole.merge(ThresholdCurve(21))


def test_order_of_the_classes_and_flips_do_not_matter():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 5, (9, 7)).astype(np.uint8)
    maps, ids = rng.random((3, 9, 7)).astype(np.float32), np.array([1, 2, 4])
    curve = ThresholdCurve(5).update(maps, ids, truth)
    for other in ((maps[::-1], ids[::-1], truth), (maps[..., ::-1], ids, truth[:, ::-1])):
        np.testing.assert_array_equal(ThresholdCurve(5).update(*other).counts, curve.counts)


def test_zero_maps_no_classes_and_ignored_pixels_are_background_or_nothing():
    truth = np.array([[0, 1, 255]], np.uint8)
    zeros = ThresholdCurve(3).update(np.zeros((2, 1, 3)), [1, 2], truth)
    none = ThresholdCurve(3).update(np.zeros((0, 1, 3)), [], truth)
    for curve in (zeros, none):
        assert (curve.confusion()[:, :, 0] == [1, 1, 0]).all() and curve.confusion().sum() == 2 * 101
        assert curve.best() == 0
    ignored = ThresholdCurve(3).update(np.ones((1, 1, 3)), [1], np.full((1, 3), 255))
    with pytest.raises(ValueError, match='no pixel'):
        ignored.best()
    assert np.isnan(ignored.scores()['miou']).all()


@pytest.mark.parametrize('maps, ids, truth, message', [
    (np.zeros((1, 2, 3)), [1], np.zeros((3, 2), int), 'maps'),
    (np.zeros((2, 2, 3)), [1], np.zeros((2, 3), int), '2, 2, 3'),
    (np.zeros((1, 2, 3)), [5], np.zeros((2, 3), int), 'class ids'),
    (np.zeros((1, 2, 3)), [0], np.zeros((2, 3), int), 'class ids'),
    (np.zeros((2, 2, 3)), [1, 1], np.zeros((2, 3), int), 'class ids'),
    (np.full((1, 2, 3), np.nan), [1], np.zeros((2, 3), int), 'NaN'),
    (np.zeros((1, 2, 3)), [1], np.full((2, 3), 7), r'ids \[7\]'),
    (np.zeros((1, 2, 3)), [1], np.full((2, 3), -1), 'truth'),
    (np.zeros((1, 2, 3)), [1], np.zeros((2, 3)), 'float64')])
def test_bad_input(maps, ids, truth, message):
    curve = ThresholdCurve(5)
    with pytest.raises(ValueError, match=message):
        curve.update(maps, ids, truth)
    assert not curve.counts.any()


@pytest.mark.parametrize('thresholds', [[], [.2, .1], [.1, .1 + 1e-10], [0, np.nan], [[.1, .2]]])
def test_bad_thresholds(thresholds):
    with pytest.raises(ValueError, match='thresholds'):
        ThresholdCurve(5, thresholds)


# ---------------------------------------------------------------- folders

@pytest.fixture
def tree(tmp_path):
    """Three images whose maps are of half their size."""
    rng = np.random.default_rng(4)
    for folder in ('maps', 'truth'):
        (tmp_path / folder).mkdir()
    for i in range(3):
        maps, ids, truth = draw(rng, size=(8, 10))
        small = rng.random((len(ids), 4, 5)).astype(np.float32)
        (tmp_path / f'maps/im{i}.npz').write_bytes(ClassMaps(f'im{i}', ids, small, 8, 10).to_bytes())
        Image.fromarray(truth).save(tmp_path / f'truth/im{i}.png')
    return tmp_path


def test_a_folder_is_the_sum_of_its_images_enlarged(tree):
    ids, seen = ['im0', 'im1', 'im2'], []
    curve = evaluate_class_maps(tree / 'maps', tree / 'truth', ids, CLASSES, progress=lambda: seen.append(1))
    expected = ThresholdCurve(5)
    for image_id in ids:
        found = ClassMaps.load(tree / f'maps/{image_id}.npz')
        maps = torch.nn.functional.interpolate(torch.from_numpy(found.maps)[:, None], (8, 10), mode='bilinear')
        expected.update(maps[:, 0].numpy(), found.class_ids, np.asarray(Image.open(tree / f'truth/{image_id}.png')))
    assert len(seen) == 3 and curve.counts.sum() == expected.counts.sum()
    # Rounding may carry a score over a threshold here and there.
    np.testing.assert_allclose(curve.scores()['miou'], expected.scores()['miou'], atol=.02)
    halves = evaluate_class_maps(tree / 'maps', tree / 'truth', ids[:1], CLASSES).merge(
        evaluate_class_maps(tree / 'maps', tree / 'truth', ids[1:], CLASSES))
    np.testing.assert_array_equal(halves.counts, curve.counts)


def test_a_folder_with_mistakes(tree):
    maps, truth = tree / 'maps', tree / 'truth'
    with pytest.raises(DataError, match='1 of 2 class maps are missing: no.npz'):
        evaluate_class_maps(maps, truth, ['im0', 'no'], CLASSES)
    with pytest.raises(DataError, match='no image ids'):
        evaluate_class_maps(maps, truth, [], CLASSES)
    (maps / 'im1.npz').write_bytes(ClassMaps('im1', np.array([7]), np.zeros((1, 8, 10), np.float32), 8, 10).to_bytes())
    with pytest.raises(DataError, match=r'im1.npz: class ids \[7\]'):
        evaluate_class_maps(maps, truth, ['im1'], CLASSES)
    (maps / 'im2.npz').write_bytes(ClassMaps('im2', np.array([1]), np.zeros((1, 8, 9), np.float32), 8, 9).to_bytes())
    with pytest.raises(DataError, match='im2.png: size is 10 x 8'):
        evaluate_class_maps(maps, truth, ['im2'], CLASSES)


# ---------------------------------------------------------------- mmengine's loop

def samples(images, num_classes=5):
    found = []
    for maps, ids, truth in images:
        full = np.zeros((num_classes - 1, *truth.shape), np.float32)
        full[ids - 1] = np.maximum(maps, 0)
        found.append(SegDataSample(class_maps=PixelData(data=torch.from_numpy(full)),
                                   gt_sem_seg=PixelData(data=torch.from_numpy(truth.astype(np.int64)[None]))))
    return found


@pytest.fixture
def evaluator():
    made = Evaluator(METRICS.build(dict(type='wsss_mm.ClassMapMetric', threshold=.3)))
    made.dataset_meta = dict(classes=CLASSES)
    return made


def test_metric_is_the_curve_and_two_ranks_are_one(evaluator, monkeypatch):
    rng = np.random.default_rng(5)
    images = [draw(rng, size=(6, 5)) for _ in range(5)]
    curve = ThresholdCurve(5)
    for maps, ids, truth in images:
        curve.update(np.maximum(maps, 0), ids, truth)
    for i in (0, 3):
        evaluator.process(samples(images[i:i + 3]))
    alone = evaluator.evaluate(5)
    scores, at = curve.scores(), curve.best()
    assert alone == {f'class_maps/{name}': pytest.approx(value) for name, value in dict(
        mIoU=100 * scores['miou'][at], threshold=curve.thresholds[at], precision=100 * scores['precision'][at],
        recall=100 * scores['recall'][at], F1=100 * scores['f1'][at], **{'mIoU@0.3': 100 * scores['miou'][30]}).items()}
    # Two ranks of three, where the loader repeated the first image to fill up; mmengine takes turns and cuts.
    parts = []
    for rank in ([0, 2, 4], [1, 3, 0]):
        evaluator.process(samples([images[i] for i in rank]))
        parts.append(evaluator.metrics[0].results.copy())
        evaluator.metrics[0].results.clear()
    evaluator.metrics[0].results = parts[0]
    monkeypatch.setattr('mmengine.evaluator.metric.collect_results', lambda part, size, *_, **__: [
        x for pair in zip(*parts, strict=True) for x in pair][:size])
    assert evaluator.evaluate(5) == alone


def test_metric_says_what_is_missing(evaluator):
    sample = samples([draw(np.random.default_rng(6))])[0]
    del sample.class_maps
    with pytest.raises(ConfigError, match='class_maps'):
        evaluator.process([sample])
    with pytest.raises(ConfigError, match='0.305 is not among'):
        ClassMapMetric(threshold=.305)
    with pytest.raises(ConfigError, match='2 class maps for 5 classes'):
        evaluator.process(samples([draw(np.random.default_rng(6), 3)], 3))


def test_classifier_gives_the_maps_the_metric_reads():
    from wsss_mm.registry import MODELS
    model = MODELS.build(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ToyNet', channels=(8, 8, 8), output_stride=4),
        head=dict(type='wsss_mm.BAPHead', num_classes=4, in_channels=8, attention=False),
        test_cfg=dict(class_maps=True))).eval()
    torch.nn.init.normal_(model.head.classifier.weight)
    inputs = torch.rand(2, 3, 32, 40)
    tags = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0]])
    given = [SegDataSample(gt_label=t, metainfo=m) for t, m in zip(tags, (
        dict(ori_shape=(64, 72), padding_size=(0, 4, 0, 0)), dict(ori_shape=(32, 40))), strict=True)]
    with torch.no_grad():
        first, second = model(inputs, given, mode='predict')
        logits = model.class_maps(inputs)
    assert first.class_maps.data.shape == (4, 64, 72) and not second.class_maps.data.any()
    assert not first.class_maps.data[[0, 2]].any() and first.pred_label.shape == (4,)
    plain = torch.nn.functional.interpolate(logits[:1], (32, 40), mode='bilinear')[..., :36]
    plain = torch.nn.functional.interpolate(plain, (64, 72), mode='bilinear')[0, [1, 3]].relu()
    torch.testing.assert_close(first.class_maps.data[[1, 3]], plain / (plain.amax((1, 2), keepdim=True) + 1e-5))
    with torch.no_grad():   # without samples: all classes, at the input's size
        free = model(inputs, mode='predict')[1].class_maps.data
    assert free.shape == (4, 32, 40) and 0 <= free.min() and free.max() <= 1
    with pytest.raises(ConfigError, match='unknown keys'):
        MODELS.build(dict(type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ToyNet'), head=None,
                          test_cfg=dict(maps=True)))

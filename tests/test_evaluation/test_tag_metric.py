"""Multi-label scores against hand-computed cases, the definition, and scikit-learn where it is installed."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmseg.structures import SegDataSample

from wsss_mm.errors import ConfigError
from wsss_mm.evaluation import average_precision
from wsss_mm.registry import METRICS


def by_definition(scores, positive):
    """Mean over the positives of the precision among all scored at least as high."""
    values = [positive[scores >= s].mean() for s in scores[positive]]
    return np.mean(values) if values else np.nan


def test_average_precision_by_hand():
    scores = np.array([[.9, .9, .2, 0], [.8, .5, .2, 0], [.7, .5, .2, 0], [.1, .5, .2, 0]])
    positive = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    np.testing.assert_allclose(average_precision(scores, positive), [(1 + 2 / 3) / 2, 1 / 4, 1 / 4, np.nan])


@pytest.mark.parametrize('levels', [3, 10, 10_000])
def test_average_precision_by_definition(levels):
    rng = np.random.default_rng(levels)
    scores, positive = rng.integers(0, levels, (60, 7)) / levels, rng.random((60, 7)) < .3
    positive[:, 2], positive[:, 3] = False, True
    expected = [by_definition(s, p) for s, p in zip(scores.T, positive.T, strict=True)]
    np.testing.assert_allclose(average_precision(scores, positive), expected, rtol=1e-12)
    np.testing.assert_allclose(average_precision(scores.astype(np.float32) * 3 - 1, positive), expected, rtol=1e-12)


def test_average_precision_is_that_of_scikit_learn():
    metrics = pytest.importorskip('sklearn.metrics')
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 20, (80, 5)) / 20, rng.random((80, 5)) < .3
    np.testing.assert_allclose(average_precision(scores, positive),
                               metrics.average_precision_score(positive, scores, average=None))


@pytest.mark.parametrize('scores, message', [(np.zeros((3, 1)), r'\(3, 1\)'), (np.full((3, 2), np.nan), 'NaN')])
def test_average_precision_of_bad_input(scores, message):
    with pytest.raises(ValueError, match=message):
        average_precision(scores, np.zeros((3, 2), bool))


@pytest.fixture
def evaluator():
    made = Evaluator(METRICS.build(dict(type='wsss_mm.TagMetric', per_class=True)))
    made.dataset_meta = dict(classes=('background', 'cat', 'dog', 'cow'))
    return made


def samples(scores, tags):
    return [SegDataSample(pred_label=torch.tensor(s), gt_label=torch.tensor(t))
            for s, t in zip(scores, tags, strict=True)]


def test_metric_by_hand(evaluator):
    scores = [[.9, .6, .1], [.8, .4, .1], [.3, .7, .2], [.6, .5, .4]]
    tags = [[1., 1., 0.], [0., 1., 0.], [1., 1., 0.], [1., 0., 0.]]
    evaluator.process(samples(scores[:3], tags[:3]))
    evaluator.process(samples(scores[3:] + scores[:1], tags[3:] + tags[:1]))   # the last fills the batch up
    found = evaluator.evaluate(4)
    # named: cat dog | cat | dog | cat; only the first and last images are right, .5 is not above .5
    assert found == {f'tags/{k}': pytest.approx(100 * v) for k, v in {
        'mAP': ((1 + 2 / 3 + 3 / 4) / 3 + (1 + 1 + 3 / 4) / 3) / 2, 'exact_match': 1 / 2,
        'accuracy': (2 / 4 + 3 / 4 + 1) / 3, 'F1': (4 / 6 + 4 / 5) / 2,
        'AP/cat': (1 + 2 / 3 + 3 / 4) / 3, 'AP/dog': (1 + 1 + 3 / 4) / 3, 'AP/cow': np.nan,
        'accuracy/cat': 2 / 4, 'accuracy/dog': 3 / 4, 'accuracy/cow': 1}.items() if k != 'AP/cow'} | {
        'tags/AP/cow': pytest.approx(np.nan, nan_ok=True)}


def test_metric_says_what_is_missing(evaluator):
    with pytest.raises(ConfigError, match='gt_label'):
        evaluator.process([SegDataSample(pred_label=torch.zeros(3))])
    evaluator.process(samples([[.1, .2]], [[0., 1.]]))
    with pytest.raises(ConfigError, match='2 scores for 3'):
        evaluator.evaluate(1)

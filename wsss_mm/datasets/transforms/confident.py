"""Training on areas that are surely foreground or background (PSA, section 3.3.1)."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform

from wsss_mm.datasets.label_readers import IGNORED
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.registry import TRANSFORMS

_NO_SCORE = 1e-5


def confident_labels(low: np.ndarray, high: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """Label what is sure: the best class of ``low``, background where it is the best of ``high``.

    ``low`` has a strong background, so that what is foreground there is surely so; ``high`` a weak one. Where both
    say something, the background of ``high`` counts, as in the published code; where no score is above 1e-5, nothing.

    Args:
        low: ``(K + 1, h, w)`` scores of background and classes with the small power of the background.
        high: ``(K + 1, h, w)`` with the large power.
        class_ids: ``(K,)`` segmentation ids.

    Returns:
        ``(h, w)`` uint8: 0 background, 1…C classes, 255 not sure.
    """
    ids = np.array([IGNORED, *class_ids], np.uint8)
    labels = ids[low.argmax(0)]
    labels[high.argmax(0) == 0] = 0
    labels[np.maximum(low.max(0), high.max(0)) < _NO_SCORE] = IGNORED
    return labels


@TRANSFORMS.register_module()
class LoadConfidentScores(BaseTransform):
    """Load the scores that :class:`~wsss_mm.pseudo_labels.PSAConfidentAreas` has saved.

    They are ``scores/<image id>.npz`` of the run whose ``labels`` the dataset names as
    ``label_dirs=dict(seg_map='…/labels')``.

    Sets ``gt_scores`` ``(H, W, 2 (K + 1))`` uint8, 255 for 1, in ``seg_fields``, so that flips and crops carry them;
    crops must pad with 0: ``label_pad=0``. ``PoolConfidentScores`` makes labels of them, and has to follow.
    """

    def transform(self, results: dict) -> dict:
        """Set ``gt_scores`` and ``score_ids`` ``(K,)``.

        Raises:
            ConfigError: the dataset names no labels.
            DataError: no such file, not readable, or of another image's size.
        """
        if 'seg_map_path' not in results:
            raise ConfigError('the dataset names no labels, beside which the scores lie',
                              expected="label_dirs=dict(seg_map='…/labels') in the dataset")
        path = Path(results['seg_map_path']).parents[1] / 'scores' / f'{results["img_id"]}.npz'
        try:
            with np.load(path, allow_pickle=False) as file:
                ids, low, high = (file[name] for name in ('class_ids', 'low', 'high'))
        except FileNotFoundError:
            raise DataError('no scores of this image', file=path, fix='make them with PSAConfidentAreas') from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f'not readable as scores ({error})', file=path,
                            expected='an .npz of class_ids, low and high', fix='delete it and make it anew') from None
        expected = (len(ids) + 1, *results['img'].shape[:2])
        if low.shape != expected or high.shape != expected or low.dtype != np.uint8 or high.dtype != np.uint8:
            raise DataError(f'scores of shape {low.shape} and {high.shape}, {low.dtype} and {high.dtype}', file=path,
                            expected=f'{expected} and uint8, as the image and its {len(ids)} classes have it')
        results['gt_scores'] = np.concatenate([low, high]).transpose(1, 2, 0)
        results['score_ids'] = ids
        results['seg_fields'].append('gt_scores')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class PoolConfidentScores(BaseTransform):
    """Make a label map of ``gt_scores``: means over cells of the features' stride, then :func:`confident_labels`.

    Means of scores, not labels: a cell across a border is labelled where its mean is sure. A cell that is padding in
    part has the same best class with the zeros as without. Each label is repeated over its cell, so that the model
    finds it again at its stride.

    Args:
        stride: Side of a cell; the crop should be a multiple of it.

    Raises:
        ConfigError: below 1.
    """

    def __init__(self, stride: int = 8) -> None:
        if stride < 1:
            raise ConfigError(f'PoolConfidentScores: stride={stride}', expected='1 or more')
        self.stride = stride

    def transform(self, results: dict) -> dict:
        """Replace ``gt_scores`` by ``gt_seg_map`` ``(H, W)`` uint8.

        Raises:
            ConfigError: no scores there.
        """
        if 'gt_scores' not in results:
            raise ConfigError('PoolConfidentScores without gt_scores', fix='put LoadConfidentScores before it')
        scores, side = results.pop('gt_scores'), self.stride
        height, width, channels = scores.shape
        padded = np.pad(scores, ((0, -height % side), (0, -width % side), (0, 0)))
        rows, columns = padded.shape[0] // side, padded.shape[1] // side
        cells = padded.reshape(rows, side, columns, side, channels).sum(1, np.uint32).sum(2)
        means = cells.transpose(2, 0, 1) / np.float32(255 * side * side)
        labels = confident_labels(means[:channels // 2], means[channels // 2:], results.pop('score_ids'))
        results['gt_seg_map'] = labels.repeat(side, 0).repeat(side, 1)[:height, :width]
        results['seg_fields'] = [*(f for f in results['seg_fields'] if f != 'gt_scores'), 'gt_seg_map']
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(stride={self.stride})'

"""Visual words (Ru et al., IJCAI 2021, §3.2-3.5): local labels that the network finds by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads.base import full_precision, select_map, stack_tags
from wsss_mm.models.objectives.attention import check_option
from wsss_mm.models.objectives.base import Objective
from wsss_mm.registry import MODELS

if TYPE_CHECKING:
    from wsss_mm.models.classifiers import CAMClassifier


def word_similarity(feature_map: Tensor, codebook: Tensor) -> Tensor:
    """Cosines between pixels and words, eq. (1), in float32 at least.

    Args:
        feature_map: ``(N, D, h, w)``.
        codebook: ``(k, D)``.

    Returns:
        ``(N, k, h, w)``; 0 at pixels of length 0.
    """
    with torch.autocast(feature_map.device.type, enabled=False):
        pixels, words = F.normalize(full_precision(feature_map), dim=1), F.normalize(full_precision(codebook), dim=1)
        return F.conv2d(pixels, words.to(pixels)[:, :, None, None])


def word_probabilities(similarity: Tensor, tau: float = 1.) -> Tensor:
    """Soft assignment of the pixels to words, eq. (2): the softmax over words of ``similarity / tau``.

    With ``tau`` 1, as published, it is nearly flat: cosines span 2, so no word is more than e² times another.
    """
    return (similarity / tau).softmax(dim=1)


def present_words(similarity: Tensor, valid: Tensor | None = None) -> Tensor:
    """Which words occur in an image, eq. (3): ``(N, k)`` of 0 and 1.

    ``N·h·w`` writes; a one-hot map of ``N·h·w·k`` integers is 34 MB for a batch of 16 at 512 x 512 and 256 words.

    Args:
        similarity: ``(N, k, h, w)``.
        valid: ``(N, h, w)`` boolean, pixels that count.
    """
    word = similarity.argmax(dim=1).flatten(1)
    if valid is None:
        return similarity.new_zeros(similarity.shape[:2]).scatter_(1, word, 1.)
    # The others go to a column of their own.
    word = torch.where(valid.flatten(1), word, similarity.shape[1])
    return similarity.new_zeros(len(word), similarity.shape[1] + 1).scatter_(1, word, 1.)[:, :-1]


def word_histogram(probabilities: Tensor, valid: Tensor | None = None, kind: str = 'sum') -> Tensor:
    """Soft frequencies of the words, eq. (4).

    Args:
        probabilities: ``(N, k, h, w)``.
        valid: ``(N, h, w)`` boolean, pixels that count.
        kind: ``'sum'`` over the pixels, as in the published code, or their ``'mean'``, as in the paper.

    Returns:
        ``(N, k)``.

    Raises:
        ConfigError: another ``kind``.
    """
    check_option('hist', kind, ('sum', 'mean'))
    if valid is None:
        return probabilities.sum((2, 3)) if kind == 'sum' else probabilities.mean((2, 3))
    total = torch.where(valid[:, None], probabilities, 0).sum((2, 3))
    return total if kind == 'sum' else total / valid.sum((1, 2)).clamp_min(1)[:, None]


def decorrelation_loss(codebook: Tensor) -> Tensor:
    """Half of the Frobenius norm of the words' Gram matrix minus that of its diagonal (the method's journal version).

    Args:
        codebook: ``(k, D)``; every word's own mean is taken off before.
    """
    with torch.autocast(codebook.device.type, enabled=False):
        words = full_precision(codebook)
        words = words - words.mean(1, keepdim=True)
        gram = words @ words.T
        return (gram.norm() - gram.diagonal().norm()) / 2


def image_area(data_samples: Sequence[SegDataSample], inputs: Tensor, size: Sequence[int]) -> Tensor:
    """``(N, h, w)`` boolean: cells whose centre is no padding of the batch.

    Args:
        data_samples: With ``padding_size`` (left, right, top, bottom) in pixels, as mmseg's preprocessor sets it;
            without it, an image is taken to fill its input.
        inputs: ``(N, 3, H, W)``.
        size: ``(h, w)`` of the result.
    """
    padding = torch.tensor([tuple(sample.metainfo.get('padding_size') or (0, 0, 0, 0)) for sample in data_samples],
                           device=inputs.device)

    def inside(cells: int, pixels: int, first: Tensor, last: Tensor) -> Tensor:
        centre = (torch.arange(cells, device=inputs.device) + .5) * (pixels / cells)
        return (centre > first[:, None]) & (centre < pixels - last[:, None])

    left, right, top, bottom = padding.unbind(1)
    height, width = inputs.shape[2:]
    return inside(size[0], height, top, bottom)[:, :, None] & inside(size[1], width, left, right)[:, None]


@MODELS.register_module()
class VisualWords(Objective):
    """Classifies the image by the histogram of its words, and its words by the mean feature: two terms of eq. (9).

    The codebook is learnt with the network. The first loss trains the codebook and its own layer alone, the second
    the backbone. In the published settings all three weights here have ten times the backbone's learning rate.

    Args:
        num_classes: Foreground classes C.
        in_channels: Channels D of the map.
        num_words: k.
        in_index: Which of the backbone's maps.
        tau: Temperature of the soft assignment.
        hist: ``'sum'`` (published code) or ``'mean'`` (paper) of the assignments. The learning rate goes with it: the
            mean is ``h·w`` times smaller.
        detach_features: Keep the histogram's gradient out of the backbone, as published.
        ignore_zero: Leave out pixels of length 0, which otherwise count as word 0.
        ignore_padding: Leave out what the batch was padded with, which otherwise becomes words.
        w2i_weight, word_weight: Factors of the two losses.
        decorrelation: Factor of :func:`decorrelation_loss`; the journal version has 1.
        init_cfg: As in mmengine.

    Raises:
        ConfigError: no words, a ``tau`` that is not positive, or another ``hist``.
    """

    def __init__(self, num_classes: int, in_channels: int, num_words: int = 256, in_index: int = -1, tau: float = 1.,
                 hist: str = 'sum', detach_features: bool = True, ignore_zero: bool = False,
                 ignore_padding: bool = False, w2i_weight: float = 1., word_weight: float = 1.,
                 decorrelation: float = 0., init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        check_option('VisualWords: hist', hist, ('sum', 'mean'))
        if num_words < 1 or tau <= 0:
            raise ConfigError(f'VisualWords: num_words={num_words}, tau={tau}', expected='1 or more; above 0')
        self.in_index, self.tau, self.hist, self.detach_features = in_index, tau, hist, detach_features
        self.ignore_zero, self.ignore_padding = ignore_zero, ignore_padding
        self.w2i_weight, self.word_weight, self.decorrelation = w2i_weight, word_weight, decorrelation
        self.codebook = nn.Parameter(torch.empty(num_words, in_channels))
        nn.init.kaiming_normal_(self.codebook, a=math.sqrt(5))
        self.word_to_image = nn.Linear(num_words, num_classes, bias=False)
        self.words = nn.Linear(in_channels, num_words, bias=False)

    def loss(self, classifier: CAMClassifier, inputs: Tensor, feats: Sequence[Tensor],
             data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """``loss_w2i``, ``loss_word``, ``loss_decorrelation`` where asked for; for the log ``active_words`` per image.

        Raises:
            ConfigError: a sample without tags, or a map of another width.
        """
        feature_map = full_precision(self.select(feats))
        similarity = word_similarity(feature_map.detach() if self.detach_features else feature_map, self.codebook)
        valid = self.valid(feature_map.detach(), inputs, data_samples)
        found = present_words(similarity.detach(), valid)
        histogram = word_histogram(word_probabilities(similarity, self.tau), valid, self.hist)
        with torch.autocast(inputs.device.type, enabled=False):
            by_words, words = self.word_to_image(histogram), self.words(feature_map.mean((2, 3)))
        losses = dict(
            loss_w2i=self.w2i_weight * F.multilabel_soft_margin_loss(by_words, stack_tags(data_samples, by_words)),
            loss_word=self.word_weight * F.multilabel_soft_margin_loss(words, found),
            active_words=found.sum(1).mean())
        if self.decorrelation:
            losses['loss_decorrelation'] = self.decorrelation * decorrelation_loss(self.codebook)
        return losses

    def class_maps(self, feats: Sequence[Tensor]) -> Tensor:
        """Class maps of the words, eq. (11): logits ``(N, C, h, w)``.

        Their sum over the pixels (``hist='sum'``) or their mean (``'mean'``) is the image's logit. With ``'sum'`` they
        are therefore ``h·w`` times smaller than the head's, and a maximum of the two (eq. 12) needs each scaled to its
        own peak before.
        """
        probabilities = word_probabilities(word_similarity(self.select(feats), self.codebook), self.tau)
        return F.conv2d(probabilities, self.word_to_image.weight[:, :, None, None])

    def select(self, feats: Sequence[Tensor]) -> Tensor:
        """The map ``(N, D, h, w)`` that is encoded."""
        return select_map(feats, self.in_index, self.codebook.shape[1], type(self).__name__)

    def valid(self, feature_map: Tensor, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> Tensor | None:
        """``(N, h, w)`` boolean, pixels that count, or None for all."""
        valid = None
        if self.ignore_zero:
            valid = feature_map.ne(0).any(1)
        if self.ignore_padding:
            area = image_area(data_samples, inputs, feature_map.shape[2:])
            valid = area if valid is None else valid & area
        return valid

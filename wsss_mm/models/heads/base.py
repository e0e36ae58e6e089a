"""What all pooling heads share: the classification layer, class maps, the image-level loss, Grad-CAM's weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from wsss_mm.errors import ConfigError


class BasePoolingHead(BaseModule):
    """A 1x1 classification layer without bias, and a way of pooling that a subclass gives in :meth:`logits`.

    Args:
        num_classes: Foreground classes C.
        in_channels: Channels D of the map.
        in_index: Which of the backbone's maps.
        loss_weight: Factor of the loss.
        has_background: Give background a weight row of its own, row 0.
        loss_images: Take the image-level loss on the first so many images of the batch alone, where objectives need
            a larger batch than the classifier was tuned for (AEFT: 8 of 32). Default: all.
        init_cfg: Default: normal, standard deviation 0.01.

    Attributes:
        averages: A subclass sets it where the pooling weights of every channel sum to 1, at any input. Grad-CAM's
            weights are then the classifier's, and need no backward.

    Raises:
        ConfigError: ``loss_images`` below 1.
    """

    averages = False

    def __init__(self, num_classes: int, in_channels: int, in_index: int = -1, loss_weight: float = 1.,
                 has_background: bool = False, loss_images: int | None = None,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg or dict(type='Normal', layer='Conv2d', std=.01))
        if loss_images is not None and loss_images < 1:
            raise ConfigError(f'{type(self).__name__}: loss_images={loss_images}', expected='1 or more, or None')
        self.num_classes = num_classes
        self.in_index = in_index
        self.loss_weight = loss_weight
        self.has_background = has_background
        self.loss_images = loss_images
        self.classifier = nn.Conv2d(in_channels, num_classes + has_background, 1, bias=False)

    @property
    def weight_matrix(self) -> Tensor:
        """Classifier weights ``(C, D)``, or ``(C + 1, D)`` with background first."""
        return self.classifier.weight.flatten(1)

    @property
    def class_weights(self) -> Tensor:
        """Classifier weights ``(C, D)`` of the foreground classes."""
        return self.weight_matrix[int(self.has_background):]

    def select(self, feats: Sequence[Tensor]) -> Tensor:
        """The map ``(N, D, h, w)`` this head works on.

        Raises:
            ConfigError: a bare tensor instead of a tuple, or a map of another width.
        """
        return select_map(feats, self.in_index, self.classifier.in_channels, type(self).__name__)

    def project(self, feature_map: Tensor) -> Tensor:
        """``(N, D, h, w)`` -> class maps ``(N, C, h, w)``, logits, background not among them."""
        return F.conv2d(feature_map, self.class_weights[:, :, None, None])

    def class_maps(self, feats: Sequence[Tensor]) -> Tensor:
        """The backbone's maps -> logits ``(N, C, h, w)``, background not among them."""
        return self.project(self.select(feats))

    def pooled_maps(self, class_maps: Tensor) -> Tensor:
        """The maps ``(N, C, h, w)`` by which the head weighs its class maps ``(N, C, h, w)``; here these themselves."""
        return class_maps

    @abstractmethod
    def logits(self, feature_map: Tensor) -> Tensor:
        """``(N, D, h, w)`` -> image logits ``(N, C)``."""

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """The backbone's maps -> image logits ``(N, C)``."""
        return self.logits(self.select(feats))

    def gradcam_weights(self, feature_map: Tensor, pairs: Tensor, create_graph: bool = False) -> Tensor:
        """Spatial means of the gradients of single logits (Selvaraju et al., ICCV 2017, eq. 1).

        One backward for all pairs, at the price of a copy of the feature map for each; one backward for each class
        in turn would cost C of them. A head that ``averages`` has ``W_c / (h·w)`` exactly, without a backward.

        Args:
            feature_map: ``(N, D, h, w)``.
            pairs: ``(P, 2)`` int64, image index and class index.
            create_graph: Keep the result differentiable, in the classifier and in ``feature_map``. Otherwise it is
                a constant.

        Returns:
            ``(P, D)``, float32 at least.
        """
        image, label = pairs.unbind(1)
        if self.averages:
            weights = self.class_weights[label] / feature_map.shape[2:].numel()
            return weights if create_graph else weights.detach()
        with torch.enable_grad(), torch.autocast(feature_map.device.type, enabled=False):
            # 1/(h·w) of a weight is at the lower end of float16.
            maps = full_precision(feature_map if create_graph else feature_map.detach())[image]
            if not maps.requires_grad:
                maps.requires_grad_()
            if not len(pairs):
                return maps.mean((2, 3))
            logits = self.logits(maps).gather(1, label[:, None])
            (gradient,) = torch.autograd.grad(logits.sum(), maps, create_graph=create_graph)
            return gradient.mean((2, 3))

    def loss(self, feats: Sequence[Tensor], data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Multi-label soft-margin loss against the image tags ``gt_label`` ``(C,)``.

        Raises:
            ConfigError: a sample without tags, or tags of another number of classes.
        """
        logits = self.logits(self.select(feats)[:self.loss_images])
        tags = stack_tags(data_samples[:self.loss_images], logits)
        if tags.shape != logits.shape:
            raise ConfigError(f'{type(self).__name__}: num_classes={logits.shape[1]}, but `gt_label` has '
                              f'{tags.shape[1]}', fix=f'set num_classes={tags.shape[1]}, or use another data set')
        return dict(loss_cls=self.loss_weight * F.multilabel_soft_margin_loss(logits, tags))

    def predict(self, feats: Sequence[Tensor], data_samples: Sequence[SegDataSample] | None = None
                ) -> list[SegDataSample]:
        """The samples with ``pred_label``, the sigmoid ``(C,)`` of the image logits."""
        scores = self(feats).sigmoid()
        samples = [SegDataSample() for _ in scores] if data_samples is None else list(data_samples)
        for sample, score in zip(samples, scores, strict=True):
            sample.set_data(dict(pred_label=score))
        return samples


def select_map(feats: Sequence[Tensor], index: int, channels: int, owner: str) -> Tensor:
    """Map ``index`` ``(N, D, h, w)`` of the backbone, if it has D = ``channels``.

    Args:
        feats: The backbone's maps.
        index: Which of them.
        channels: The width that ``owner`` was built for.
        owner: Name for the message.

    Raises:
        ConfigError: a bare tensor instead of a tuple, or a map of another width.
    """
    if isinstance(feats, Tensor):
        raise ConfigError('the backbone returned a tensor', expected='a tuple of maps')
    feature_map = feats[index]
    if feature_map.shape[1] != channels:
        raise ConfigError(f'{owner}: in_channels={channels}, but map {index} of the backbone has '
                          f'{feature_map.shape[1]} channels',
                          fix=f'set in_channels={feature_map.shape[1]} or another in_index')
    return feature_map


def stack_tags(data_samples: Sequence[SegDataSample], like: Tensor) -> Tensor:
    """Image tags of a batch: multi-hot ``(N, C)`` of the dtype and on the device of ``like``.

    Raises:
        ConfigError: a sample without tags.
    """
    for sample in data_samples:
        if 'gt_label' not in sample:
            raise ConfigError('a sample has no `gt_label`', expected='multi-hot image tags (C,)',
                              fix='put LoadWeakLabels and PackWeakInputs in the pipeline')
    return torch.stack([sample.gt_label for sample in data_samples]).to(like)


def present_pairs(tags: Tensor) -> Tensor:
    """Multi-hot tags ``(N, C)`` -> ``(P, 2)`` int64, image index and class index of every present class, row-major."""
    return (tags > 0).nonzero()


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it is so already."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()

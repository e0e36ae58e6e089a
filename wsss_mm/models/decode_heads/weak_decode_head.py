"""What every decode head trained on imperfect labels shares: the cosine classifier and two label maps in the loss."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from wsss_mm.errors import ConfigError, DataError


def cosine_map(features: Tensor, weight: Tensor) -> Tensor:
    """Cosine between every feature vector and every class's weights (BANA's supplement §4).

    Runs in float32 (float64 stays) whatever the autocast mode: 20 times a half-precision cosine is off by .01.

    Args:
        features: ``(N, D, h, w)``; a zero vector has cosine 0 with every class.
        weight: ``(C, D)`` or ``(C, D, 1, 1)``.

    Returns:
        ``(N, C, h, w)`` in [-1, 1].
    """
    with torch.autocast(features.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(features.dtype, weight.dtype), torch.float32)
        weight = _unit(weight.to(dtype).flatten(1))
        return F.conv2d(_unit(features.to(dtype)), weight[..., None, None])


def _unit(vectors: Tensor) -> Tensor:
    """Unit vectors along dim 1. A zero vector stays zero, with gradient zero: a feature that ReLU and dropout left
    empty would otherwise get a gradient of 1 / eps, which overflows in half precision."""
    norm = vectors.norm(dim=1, keepdim=True)
    return vectors / norm.where(norm > 1e-12, torch.inf)


class WeakDecodeHead(BaseDecodeHead):
    """A decode head whose loss may see two label maps and the cosines to its classifier.

    Subclasses give :meth:`_forward_feature`. ``conv_seg`` holds the classifier: a 1x1 convolution without bias.
    Losses with ``needs_retrieved`` (``wsss_mm.NoiseAwareLoss`` and its kin) are called with the logits, the cosines
    and both label maps; any other MMSegmentation loss sees the logits and ``gt_sem_seg`` alone.

    Args:
        in_channels: Channels of the chosen backbone map.
        channels: Channels of the feature before the classifier.
        num_classes: Classes with the background.
        classifier: ``'cosine'``: logits are ``scale * cos``; ``'dot'``: plain dot products.
        scale: The cosine's factor tau.
        dropout_ratio: Channel dropout before the classifier, for backbones that have none of their own.
        align_corners: Passed to every bilinear resizing.
        loss_decode: One loss or several; by default cross-entropy over the labelled pixels.
        init_cfg: By default all convolutions of the head are drawn from N(0, 0.01).

    Raises:
        ConfigError: an unknown classifier.
    """

    def __init__(self, in_channels: int, channels: int, *, num_classes: int, classifier: str = 'cosine',
                 scale: float = 20., dropout_ratio: float = 0., align_corners: bool = True,
                 loss_decode: dict | list[dict] | None = None, init_cfg: dict | list[dict] | None = None,
                 **kwargs: Any) -> None:
        if classifier not in ('cosine', 'dot'):
            raise ConfigError(f'classifier={classifier!r} of {type(self).__name__}', expected="'cosine' or 'dot'",
                              fix="set classifier='cosine' in the decode head")
        if loss_decode is None:
            loss_decode = dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True)
        if init_cfg is None:
            init_cfg = dict(type='Normal', layer='Conv2d', std=0.01)
        # Naming out_channels keeps MMSegmentation from advising one channel for two classes.
        super().__init__(in_channels, channels, num_classes=num_classes, out_channels=num_classes,
                         dropout_ratio=dropout_ratio, align_corners=align_corners, loss_decode=loss_decode,
                         init_cfg=init_cfg, **kwargs)
        self.classifier, self.scale = classifier, scale
        self.conv_seg = nn.Conv2d(channels, num_classes, 1, bias=False)

    def _losses(self) -> list[nn.Module]:
        return list(self.loss_decode) if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]

    def _forward_feature(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The feature phi ``(N, channels, h, w)`` before the classifier."""
        raise NotImplementedError

    def _feature(self, inputs: tuple[Tensor, ...] | Tensor) -> Tensor:
        # Some of mmseg's backbones (MobileNetV2) give their only map bare; indexing would then pick an image.
        features = self._forward_feature((inputs,) if isinstance(inputs, Tensor) else inputs)
        return features if self.dropout is None else self.dropout(features)

    def cls_seg(self, feat: Tensor) -> Tensor:
        """Logits ``(N, num_classes, h, w)`` of a feature map."""
        if self.classifier == 'cosine':
            return self.scale * cosine_map(feat, self.conv_seg.weight)
        return self.conv_seg(feat)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Logits ``(N, num_classes, h, w)`` at the backbone's stride."""
        return self.cls_seg(self._feature(inputs))

    def loss(self, inputs: tuple[Tensor, ...], batch_data_samples: list, train_cfg: Any) -> dict[str, Tensor]:
        """The losses of one batch, at the labels' size.

        Args:
            inputs: The backbone's maps.
            batch_data_samples: ``SegDataSample`` with ``gt_sem_seg`` and, for two label maps, ``gt_sem_seg_ret``;
                without the latter every labelled pixel counts as reliable.
            train_cfg: Not used.

        Raises:
            DataError: some samples have the second label map and some have not, or its size is another.
        """
        features = self._feature(inputs)
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        needs_similarity = any(getattr(loss, 'needs_similarity', False) for loss in self._losses())
        size = labels.shape[1:]
        if self.classifier == 'cosine':
            similarity = self._resize(cosine_map(features, self.conv_seg.weight), size)
            logits = self.scale * similarity
        else:
            logits = self._resize(self.cls_seg(features), size)
            similarity = None
            if needs_similarity:
                similarity = self._resize(cosine_map(features, self.conv_seg.weight), size)
        return self._losses_by_maps(logits, similarity, labels, batch_data_samples)

    def _resize(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(maps, size=size, mode='bilinear', align_corners=self.align_corners)

    def predict_by_feat(self, seg_logits: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logits at the input's size, as MMSegmentation does it, without its warning at every other image size.

        Args:
            seg_logits: ``(N, num_classes, h, w)``.
            batch_img_metas: The first one's ``img_shape``, if a ``torch.Size`` (a part of the image), else its
                ``pad_shape``, else its ``img_shape``, is the size.
        """
        meta = batch_img_metas[0]
        is_part = isinstance(meta['img_shape'], torch.Size)
        size = meta['img_shape'] if is_part else meta.get('pad_shape', meta['img_shape'])
        return self._resize(seg_logits, size[:2])

    def _losses_by_maps(self, logits: Tensor, similarity: Tensor | None, labels: Tensor,
                        batch_data_samples: list) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        retrieved = weight = None
        for loss in self._losses():
            if getattr(loss, 'needs_retrieved', False):
                if retrieved is None:
                    retrieved = _stack_retrieved(batch_data_samples, labels)
                terms = loss(logits, similarity, labels, retrieved)
            else:
                if self.sampler is not None and weight is None:
                    weight = self.sampler.sample(logits, labels[:, None])
                terms = {loss.loss_name: loss(logits, labels, weight=weight, ignore_index=self.ignore_index)}
            for name, term in terms.items():
                losses[name] = losses[name] + term if name in losses and 'loss' in name else term
        losses['acc_seg'] = pixel_accuracy(logits, labels, self.ignore_index)
        return losses


def _stack_retrieved(batch_data_samples: list, labels: Tensor) -> Tensor:
    """``(N, H, W)`` second label maps, or the first ones where the data set has no second."""
    found = [sample for sample in batch_data_samples if 'gt_sem_seg_ret' in sample]
    if not found:
        return labels
    if len(found) < len(batch_data_samples):
        missing = next(sample for sample in batch_data_samples if 'gt_sem_seg_ret' not in sample)
        raise DataError('no second label map (gt_sem_seg_ret), though others of its batch have one',
                        file=missing.metainfo.get('img_path'), expected='both label maps, or none in the whole set',
                        fix='give every image both label maps')
    for sample in found:
        size = tuple(sample.gt_sem_seg_ret.data.shape[-2:])
        if size != tuple(labels.shape[1:]):
            raise DataError(f'gt_sem_seg_ret is {size}', file=sample.metainfo.get('img_path'),
                            expected=f'the size of gt_sem_seg, {tuple(labels.shape[1:])}',
                            fix='load both maps as seg_fields and use wsss_mm\'s data preprocessor, which pads both')
    return torch.stack([sample.gt_sem_seg_ret.data for sample in found]).squeeze(1)


@torch.no_grad()
def pixel_accuracy(logits: Tensor, labels: Tensor, ignore_index: int = 255, stride: int = 4) -> Tensor:
    """Percentage of right pixels, estimated on every fourth row and column: a log entry worth no more than that.

    Args:
        logits: ``(N, C, H, W)``.
        labels: ``(N, H, W)`` segmentation ids.
        ignore_index: Label that does not count.
        stride: Step between the rows and columns looked at.

    Returns:
        A scalar in [0, 100]; 0 if no pixel counts. Does not wait for the device.
    """
    labels = labels[:, ::stride, ::stride]
    valid = labels != ignore_index
    right = (logits[..., ::stride, ::stride].argmax(dim=1) == labels) & valid
    return 100. * right.sum() / valid.sum().clamp_min(1)

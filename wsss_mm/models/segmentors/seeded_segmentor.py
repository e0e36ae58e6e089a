"""A segmentor that learns from seeds: few labelled pixels, image tags, and a CRF's opinion of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.models.losses.seeds import SeedBatch
from wsss_mm.models.segmentors.multi_scale_segmentor import MultiScaleSegmentor
from wsss_mm.registry import MODELS


@MODELS.register_module()
class SeededSegmentor(MultiScaleSegmentor):
    """``MultiScaleSegmentor`` trained by losses on seeds, at the resolution of its logits (SEC, DSRG, GAIN).

    Any backbone and decode head of MMSegmentation whose ``forward`` gives one map of logits. The head's own
    ``loss_decode`` is not used; each of ``seed_losses`` sees the logits as they leave the head and a
    :class:`~wsss_mm.models.losses.seeds.SeedBatch` of their size. Auxiliary heads, where there are any, keep their own
    loss, for which the cues are a label map like any other.

    Of a sample it takes ``gt_sem_seg``, the cues (255: none; a pixel is a cue of one class at most), ``gt_label``, and
    ``gt_valid`` where the pipeline has ``MarkValid``. Testing is that of :class:`MultiScaleSegmentor`.

    Args:
        seed_losses: Configs of :class:`~wsss_mm.models.losses.seeds.SeedLoss`; their terms are logged as
            ``decode.<name>``.
        **kwargs: Those of :class:`MultiScaleSegmentor`.

    Raises:
        ConfigError: no losses.
    """

    def __init__(self, *args: Any, seed_losses: Sequence[dict], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not seed_losses:
            raise ConfigError('SeededSegmentor: seed_losses is empty', expected='one loss or more',
                              fix="set seed_losses=[dict(type='wsss_mm.SECLoss', …)], or use MultiScaleSegmentor")
        self.seed_losses = nn.ModuleList([MODELS.build(loss) for loss in seed_losses])

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            inputs: ``(N, 3, H, W)``, normalised.
            data_samples: With ``gt_sem_seg`` (the cues) and ``gt_label``.

        Raises:
            ConfigError: samples without tags, tags or logits of another number of classes, a head that gives no one
                map of logits, or two losses that name a term alike.
            DataError: a sample without cues.
        """
        feats = self.extract_feat(inputs)
        logits = self.decode_head.forward(feats)
        classes = self.decode_head.out_channels
        if not isinstance(logits, Tensor) or logits.dim() != 4 or logits.shape[1] != classes:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ConfigError(f'{type(self.decode_head).__name__} gives {found}, which seeds cannot be compared with',
                              expected=f'one map of logits (N, {classes}, h, w)',
                              fix='choose a decode head that gives one map, such as FCNHead')
        batch = self.seed_batch(inputs, data_samples, logits)
        losses: dict[str, Tensor] = {}
        for module in self.seed_losses:
            terms = {f'decode.{name}': term for name, term in module(logits, batch).items()}
            if twice := sorted(losses.keys() & terms.keys()):
                raise ConfigError(f'{type(module).__name__} gives {twice}, which another loss gave already',
                                  expected='one loss per name', fix='take one of them out of seed_losses')
            losses.update(terms)
        if self.with_auxiliary_head:
            losses.update(self._auxiliary_head_forward_train(feats, data_samples))
        return losses

    @torch.no_grad()
    def seed_batch(self, inputs: Tensor, data_samples: list, logits: Tensor) -> SeedBatch:
        """What the losses see: cues, tags, images and valid positions at the size of the logits.

        Cues and valid positions are those of the pixel that a position of the logits stands for, images are
        interpolated linearly there: with the head's ``align_corners`` the outer positions lie on the outer pixels,
        as VGG-16 at 321 pixels has them (every eighth pixel, 41 in all), else positions are centres of equal cells.

        Args:
            inputs: ``(N, 3, H, W)``, normalised.
            data_samples: N of ``SegDataSample``.
            logits: ``(N, C, h, w)``, of which shape and device are taken.

        Raises:
            ConfigError, DataError: as :meth:`loss`.
        """
        classes, device = logits.shape[1], logits.device
        rows, columns = (self._pixels(length, count, device)
                         for length, count in zip(inputs.shape[2:], logits.shape[2:], strict=True))
        labels = torch.stack([_labels(sample, inputs.shape[2:])[rows[:, None], columns] for sample in data_samples])
        valid = torch.stack([_valid(sample, inputs)[rows[:, None], columns] for sample in data_samples])
        cues = (labels[:, None] == torch.arange(classes, device=device)[:, None, None]) & valid[:, None]
        images = F.interpolate(self.true_images(inputs), size=logits.shape[2:], mode='bilinear',
                               align_corners=bool(self.decode_head.align_corners))
        images = images.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu()
        return SeedBatch(cues, torch.stack([_tags(sample, classes, device) for sample in data_samples]), images, valid)

    def _pixels(self, length: int, count: int, device: torch.device) -> Tensor:
        """The pixel (of ``length``) that each of ``count`` positions stands for."""
        if self.decode_head.align_corners:
            places = torch.arange(count, device=device) * ((length - 1) / max(count - 1, 1))
            return (places + .5).floor().long()
        return ((torch.arange(count, device=device) + .5) * (length / count)).floor().long()


def _labels(sample: Any, size: torch.Size) -> Tensor:
    if 'gt_sem_seg' not in sample:
        raise DataError('no cues (gt_sem_seg)', file=sample.metainfo.get('img_path'),
                        expected='a label map of the cues for every image',
                        fix='put LoadLabelMaps into the pipeline, and the folder of cues into label_dirs')
    labels = sample.gt_sem_seg.data[0]
    if labels.shape != size:
        raise DataError(f'cues of {tuple(labels.shape)} pixels in a batch of {tuple(size)}',
                        file=sample.metainfo.get('img_path'), expected='the size of the image')
    return labels


def _valid(sample: Any, inputs: Tensor) -> Tensor:
    """``(H, W)`` bool: neither padded by a crop (``gt_valid``) nor by the batch."""
    if 'gt_valid' in sample:
        return sample.gt_valid.data[0].to(inputs.device) == 1
    valid = inputs.new_ones(inputs.shape[2:], dtype=torch.bool)
    left, right, top, bottom = sample.metainfo.get('padding_size', (0, 0, 0, 0))
    valid[:, :left] = valid[:top] = valid[:, valid.shape[1] - right:] = valid[valid.shape[0] - bottom:] = False
    return valid


def _tags(sample: Any, classes: int, device: torch.device) -> Tensor:
    """``(C,)`` bool with the background, which always is there."""
    if 'gt_label' not in sample:
        raise ConfigError('SeededSegmentor: a sample has no `gt_label`', expected='multi-hot image tags (C,)',
                          fix='put LoadWeakLabels(boxes=False) into the training pipeline')
    tags = sample.gt_label.to(device) > 0
    if len(tags) != classes - 1:
        raise ConfigError(f'tags of {len(tags)} classes for a decode head of {classes}',
                          expected='one class less than the head has, which counts the background',
                          fix='set num_classes of the decode head')
    return F.pad(tags, (1, 0), value=True)

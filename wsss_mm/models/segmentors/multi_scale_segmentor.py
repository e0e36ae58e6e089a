"""A segmentor tested at several scales, with flipping and a dense CRF."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.data_preprocessor import gives_rgb
from wsss_mm.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class MultiScaleSegmentor(EncoderDecoder):
    """``EncoderDecoder`` whose whole-image inference averages logits over scales and flips, then may run a CRF.

    BANA's test: the image at each scale, plain and mirrored, goes through the network; the logits are brought to the
    input's size and averaged (they are 20 times the cosine, so this is the published average of cosines). With one
    scale of 1, no flip and no CRF it gives what ``EncoderDecoder`` gives.

    ``test_cfg`` takes, beside ``mode='whole'``:

    * ``size``: ``(height, width)`` to which every image is squashed first, whatever its shape (SEC and DSRG: 321 x
      321); None keeps its own.
    * ``scales``: factors on that height and width, ``(1,)`` by default; sizes are rounded down.
    * ``flip``: also run the mirrored image.
    * ``fusion``: ``'mean'`` of the logits, or their ``'sum'`` (DSRG), which makes the softmax before a CRF sharper.
    * ``crf``: config of a refiner such as ``dict(type='wsss_mm.DenseCRF', …)``, called with the true RGB image and the
      softmax, both at the image's original size, after padding is cut off. It sets ``pred_sem_seg``; ``seg_logits``
      stays the network's own.

    Raises:
        ConfigError: sliding windows, another ``fusion``, or scales or a size that are not positive numbers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        test_cfg = self.test_cfg or {}
        self.scales = tuple(test_cfg.get('scales', (1,)))
        self.flip = bool(test_cfg.get('flip', False))
        self.size = None if test_cfg.get('size') is None else tuple(test_cfg['size'])
        self.fusion = test_cfg.get('fusion', 'mean')
        if self.fusion not in ('mean', 'sum'):
            raise ConfigError(f'test_cfg.fusion={self.fusion!r}', expected="'mean' or 'sum'")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ConfigError(f'test_cfg.size={self.size}', expected='(height, width) in pixels, or None')
        if not self.scales or not all(isinstance(scale, (int, float)) and scale > 0 for scale in self.scales):
            raise ConfigError(f'test_cfg.scales={self.scales}', expected='positive numbers',
                              fix='set scales=(0.5, 0.75, 1, 1.5) in test_cfg')
        if test_cfg.get('mode', 'whole') != 'whole':
            raise ConfigError(f"test_cfg.mode={test_cfg['mode']!r} of MultiScaleSegmentor", expected="mode='whole'",
                              fix="set mode='whole', or use mmseg's EncoderDecoder for sliding windows")

    def whole_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Average (or add) logits over scales and flips.

        Args:
            inputs: ``(N, 3, H, W)``, normalised.
            batch_img_metas: The images' metainfo.

        Returns:
            ``(N, C, H, W)`` logits at the input's size.
        """
        size = inputs.shape[2:]
        # Decode heads bring their logits to img_shape: here the same for every scale.
        metas = [{**meta, 'img_shape': size} for meta in batch_img_metas]
        total = inputs.new_zeros(())
        if self.size is not None and self.size != tuple(size):   # as cv2's linear filter, which mmcv resizes with
            inputs = F.interpolate(inputs, size=self.size, mode='bilinear', align_corners=False)
        for scale in self.scales:
            scaled_size = tuple(max(1, int(length * scale)) for length in inputs.shape[2:])
            scaled = inputs if scaled_size == tuple(inputs.shape[2:]) else F.interpolate(
                inputs, size=scaled_size, mode='bilinear', align_corners=True)
            total = total + self.encode_decode(scaled, metas)
            if self.flip:
                total = total + self.encode_decode(scaled.flip(-1), metas).flip(-1)
        return total / (len(self.scales) * (1 + self.flip)) if self.fusion == 'mean' else total

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """Predict label maps at the images' original sizes.

        Args:
            inputs: ``(N, 3, H, W)``, normalised.
            data_samples: With the images' metainfo; without, the input's size counts as the original one.

        Returns:
            Data samples with ``seg_logits`` and ``pred_sem_seg``.
        """
        samples = self.predict_scores(inputs, data_samples)
        if self._refiner is not None:
            for sample, image in zip(samples, self._original_images(inputs, data_samples), strict=True):
                probabilities = sample.seg_logits.data.detach().float().softmax(dim=0).cpu().numpy()
                labels = self._refiner(image, probabilities).argmax(axis=0)[None]
                sample.pred_sem_seg.data = torch.from_numpy(labels).to(inputs.device)
        return samples

    def predict_scores(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """:meth:`predict` without the CRF, for callers that refine elsewhere, as the labelling run's workers do."""
        return super().predict(inputs, data_samples)

    @cached_property
    def _refiner(self) -> Any:
        """Built when first used: refiners stand to the right of models, which must not import them."""
        config = (self.test_cfg or {}).get('crf')
        return None if config is None else TASK_UTILS.build(config)

    def _original_images(self, inputs: Tensor, data_samples: list[SegDataSample] | None) -> list:
        """``(H, W, 3)`` uint8 RGB images at their original sizes, recovered from the network's input."""
        images = self.true_images(inputs)
        if data_samples is not None:
            # MMSegmentation's own cropping, unflipping and resizing, so that image and scores cannot part.
            copies = [SegDataSample(metainfo=sample.metainfo) for sample in data_samples]
            own_size = [copy.seg_logits.data for copy in self.postprocess_result(images, copies)]
        else:
            own_size = list(images)
        return [image.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().cpu().numpy() for image in own_size]

    def true_images(self, inputs: Tensor) -> Tensor:
        """Undo the data preprocessor: ``(N, 3, H, W)`` normalised -> the same in float32, RGB from 0 to 255."""
        preprocessor = self.data_preprocessor
        images = inputs.float()
        if getattr(preprocessor, '_enable_normalize', False):
            images = images * preprocessor.std + preprocessor.mean
        return images if gives_rgb(preprocessor) else images.flip(1)

"""Out-of-distribution images against spurious correlation (W-OoD, Lee et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from mmseg.structures import SegDataSample
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads.base import full_precision, select_map, stack_tags
from wsss_mm.models.objectives.attention import check_option
from wsss_mm.models.objectives.base import NORMS, Objective, extra_pass, pass_state
from wsss_mm.models.objectives.ood_centres import SELECTIONS, ood_metric_loss
from wsss_mm.registry import MODELS

if TYPE_CHECKING:
    from wsss_mm.models.classifiers import CAMClassifier

METRIC_TERMS = ('both', 'in', 'ood')


def climb(images: Tensor, gradient: Tensor, step: float, dims: Sequence[int] | None = None) -> Tensor:
    """One anti-adversarial step, ``x + step·g / max|g|``, kept within the smallest and largest value.

    Args:
        images, gradient: ``(…, 3, H, W)``, normalised.
        step: The largest change of a value, in normalised intensities.
        dims: Over which the extremes are taken; None for the whole batch, as W-OoD's code does. AdvCAM's has those of
            an image and its mirror image.
    """
    dims = tuple(range(images.dim()) if dims is None else dims)
    climbed = images + step * gradient / (gradient.abs().amax(dims, keepdim=True) + 1e-12)
    return climbed.clamp(images.amin(dims, keepdim=True), images.amax(dims, keepdim=True))


def ood_classification_loss(logits: Tensor, ignore_classes: Sequence[int] = ()) -> Tensor:
    """Cross-entropy of OoD images against "none of the classes" (second term of Eq. 4.3), mean of classes and images.

    Args:
        logits: ``(N, C)``.
        ignore_classes: Images whose highest logit is of one of these class indices give 0, but still count in the
            mean. The published code has VOC's bottle (4).
    """
    each = F.multilabel_soft_margin_loss(logits, torch.zeros_like(logits), reduction='none')
    if ignore_classes:
        best = logits.detach().argmax(1)
        each = each.masked_fill(torch.isin(best, torch.as_tensor(list(ignore_classes), device=best.device)), 0)
    return each.mean()


@MODELS.register_module()
class OutOfDistribution(Objective):
    """Pushes images' features away from those of OoD images, and lets the classifier see nothing in these.

    Continues the training of a classifier. :class:`~wsss_mm.engine.OoDCentresHook` computes, before the first
    iteration and with that classifier, the centres of the classes and of K clusters of OoD images; they are saved in
    the checkpoint and never move. :class:`~wsss_mm.datasets.WithOoDImages` puts an OoD image into every sample. The
    feature of an image is the mean of the head's feature map, whatever the head's own pooling.

    The defaults are those of the published code. The paper: ``selection='image', metric_weight=.007 * clusters,
    ood_weight=1., climb_step=0., ignore_classes=()``.

    A step costs one further forward and backward of the OoD images, and where they climb one more forward and a
    backward to the images alone, without weight gradients. With the published ResNet-50, whose first two stages are
    frozen, and a forward of one image as 1, an image and its OoD image take 6.8, of which 2.4 are the classifier's
    own step; with gradients of all weights throughout, as published, 9.0.

    Args:
        num_classes: Foreground classes C.
        in_channels: Channels D of the head's map.
        clusters: K; fewer OoD images than that leave the rest empty.
        ratio: τ / 100, share of the closest clusters.
        metric_weight: λ, factor of L_d, which is divided by K here. 0: no centres are needed.
        ood_weight: Factor of the OoD images' classification. 0: no OoD images are needed in the samples.
        climb_step: OoD images climb their highest logit by this much first, in normalised intensities; 0 leaves them
            as they are.
        ignore_classes: Class indices, see :func:`ood_classification_loss`; ``[4]`` on VOC is the published code's.
        selection: ``'batch'`` or ``'image'``, see :func:`~wsss_mm.models.objectives.ood_centres.closest`.
        metric_terms: ``'both'``; ``'in'``: only towards the classes; ``'ood'``: only away from OoD (Table 4.5).
        norm: Batch norm of the OoD images' passes, see :func:`~wsss_mm.models.objectives.base.pass_state`. Concerns
            networks whose statistics are being trained. The published one keeps its own, and so should others
            (``norm_eval`` of the backbone): what a network learns of batches of OoD images alone, normalised by
            themselves (``'batch'``), hardly reaches its use; under ``'eval'`` it learns that running statistics mean
            "nothing", which are those of its use; ``'train'`` lets them learn from OoD images.
        init_cfg: As in mmengine.

    Raises:
        ConfigError: an unknown choice, numbers out of range, or both weights 0.
    """

    centres_in: Tensor
    centres_ood: Tensor

    def __init__(self, num_classes: int, in_channels: int, clusters: int = 50, ratio: float = .2,
                 metric_weight: float = .007, ood_weight: float = .25, climb_step: float = .07,
                 ignore_classes: Sequence[int] = (), selection: str = 'batch', metric_terms: str = 'both',
                 norm: str = 'batch', init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        for name, value, known in (('selection', selection, SELECTIONS), ('metric_terms', metric_terms, METRIC_TERMS),
                                   ('norm', norm, NORMS)):
            check_option(f'OutOfDistribution: {name}', value, known)
        if clusters < 1 or not 0 < ratio <= 1 or climb_step < 0:
            raise ConfigError(f'OutOfDistribution: clusters={clusters}, ratio={ratio}, climb_step={climb_step}',
                              expected='1 or more; above 0, up to 1; 0 or more')
        if not set(ignore_classes) <= set(range(num_classes)):
            raise ConfigError(f'OutOfDistribution: ignore_classes={list(ignore_classes)}',
                              expected=f'class indices 0 … {num_classes - 1}')
        if not metric_weight and not ood_weight:
            raise ConfigError('OutOfDistribution: metric_weight and ood_weight are both 0', fix='remove the objective')
        self.ratio, self.metric_weight, self.ood_weight, self.climb_step = ratio, metric_weight, ood_weight, climb_step
        self.ignore_classes, self.selection, self.metric_terms = tuple(ignore_classes), selection, metric_terms
        self.norm, self._checked = norm, False
        self.register_buffer('centres_in', torch.full((num_classes, in_channels), torch.nan))
        self.register_buffer('centres_ood', torch.full((clusters, in_channels), torch.nan))

    @property
    def ready(self) -> bool:
        """Whether the centres have been computed, here or by the training that a checkpoint is from."""
        return not bool(self.centres_in.isnan().any() | self.centres_ood.isnan().any())

    def set_centres(self, centres_in: Tensor, centres_ood: Tensor) -> None:
        """Set both centres.

        Args:
            centres_in: ``(C, D)``.
            centres_ood: ``(K, D)``.

        Raises:
            ConfigError: other shapes, or not finite.
        """
        for name, own, value in (('centres_in', self.centres_in, centres_in),
                                 ('centres_ood', self.centres_ood, centres_ood)):
            if own.shape != value.shape or not value.isfinite().all():
                raise ConfigError(f'OutOfDistribution: {name} of shape {tuple(value.shape)}',
                                  expected=f'{tuple(own.shape)}, finite numbers',
                                  fix='set num_classes and in_channels to those of the head')
            own.copy_(value)

    def features(self, classifier: CAMClassifier, feats: Sequence[Tensor]) -> Tensor:
        """The classifier's maps -> features z ``(N, D)``, spatial means of the one that the head works on.

        Raises:
            ConfigError: a map of another width.
        """
        owner = type(self).__name__
        return full_precision(select_map(feats, classifier.head.in_index, self.centres_in.shape[1], owner)).mean((2, 3))

    def loss(self, classifier: CAMClassifier, inputs: Tensor, feats: Sequence[Tensor],
             data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """``loss_ood_metric``, ``loss_ood_cls``, each if it has a weight; for the log ``feature_norm``.

        Raises:
            ConfigError: no centres, no OoD images, or no tags.
        """
        features = self.features(classifier, feats)
        losses = dict(feature_norm=features.detach().norm(dim=1).mean())
        if self.metric_weight:
            self._checked = self._checked or self.ready   # once, since the host waits for the device
            if not self._checked:
                raise ConfigError('OutOfDistribution: the centres of classes and OoD images have not been computed',
                                  fix="custom_hooks = [..., dict(type='wsss_mm.OoDCentresHook')]")
            near, far = ood_metric_loss(features, stack_tags(data_samples, features), self.centres_in,
                                        self.centres_ood, self.ratio, self.selection)
            loss = near if self.metric_terms == 'in' else -far if self.metric_terms == 'ood' else near - far
            losses['loss_ood_metric'] = self.metric_weight * loss
        if self.ood_weight:
            images = self.climbed(classifier, self.ood_images(classifier, data_samples))
            logits = full_precision(classifier.head(extra_pass(classifier, images, norm=self.norm)))
            losses['loss_ood_cls'] = self.ood_weight * ood_classification_loss(logits, self.ignore_classes)
        return losses

    def ood_images(self, classifier: CAMClassifier, data_samples: Sequence[SegDataSample]) -> Tensor:
        """The samples' OoD images ``(N, 3, h, w)`` as the classifier's own data preprocessor makes them.

        Raises:
            ConfigError: a sample without one, or images of different sizes.
        """
        for sample in data_samples:
            if 'ood_image' not in sample:
                raise ConfigError('OutOfDistribution: a sample has no `ood_image`', fix='wrap the training dataset: '
                                  "dict(type='wsss_mm.WithOoDImages', dataset=…, ood=…), or set ood_weight=0")
        images = [sample.ood_image for sample in data_samples]
        if len({image.shape for image in images}) > 1:
            raise ConfigError(f'OoD images of the sizes {sorted({tuple(image.shape[1:]) for image in images})}',
                              expected='one size', fix='crop them in the pipeline of `ood`')
        data = dict(inputs=images, data_samples=[BaseDataElement() for _ in images])
        return classifier.data_preprocessor(data, False)['inputs']

    def climbed(self, classifier: CAMClassifier, images: Tensor) -> Tensor:
        """Images ``(N, 3, h, w)`` after one step up their highest logits; a constant."""
        if not self.climb_step:
            return images
        # a pass for the gradient of images alone leaves no trace in the running statistics
        norm = 'batch' if self.norm == 'train' else self.norm
        with torch.enable_grad(), pass_state(classifier, norm, frozen=True):
            images = images.detach().requires_grad_()
            logits = full_precision(classifier.head(classifier.extract_feat(images)))
            (gradient,) = torch.autograd.grad(logits.max(1).values.sum(), images)
        return climb(images.detach(), gradient, self.climb_step)

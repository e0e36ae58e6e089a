"""The interface of objectives, and running a classifier once more within its own training step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmengine.logging import MessageHub
from mmengine.model import BaseModule
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from wsss_mm.errors import ConfigError

if TYPE_CHECKING:
    from wsss_mm.models.classifiers import CAMClassifier

NORMS = ('eval', 'batch', 'train')
_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')


class Objective(BaseModule):
    """A training signal beside the pooling head's own loss.

    A further branch of class maps, as that of visual words, is offered as ``class_maps(feats) -> (N, C, h, w)``
    logits, which localizers can fuse with those of the head.

    Args:
        begin: Iterations of training before it starts.
        init_cfg: As in mmengine.
    """

    def __init__(self, begin: int = 0, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        self.begin = begin

    def active(self) -> bool:
        """Whether training has come to ``begin``; always where no training loop counts the iterations."""
        iteration = MessageHub.get_current_instance().get_info('iter')
        return iteration is None or iteration >= self.begin

    @abstractmethod
    def loss(self, classifier: CAMClassifier, inputs: Tensor, feats: Sequence[Tensor],
             data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """The objective's terms.

        Args:
            classifier: The network being trained, which may be run again by :func:`extra_pass`.
            inputs: ``(N, 3, H, W)``, normalised.
            feats: The classifier's maps of ``inputs``.
            data_samples: One per image.

        Returns:
            Values under keys containing ``loss`` are added up, others logged; nothing before ``begin``.
        """


@contextmanager
def pass_state(module: nn.Module, norm: str = 'eval', frozen: bool = False) -> Iterator[None]:
    """The state of one further pass through ``module``; it is put back on leaving, also by an error.

    Args:
        module: A network, or a part of one.
        norm: Concerns normalisation layers with running statistics that are being trained; frozen ones, as those of
            the published networks, stay as they are. ``'eval'``: use the running statistics and leave them as they
            are. ``'batch'``: use the pass's own statistics, without a trace in the running ones. ``'train'``: use
            its own, and let the running ones learn from them. Running statistics must not learn from masked images;
            but between running and own ones a network can tell the two passes apart, and then be one thing in
            training and another in use. SyncBN needs ``'eval'``: it would wait for ranks with fewer masked images.
        frozen: No gradient reaches the module's parameters, only its inputs.

    Raises:
        ConfigError: another ``norm``.
    """
    if norm not in NORMS:
        raise ConfigError(f'norm={norm!r}', expected=' or '.join(map(repr, NORMS)))
    # Instances of mmcv's own SyncBN are no _BatchNorm; the statistics are what they all share.
    norms: list[tuple[nn.Module, dict[str, Any]]] = [
        (m, {name: getattr(m, name) for name in _STATISTICS}) for m in module.modules()
        if norm != 'train' and m.training and isinstance(getattr(m, 'running_mean', None), Tensor)]
    weights = [p for p in module.parameters() if frozen and p.requires_grad]
    try:
        for layer, statistics in norms:
            layer.training = norm == 'batch'   # which moves the copies
            # Backward reads the statistics again, and torch does not notice that a later pass in 'train' moved them.
            for name, value in statistics.items():
                setattr(layer, name, value.clone())
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for layer, statistics in norms:
            layer.training = True
            for name, value in statistics.items():
                setattr(layer, name, value)
        for weight in weights:
            weight.requires_grad_(True)


def extra_pass(classifier: CAMClassifier, inputs: Tensor, norm: str = 'eval', frozen: bool = False
               ) -> tuple[Tensor, ...]:
    """The classifier's maps of changed images.

    Blocks that a backbone checkpoints (mmseg's ``with_cp``) run again in the backward pass, when ``norm`` and
    ``frozen`` no longer hold; wrap the call itself in ``torch.utils.checkpoint`` instead.

    Args:
        classifier: The network being trained.
        inputs: ``(M, 3, H, W)``, normalised.
        norm, frozen: See :func:`pass_state`.

    Returns:
        As ``classifier.extract_feat(inputs)``.

    Raises:
        ConfigError: another ``norm``.
    """
    with pass_state(classifier, norm, frozen):
        return classifier.extract_feat(inputs)

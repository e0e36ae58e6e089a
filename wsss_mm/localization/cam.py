"""Class activation maps (Zhou et al., CVPR 2016)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization.localizer import Localizer, Views
from wsss_mm.registry import TASK_UTILS


@TASK_UTILS.register_module()
class CAM(Localizer):
    """The head's class maps, its classification layer applied at every position.

    Args:
        fuse: Whether to fuse them with the class maps of the model's objectives, such as the visual words of VWE
            (IJCAI 2021, eq. 10-12). ``'none'``: the head's alone, as all published inference code; ``'max'``: the
            larger of the maps as they are, which needs maps of one scale (``hist='mean'`` for visual words: those of
            a summed histogram are h·w times smaller than logits); ``'max_norm'``: the larger of the maps, each
            divided by its own maximum first.

    Raises:
        ConfigError: another ``fuse``.
    """

    def __init__(self, fuse: str = 'none') -> None:
        if fuse not in ('none', 'max', 'max_norm'):
            raise ConfigError(f'CAM: fuse={fuse!r}', expected="'none', 'max' or 'max_norm'")
        self.fuse = fuse

    def maps(self, model: Any, inputs: Tensor, tags: Tensor, views: Views | None = None) -> Tensor:
        """See :meth:`Localizer.maps`.

        Raises:
            ConfigError: fusing where no objective of the model has class maps, or maps of another size.
        """
        feats = model.extract_feat(inputs)
        branches = [model.head.class_maps(feats)[tags]]
        if self.fuse != 'none':
            sources = [o for o in model.objectives if hasattr(o, 'class_maps')]
            if not sources:
                raise ConfigError(f'CAM: fuse={self.fuse!r}, but no objective of the model has class maps',
                                  expected='an objective with a branch of class maps, such as visual words',
                                  fix="set fuse='none', or add the objective to the model")
            branches += [source.class_maps(feats)[tags] for source in sources]
        return fuse_maps(branches, normalize=self.fuse == 'max_norm')


def fuse_maps(branches: list[Tensor], normalize: bool = False) -> Tensor:
    """The largest of several maps at every position (VWE, eq. 12).

    Args:
        branches: One or more ``(P, h, w)`` raw maps.
        normalize: Divide each map by its maximum first; a map without a positive value stays as it is, and so never
            beats one that has some.

    Returns:
        ``(P, h, w)``.

    Raises:
        ConfigError: maps of different shapes.
    """
    if len(shapes := {tuple(branch.shape) for branch in branches}) > 1:
        raise ConfigError(f'class maps of the shapes {sorted(shapes)} cannot be fused',
                          expected='branches that work on the same map', fix='give them the same in_index')
    if normalize:
        highest = [branch.amax((1, 2), keepdim=True) for branch in branches]
        branches = [torch.where(top > 0, branch / top, branch) for branch, top in zip(branches, highest, strict=True)]
    return branches[0] if len(branches) == 1 else torch.stack(branches).amax(0)

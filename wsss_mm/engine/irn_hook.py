"""After a training of IRNet: the mean displacement, which is taken off."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.models.affinity import IRNet
from wsss_mm.progress import Progress
from wsss_mm.registry import DATASETS, HOOKS


@HOOKS.register_module()
class DisplacementMeanHook(Hook):
    """Sets ``displacement_mean`` of an :class:`~wsss_mm.models.affinity.IRNet` when its training ends.

    A field that pairs of pixels have taught is free up to a constant; the mean over the data set is taken for it.
    Images without augmentation, cut to their upper left corner, or padded with zeros after the normalisation, as
    published. All images count; the published code drops the last batch, and fails on fewer than 32.

    Sums are of float64 and in one order of batches, so ranks and workers change nothing but perhaps the last bit of
    float64. One forward of each image. Put it beside ``StageHook``, which runs later and writes ``final.pth``.

    Args:
        dataset: Config of the images, with a pipeline that loads and packs them.
        crop_size: ``(height, width)``, or a side; 512 as published.
        batch_size: Images at a time.
        num_workers: Processes that load images.

    Raises:
        ConfigError: the model is no IRNet.
        DataError: no image.
    """

    priority = 'NORMAL'

    def __init__(self, dataset: dict, crop_size: int | tuple[int, int] = 512, batch_size: int = 32,
                 num_workers: int = 0) -> None:
        self.dataset, self.batch_size, self.num_workers = dataset, batch_size, num_workers
        height, width = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
        self.crop_size = (int(height), int(width))

    def after_train(self, runner: Runner) -> None:
        """Compute and set the mean."""
        model = cast(Any, runner.model.module if is_model_wrapper(runner.model) else runner.model)
        if not isinstance(model, IRNet):
            raise ConfigError(f'DisplacementMeanHook: the model is a {type(model).__name__}', expected='an IRNet',
                              fix='remove the hook')
        training = model.training
        model.eval()
        try:
            model.displacement_mean.copy_(self.mean(model, DATASETS.build(self.dataset)))
        finally:
            model.train(training)

    @torch.no_grad()
    def mean(self, model: IRNet, images: Any) -> Tensor:
        """The mean displacement, ``(2,)`` float64 dy, dx.

        Args:
            model: In eval mode.
            images: The data set.
        """
        if not len(images):
            raise DataError('DisplacementMeanHook: the data set has no image')
        rank, world = get_dist_info()
        mine = range(rank, len(images), world)
        loader = DataLoader(cast(Any, Subset(images, mine)), self.batch_size, num_workers=self.num_workers,
                            collate_fn=pseudo_collate, generator=torch.Generator())
        progress = Progress(len(loader), 'mean displacement') if rank == 0 else None
        total = torch.zeros(3, dtype=torch.float64)
        for data in loader:
            inputs = torch.cat([self._cropped(model, *one) for one in zip(data['inputs'], data['data_samples'],
                                                                         strict=True)])
            found = model.raw_displacement(inputs).double().mean((2, 3))
            total[:2] += found.sum(0).cpu()
            total[2] += len(found)
            if progress is not None:
                progress.step()
        all_reduce(total)
        if progress is not None:
            progress.finish()
        return total[:2] / total[2]

    def _cropped(self, model: Any, image: Tensor, sample: Any) -> Tensor:
        inputs = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]), False)['inputs']
        height, width = self.crop_size
        return F.pad(inputs[..., :height, :width], (0, max(0, width - inputs.shape[3]),
                                                    0, max(0, height - inputs.shape[2])))

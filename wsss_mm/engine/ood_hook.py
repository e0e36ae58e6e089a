"""Before a W-OoD training: the centres of the classes and of clusters of OoD images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.dist import all_reduce, broadcast, get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wsss_mm.datasets import WithOoDImages
from wsss_mm.errors import ConfigError
from wsss_mm.models.heads import stack_tags
from wsss_mm.models.objectives import OutOfDistribution
from wsss_mm.models.objectives.ood_centres import kmeans
from wsss_mm.progress import Progress
from wsss_mm.pseudo_labels.run import size_batches
from wsss_mm.registry import HOOKS

_PIPELINE: list[dict] = [
    dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.LoadWeakLabels', boxes=False),
    dict(type='wsss_mm.PackWeakInputs')]
_OOD_PIPELINE: list[dict] = [
    dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.RandomLongSide', low=500, high=500),
    dict(type='wsss_mm.PackWeakInputs')]


@HOOKS.register_module()
class OoDCentresHook(Hook):
    """Computes the centres of an :class:`~wsss_mm.models.objectives.OutOfDistribution` before the first iteration.

    Images and OoD images are those of the training's :class:`~wsss_mm.datasets.WithOoDImages`, so that they are
    named once; without augmentation, with the network in eval mode and the weights that the training starts from. A
    class's centre is the mean feature of all images that have it; OoD images are clustered by
    :func:`~wsss_mm.models.objectives.ood_centres.kmeans`.

    One pass over each image. Of the images only a sum per class is kept, in float64; of the OoD images all features,
    42 MB for 5,190 of a ResNet-50. Ranks share the images, and end with the same centres. A resumed training has
    them in its checkpoint.

    Args:
        pipeline: For images; by default the image at its own size, with its tags.
        ood_pipeline: For OoD images; by default resized to a long side of 500, as published.
        batch_size: Largest batch, of images of one size; the centres depend on it in their last bits.
        num_workers: Processes that load images.

    Raises:
        ConfigError: the model has no such objective, or the training set is not a ``WithOoDImages``.
    """

    def __init__(self, pipeline: Sequence[dict] | None = None, ood_pipeline: Sequence[dict] | None = None,
                 batch_size: int = 1, num_workers: int = 0) -> None:
        self.pipeline = list(_PIPELINE if pipeline is None else pipeline)
        self.ood_pipeline = list(_OOD_PIPELINE if ood_pipeline is None else ood_pipeline)
        self.batch_size, self.num_workers = batch_size, num_workers

    def before_train(self, runner: Runner) -> None:
        """Compute the centres, unless the training is resumed and has them."""
        model = cast(Any, runner.model.module if is_model_wrapper(runner.model) else runner.model)
        objective = next((o for o in getattr(model, 'objectives', ()) if isinstance(o, OutOfDistribution)), None)
        if objective is None:
            raise ConfigError('OoDCentresHook: the model has no OutOfDistribution objective',
                              fix='add the objective to model.objectives, or remove the hook')
        if runner.iter > 0 and objective.ready:
            return
        data = _with_ood_images(runner.train_dataloader.dataset)
        training = model.training
        model.eval()
        try:
            objective.set_centres(*self.centres(model, objective, data))
        finally:
            model.train(training)
        for buffer in (objective.centres_in, objective.centres_ood):
            broadcast(buffer)

    @torch.no_grad()
    def centres(self, model: Any, objective: OutOfDistribution, data: WithOoDImages) -> tuple[Tensor, Tensor]:
        """Centres of the classes ``(C, D)`` and of the clusters ``(K, D)``.

        Args:
            model: The classifier in eval mode.
            objective: Its objective.
            data: The training set.
        """
        rank, world = get_dist_info()
        images, ood = _Plain(data, self.pipeline), _Plain(data.ood, self.ood_pipeline)
        parts = [_batches(part, self.batch_size)[rank::world] for part in (images, ood)]
        total = sum(len(batch) for part in parts for batch in part)
        progress = Progress(total, 'centres of classes and OoD images') if rank == 0 else None
        sums = torch.zeros(objective.centres_in.shape, dtype=torch.float64)
        counts = torch.zeros(len(sums), dtype=torch.float64)
        for _, features, samples in self._features(model, objective, images, parts[0], progress):
            tags = stack_tags(samples, sums)
            if tags.shape[1] != len(sums):
                raise ConfigError(f'OutOfDistribution: num_classes={len(sums)}, but the images have tags of '
                                  f'{tags.shape[1]}', fix=f'set num_classes={tags.shape[1]}')
            sums += tags.T @ features.double()
            counts += tags.sum(0)
        found = torch.zeros(len(ood), sums.shape[1])
        for rows, features, _ in self._features(model, objective, ood, parts[1], progress):
            found[rows] = features
        for part in (sums, counts, found):
            all_reduce(part)
        if progress is not None:
            progress.finish()
        if not counts.all():
            print_log(f'OoDCentresHook: no image has the class indices {(counts == 0).nonzero().flatten().tolist()}; '
                      'they have no centre', logger='current')
        return sums / counts.clamp_min(1)[:, None], kmeans(found, len(objective.centres_ood))

    def _features(self, model: Any, objective: OutOfDistribution, images: _Plain, batches: list[list[int]],
                  progress: Progress | None) -> Iterator[tuple[list[int], Tensor, list]]:
        """Numbers, features ``(n, D)`` on the CPU and samples of each batch."""
        loader = DataLoader(images, batch_sampler=batches, num_workers=self.num_workers, collate_fn=pseudo_collate,
                            generator=torch.Generator())   # the training's random numbers stay as they are
        for rows, data in zip(batches, loader, strict=True):
            inputs = model.data_preprocessor(data, False)['inputs']
            yield rows, objective.features(model, model.extract_feat(inputs)).cpu(), data['data_samples']
            if progress is not None:
                for _ in rows:
                    progress.step()


class _Plain(Dataset):
    """A dataset's images through another pipeline."""

    def __init__(self, dataset: Any, pipeline: list[dict]) -> None:
        self.dataset, self.pipeline = dataset, Compose(pipeline)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> Any:
        return self.pipeline(self.dataset.get_data_info(idx))


def _batches(images: _Plain, batch_size: int) -> list[list[int]]:
    paths = [images.dataset.get_data_info(i).get('img_path', '') for i in range(len(images))]
    return size_batches(paths, batch_size)


def _with_ood_images(dataset: Any) -> WithOoDImages:
    """The ``WithOoDImages`` in a stack of wrappers."""
    inner = dataset
    while not isinstance(inner, WithOoDImages):
        inner = getattr(inner, 'dataset', None)
        if inner is None:
            raise ConfigError(f'OoDCentresHook: the training set is a {type(dataset).__name__}',
                              expected="train_dataloader.dataset=dict(type='wsss_mm.WithOoDImages', dataset=…, ood=…)")
    return inner

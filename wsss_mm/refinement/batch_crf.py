"""The dense CRF within a training step: small images, a whole batch, no gradient."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.errors import ConfigError, DataError, WSSSError
from wsss_mm.processes import WorkerPool
from wsss_mm.refinement.bilateral_filter import CHUNK, bilateral_features, check_batch, pair_weights, positions_of
from wsss_mm.refinement.dense_crf import mean_field, normalised_kernel
from wsss_mm.registry import TASK_UTILS


@TASK_UTILS.register_module()
class BatchCRF:
    """Mean-field posteriors of a batch at the resolution of a network's logits, for SEC and DSRG.

    The model is that of :class:`DenseCRF`: Potts, a bilateral and a Gaussian kernel, each symmetrically normalised,
    ``Q <- softmax(-U + sum_m w_m n_m K_m n_m Q)`` from ``softmax(-U)``, a pixel's message to itself included. The
    defaults are SEC's in training, which DSRG shares: those for whole images, with positions divided by 12 and
    colours as they are (321 pixels are shrunk to 41, which is by 7.8, but 12 is what the code has). The Gaussian
    kernel is then so narrow that it is hardly more than the pixel's message to itself.

    ``kernel='lattice'`` is the published one, the permutohedral approximation of both kernels, on the CPU, image by
    image. ``'exact'`` multiplies by the kernels themselves, on the device of the unary, the batch at once. The two
    do **not** agree: on 41 x 41 with these widths some 3 % of the pixels get another class
    (``tests/test_refinement/test_batch_crf.py``), so results should say which was used.

    Cost for n positions and K classes, per image: the lattice's filters are linear in n, with a build of some
    milliseconds; exact needs a matrix of ``n^2`` entries, built once (11 MB of float32 at 41 x 41) as both kernels
    add up to one, and then one product of ``n^2 K`` a step, which is the floor for exact sums of any image. At most
    512 MiB of matrices are held at once, however large the batch, and twice that while they are made.

    Args:
        bilateral_weight, bilateral_xy, bilateral_rgb, gaussian_weight, gaussian_xy: As in :class:`DenseCRF`, widths
            in positions of the logits and grey levels.
        iterations: Mean-field updates.
        kernel: ``'lattice'`` or ``'exact'``.
        classes: ``'all'``, as published, or ``'present'``: the image's own classes alone, others get 0. It costs the
            share of the classes that are present, and takes away what absent classes would keep.
        num_workers: Processes for the lattice, of one thread each; 0 computes in the caller's. They start with the
            first batch, and end with their parent.

    Raises:
        ConfigError: an unknown kernel or choice of classes, a width that is not positive, a negative count, workers
            for ``'exact'``.
    """

    def __init__(self, bilateral_weight: float = 10., bilateral_xy: float = 80 / 12, bilateral_rgb: float = 13.,
                 gaussian_weight: float = 3., gaussian_xy: float = 3 / 12, iterations: int = 10,
                 kernel: str = 'lattice', classes: str = 'all', num_workers: int = 0) -> None:
        for name, width in (('bilateral_xy', bilateral_xy), ('bilateral_rgb', bilateral_rgb),
                            ('gaussian_xy', gaussian_xy)):
            if not width > 0:
                raise ConfigError(f'BatchCRF {name}={width}', expected='a standard deviation above 0')
        for name, count in (('iterations', iterations), ('num_workers', num_workers)):
            if count < 0:
                raise ConfigError(f'BatchCRF {name}={count}', expected='0 or more')
        if kernel not in ('lattice', 'exact'):
            raise ConfigError(f'BatchCRF kernel={kernel!r}', expected="'lattice' or 'exact'")
        if classes not in ('all', 'present'):
            raise ConfigError(f'BatchCRF classes={classes!r}', expected="'all' or 'present'")
        if kernel == 'exact' and num_workers:
            raise ConfigError(f"BatchCRF num_workers={num_workers} with kernel='exact'", expected='0',
                              fix="remove num_workers, or set kernel='lattice'")
        self.weights = bilateral_weight, gaussian_weight
        self.bilateral_xy, self.bilateral_rgb, self.gaussian_xy = bilateral_xy, bilateral_rgb, gaussian_xy
        self.iterations, self.kernel, self.classes, self.num_workers = iterations, kernel, classes, num_workers
        self._pool: WorkerPool | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor, unary: Tensor, tags: Tensor | None = None, valid: Tensor | None = None
                 ) -> Tensor:
        """Posteriors of a batch; an image's own does not depend on the others.

        Args:
            images: ``(N, h, w, 3)`` uint8 RGB.
            unary: ``(N, C, h, w)`` energies, such as minus the logits; half precision is computed as float32.
            tags: ``(N, C)`` bool, the present classes; for ``classes='present'``.
            valid: ``(N, h, w)`` bool; positions outside send and get no messages.

        Returns:
            ``(N, C, h, w)`` on the unary's device, summing to 1 over C; ``softmax(-unary)`` outside ``valid``; 0 for
            absent classes with ``'present'``. float64 stays float64 with ``'exact'``, all else is float32.

        Raises:
            DataError: shapes that do not fit, images that are not uint8, energies that are not finite.
            ConfigError: ``'exact'`` with more than 10,000 positions, or ``'present'`` without tags.
        """
        self._check(images, unary, tags)
        shape, device = unary.shape, unary.device
        energy = unary.detach().flatten(2)
        energy = energy if energy.dtype == torch.float64 and self.kernel == 'exact' else energy.float()
        if not energy.isfinite().all():
            raise DataError('BatchCRF got unary energies of NaN or infinity', expected='finite numbers',
                            fix='lower the learning rate, if training diverged')
        present = None
        if self.classes == 'present' and tags is not None:
            present = tags.bool().to(device)
            if not present.any(1).all():
                raise DataError("BatchCRF classes='present' with an image that has none", expected='the background')
            energy = energy.masked_fill(~present[:, :, None], torch.inf)
        inside = None if valid is None or bool(valid.all()) else valid.flatten(1).to(device)
        with torch.autocast(device.type, enabled=False):
            infer = self._exact if self.kernel == 'exact' else self._lattice
            posterior = infer(images, energy, present, inside)
        return posterior.view(shape)

    def _check(self, images: Tensor, unary: Tensor, tags: Tensor | None) -> None:
        check_batch('BatchCRF', self.kernel, images, unary, 'unary energies')
        if self.classes == 'present' and tags is None:
            raise ConfigError("BatchCRF classes='present' without tags", fix="set classes='all'")

    def _features(self, images: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """``(…, h w, 5)`` and ``(h w, 2)``: positions and colours, positions alone, in standard deviations."""
        bilateral = bilateral_features(images, self.bilateral_xy, self.bilateral_rgb, dtype)
        return bilateral, positions_of(images, dtype) / self.gaussian_xy

    def _exact(self, images: Tensor, energy: Tensor, present: Tensor | None, inside: Tensor | None) -> Tensor:
        positions = energy.shape[2]
        size = max(1, CHUNK // positions**2)
        bilateral, gaussian = self._features(images.to(energy.device), energy.dtype)
        chosen = None
        if present is not None:
            # Every image's classes first; as many columns as the fullest image has.
            chosen = present.byte().argsort(dim=1, descending=True, stable=True)[:, :int(present.sum(1).max())]
        posteriors = []
        for rows in torch.arange(len(energy)).split(size):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            mask = None if inside is None else inside[part].to(energy.dtype)
            messages = _normalised(bilateral[part], mask).mul_(self.weights[0])
            messages += _normalised(gaussian[None], mask).mul_(self.weights[1])
            unary = energy[part]
            if chosen is not None:
                index = chosen[part, :, None].expand(-1, -1, positions)
                unary = unary.gather(1, index)
            found = (-unary).softmax(1)
            for _ in range(self.iterations):
                found = torch.baddbmm(-unary, found, messages).softmax(1)
            posteriors.append(found if chosen is None else torch.zeros_like(energy[part]).scatter_(1, index, found))
        return torch.cat(posteriors)

    def _lattice(self, images: Tensor, energy: Tensor, present: Tensor | None, inside: Tensor | None) -> Tensor:
        keep = None if present is None else present.cpu().numpy()
        mask = None if inside is None else inside.cpu().numpy()
        pixels, unary = images.cpu().numpy(), energy.cpu().numpy()
        jobs = [(pixels[i], unary[i] if keep is None else unary[i][keep[i]], None if mask is None else mask[i])
                for i in range(len(unary))]
        result = np.zeros_like(unary)
        for i, posterior in enumerate(self._run(jobs)):
            result[i, slice(None) if keep is None else keep[i]] = posterior
        return torch.from_numpy(result).to(energy.device)

    def _run(self, jobs: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> Any:
        if not self.num_workers:
            return [self.infer(*job) for job in jobs]
        if self._pool is None:
            self._pool = WorkerPool(self.num_workers)
        try:
            return list(self._pool.in_order(_infer, [self] * len(jobs), *zip(*jobs, strict=True)))
        except BrokenProcessPool:
            self.close()
            raise WSSSError('a process of BatchCRF died (killed, or out of memory)',
                            fix='resume the training; with little memory set num_workers of the crf lower') from None

    def infer(self, image: np.ndarray, unary: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
        """The lattice's posterior of one image, on the CPU.

        Args:
            image: ``(h, w, 3)`` uint8 RGB.
            unary: ``(K, h w)`` float32.
            inside: ``(h w)`` bool, or None for all.

        Returns:
            ``(K, h w)`` float32.
        """
        energy = torch.from_numpy(unary).t().contiguous()
        features: tuple[Tensor, ...] = self._features(torch.from_numpy(image), torch.float32)
        if inside is None:
            return self._infer(features, energy)
        posterior = (-energy).softmax(1)
        index = torch.from_numpy(inside)
        if index.any():
            features = tuple(f[index] for f in features)
            posterior[index] = torch.from_numpy(self._infer(features, energy[index])).t()
        return posterior.t().contiguous().numpy()

    def _infer(self, features: tuple[Tensor, ...], energy: Tensor) -> np.ndarray:
        kernels = [(weight, *normalised_kernel(feature.t()))
                   for weight, feature in zip(self.weights, features, strict=True)]
        return mean_field(energy, kernels, self.iterations).t().contiguous().numpy()

    def close(self) -> None:
        """End the worker processes; the next batch starts new ones."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def __getstate__(self) -> dict[str, Any]:
        # Copies, as of an averaged model, and workers get the settings alone.
        return {**self.__dict__, '_pool': None}


def _normalised(features: Tensor, mask: Tensor | None) -> Tensor:
    """``(B, n, n)`` kernels of ``(B, n, d)`` features, symmetrically normalised; 0 outside the ``(B, n)`` mask."""
    kernel = pair_weights(features)
    if mask is not None:
        kernel = kernel * mask[:, None] * mask[:, :, None]
    norm = (kernel.sum(2, keepdim=True) + 1e-20).rsqrt()
    return kernel.mul_(norm).mul_(norm.transpose(1, 2))


def _infer(crf: BatchCRF, *job: Any) -> np.ndarray:
    return crf.infer(*job)

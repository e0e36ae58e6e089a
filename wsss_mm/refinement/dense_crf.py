"""Fully connected CRF with Gaussian edge potentials (Krähenbühl and Koltun, NIPS 2011)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.refinement.permutohedral import PermutohedralLattice
from wsss_mm.registry import TASK_UTILS

_LOWEST_PROBABILITY = 1e-5
_OBJECTS_AT_ONCE = 16
_NUMBERS = ('bilateral_weight', 'bilateral_xy', 'bilateral_rgb', 'gaussian_weight', 'gaussian_xy')
_PSA, _AT_A_TWELFTH = (10., 80., 13., 3., 3.), (10., 80 / 12, 13., 3., 3 / 12)
# In the order of _NUMBERS; the table in DenseCRF's docstring says where each is used.
CRF_PRESETS: dict[str, tuple[float, ...]] = dict(
    bana=(4., 55., 3., 3., 3.), deeplabv1=(4., 121., 5., 3., 3.), deeplabv2=(4., 67., 3., 3., 1.), psa=_PSA, aeft=_PSA,
    irn=(10., 50., 5., 3., 3.), sec=_PSA, sec_train=_AT_A_TWELFTH, dsrg=_PSA, dsrg_train=_AT_A_TWELFTH,
    bbam=(4., 80., 3., 3., 1.))


@TASK_UTILS.register_module()
class DenseCRF:
    """Refine class probabilities with mean-field inference in a dense CRF.

    The energy is the unary ``-log(clip(p, 1e-5, 1))`` plus, for each pair of pixels with different labels (Potts),

    ``w_1 exp(-|p_i - p_j|^2 / 2 xy_1^2 - |I_i - I_j|^2 / 2 rgb^2) + w_2 exp(-|p_i - p_j|^2 / 2 xy_2^2)``

    (equation 3), both kernels symmetrically normalised, positions in pixels and colours in 0…255.

    Two backends with the same posterior, up to float32's rounding: ``'torch'`` runs on the CPU or the GPU and compiles
    nothing, ``'pydensecrf'`` is the C++ original, on the CPU. Mean field amplifies rounding on noisy images, which
    moves either backend by about 1e-4 from a float64 run; ``benchmarks/dense_crf.py`` shows it.

    The numbers may be given, or a preset, the numbers of a published method, with single ones given beside it:
    ``DenseCRF(preset='aeft', iterations=1)``.

    ============================== ====== ======== ==== ====== ====== ==========================================
    preset                          w_1    xy_1     rgb  w_2    xy_2   what it is used for
    ============================== ====== ======== ==== ====== ====== ==========================================
    ``bana``                        4      55       3    3      3      BANA's Y_crf
    ``deeplabv1``                   4      121      5    3      3      BANA's DeepLab-V1 at test time
    ``deeplabv2``                   4      67       3    3      1      DeepLab-V2 at test time (BANA, BBAM)
    ``psa``, ``aeft``               10     80       13   3      3      class maps with ``(1 - max)^alpha``; AEFT's
                                                                       last CRF, after the walk, is one iteration
    ``irn``                         10     50       5    3      3      IRN's confident areas, and with it AdvCAM,
                                                                       RIB and W-OoD; unary of labels that hold
                                                                       with probability .7
    ``sec``, ``dsrg``               10     80       13   3      3      segmentors at test time, at the image's size
    ``sec_train``, ``dsrg_train``   10     80 / 12  13   3      3 / 12 in the training loop, on maps of 41 x 41 for
                                                                       321 pixels; colours are not scaled
    ``bbam``                        4      80       3    3      1      BBAM's instance masks
    ============================== ====== ======== ==== ====== ====== ==========================================

    All have 10 iterations.

    Args:
        bilateral_weight: w_1.
        bilateral_xy: xy_1 in pixels.
        bilateral_rgb: rgb in grey levels.
        gaussian_weight: w_2.
        gaussian_xy: xy_2 in pixels.
        iterations: Mean-field updates; 10 unless given.
        backend: ``'torch'``, ``'pydensecrf'``, or ``'auto'``: pydensecrf on the CPU where it is installed. The default
            is ``'torch'``: it was the faster on one core (``benchmarks/results/dense_crf.md``), and the same config
            then runs the same code whether or not pydensecrf is installed. The attribute ``backend`` holds the
            choice.
        device: Where the torch backend computes.
        preset: Name of a row above; numbers given beside it take the place of its own.

    Raises:
        ConfigError: an unknown preset or backend, a backend that is not installed or cannot use the device, a number
            that is missing, or a width that is not positive.
    """

    def __init__(self, bilateral_weight: float | None = None, bilateral_xy: float | None = None,
                 bilateral_rgb: float | None = None, gaussian_weight: float | None = None,
                 gaussian_xy: float | None = None, iterations: int = 10, backend: str = 'torch', device: str = 'cpu',
                 preset: str | None = None) -> None:
        given = (bilateral_weight, bilateral_xy, bilateral_rgb, gaussian_weight, gaussian_xy)
        numbers = _numbers(preset, given)
        for name in ('bilateral_xy', 'bilateral_rgb', 'gaussian_xy'):
            if not numbers[name] > 0:
                raise ConfigError(f'DenseCRF {name}={numbers[name]}', expected='a standard deviation above 0')
        if iterations < 0:
            raise ConfigError(f'DenseCRF iterations={iterations}', expected='0 or more')
        self.bilateral_weight, self.bilateral_xy = numbers['bilateral_weight'], numbers['bilateral_xy']
        self.bilateral_rgb = numbers['bilateral_rgb']
        self.gaussian_weight, self.gaussian_xy = numbers['gaussian_weight'], numbers['gaussian_xy']
        self.iterations = iterations
        self.device = str(device)
        self.backend = _resolve_backend(backend, self.device)

    def __call__(self, image: np.ndarray | Tensor, probabilities: np.ndarray | Tensor) -> np.ndarray:
        """Posterior of one image.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            probabilities: ``(K, H, W)``; need not sum to 1.

        Returns:
            ``(K, H, W)`` float32, summing to 1 over K.

        Raises:
            DataError: wrong shapes or dtype, sizes that differ, NaN.
        """
        image = _check_image(image)
        probabilities = _check_maps(probabilities, 'probabilities', image.shape[:2])
        return self.prepare(image).refine(probabilities)

    def prepare(self, image: np.ndarray | Tensor) -> PreparedCRF:
        """Do once what depends on the image alone, so that several unaries of it can share that.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.

        Raises:
            DataError: wrong shape or dtype.
        """
        kind = _PyDenseCRF if self.backend == 'pydensecrf' else _TorchCRF
        return kind(self, _check_image(image))


class PreparedCRF(ABC):
    """A dense CRF that waits for its unary; made by :meth:`DenseCRF.prepare`."""

    def __init__(self, crf: DenseCRF, image: np.ndarray) -> None:
        self._crf = crf
        self._size = image.shape[:2]

    def infer(self, unary: np.ndarray | Tensor) -> np.ndarray:
        """Run the mean-field updates.

        Args:
            unary: ``(K, H, W)`` energies, such as ``-log p``.

        Returns:
            ``(K, H, W)`` float32 posterior.

        Raises:
            DataError: energies of another size than the image, or not finite.
        """
        unary = _check_maps(unary, 'unary energies', self._size)
        return self._infer(unary.reshape(len(unary), -1)).reshape(unary.shape)

    def refine(self, probabilities: np.ndarray | Tensor) -> np.ndarray:
        """What the CRF itself gives for these probabilities, by :meth:`infer`.

        Args:
            probabilities: ``(K, H, W)``; need not sum to 1.

        Returns:
            ``(K, H, W)`` float32 posterior.

        Raises:
            DataError: of another size than the image, or not finite.
        """
        probabilities = _check_maps(probabilities, 'probabilities', self._size)
        return self.infer(-np.log(np.clip(probabilities, _LOWEST_PROBABILITY, 1)))

    def refine_objects(self, foreground: np.ndarray | Tensor) -> np.ndarray:
        """Posteriors of several objects, each against its own background, as :meth:`refine` of ``[p, 1 - p]`` gives.

        An object's result does not depend on the others.

        Args:
            foreground: ``(N, H, W)`` probabilities p in [0, 1], of an object each.

        Returns:
            ``(N, H, W)`` float32 posteriors of the objects.

        Raises:
            DataError: of another size than the image, or not finite.
        """
        if len(foreground) == 0:
            return np.zeros((0, *self._size), np.float32)
        foreground = _check_maps(foreground, 'probabilities', self._size)
        return self._refine_objects(foreground.reshape(len(foreground), -1)).reshape(foreground.shape)

    def _refine_objects(self, foreground: np.ndarray) -> np.ndarray:
        """``(N, HW)`` float32 to ``(N, HW)`` float32; here one by one."""
        stack = np.stack([foreground, 1 - foreground], 1)
        return np.stack([self.refine(pair.reshape(2, *self._size))[0].ravel() for pair in stack])

    @abstractmethod
    def _infer(self, unary: np.ndarray) -> np.ndarray:
        """``(K, N)`` float32 energies to a ``(K, N)`` float32 posterior."""


class _TorchCRF(PreparedCRF):
    """Mean field with the two kernels as permutohedral lattices."""

    def __init__(self, crf: DenseCRF, image: np.ndarray) -> None:
        super().__init__(crf, image)
        height, width = self._size
        y, x = torch.meshgrid(torch.arange(height, device=crf.device), torch.arange(width, device=crf.device),
                              indexing='ij')
        position = torch.stack([x, y]).view(2, -1).float()
        colour = torch.from_numpy(image).to(crf.device).view(-1, 3).t().float()
        features = torch.cat([position / crf.bilateral_xy, colour / crf.bilateral_rgb])
        self._kernels = [(crf.bilateral_weight, *normalised_kernel(features)),
                         (crf.gaussian_weight, *normalised_kernel(position / crf.gaussian_xy))]

    def _infer(self, unary: np.ndarray) -> np.ndarray:
        energy = torch.from_numpy(unary).to(self._crf.device).t().contiguous()
        return mean_field(energy, self._kernels, self._crf.iterations).t().cpu().contiguous().numpy()

    def _refine_objects(self, foreground: np.ndarray) -> np.ndarray:
        # some objects at a time, which bounds the memory; more at once are no faster
        return np.concatenate([self._pairs(foreground[i:i + _OBJECTS_AT_ONCE])
                               for i in range(0, len(foreground), _OBJECTS_AT_ONCE)])

    def _pairs(self, foreground: np.ndarray) -> np.ndarray:
        p = torch.from_numpy(foreground).to(self._crf.device).t().contiguous()
        unary = (1 - p).clamp(_LOWEST_PROBABILITY, 1).log() - p.clamp(_LOWEST_PROBABILITY, 1).log()
        return mean_field_pairs(unary, self._kernels, self._crf.iterations).t().cpu().contiguous().numpy()


class _PyDenseCRF(PreparedCRF):
    """The C++ original."""

    def __init__(self, crf: DenseCRF, image: np.ndarray) -> None:
        super().__init__(crf, image)
        self._image = image
        self._model: Any = None
        self._classes = 0

    def _infer(self, unary: np.ndarray) -> np.ndarray:
        if len(unary) != self._classes:
            # its lattices serve any unary, but only with the number of classes they were made with
            crf, (height, width) = self._crf, self._size
            self._model, self._classes = _pydensecrf().DenseCRF2D(width, height, len(unary)), len(unary)
            self._model.addPairwiseGaussian(sxy=crf.gaussian_xy, compat=crf.gaussian_weight)
            self._model.addPairwiseBilateral(sxy=crf.bilateral_xy, srgb=crf.bilateral_rgb, rgbim=self._image,
                                             compat=crf.bilateral_weight)
        self._model.setUnaryEnergy(unary)
        return np.array(self._model.inference(self._crf.iterations), np.float32)


def mean_field(unary: Tensor, kernels: list[tuple[float, PermutohedralLattice, Tensor]], iterations: int) -> Tensor:
    """Mean-field updates with Potts compatibility (algorithm 1).

    ``Q <- softmax(-U + sum_m w_m n_m K_m(n_m Q))``: as Q sums to 1, a penalty for different labels is a reward for
    equal ones. A pixel's message to itself is kept, as in the original code.

    Args:
        unary: ``(N, K)`` float32 energies U.
        kernels: Weight w, lattice K and ``(N, 1)`` normalisation n of each kernel.
        iterations: Number of updates.

    Returns:
        ``(N, K)`` float32 posterior Q.
    """
    posterior = _softmax_(-unary)
    for _ in range(iterations):
        logits = -unary
        for weight, lattice, norm in kernels:
            logits.addcmul_(lattice.filter(norm * posterior), norm, value=weight)
        posterior = _softmax_(logits)
    return posterior


def mean_field_pairs(unary: Tensor, kernels: list[tuple[float, PermutohedralLattice, Tensor]], iterations: int
                     ) -> Tensor:
    """:func:`mean_field` of N problems of two classes on one image, with one channel each.

    The two posteriors sum to 1, so the difference of the two messages is ``w n (2 K(n Q) - K(n))``, of which the last
    part is constant: a filter of one channel per object, where :func:`mean_field` filters two.

    Args:
        unary: ``(N pixels, K)`` float32, energy of the object less that of its background.
        kernels, iterations: As of :func:`mean_field`.

    Returns:
        ``(N pixels, K)`` float32 posterior of the object.
    """
    unary = unary.clone()
    posterior = torch.sigmoid(-unary)
    for weight, lattice, norm in kernels:
        unary += weight * norm * lattice.filter(norm)
    for _ in range(iterations):
        logits = -unary
        for weight, lattice, norm in kernels:
            logits.addcmul_(lattice.filter(norm * posterior), norm, value=2 * weight)
        posterior = logits.sigmoid_()
    return posterior


def _softmax_(logits: Tensor) -> Tensor:
    """Softmax over the last dimension, in place; 5 times faster than torch's for the usual 2 to 4 classes."""
    logits -= logits.amax(1, keepdim=True)
    logits.exp_()
    logits /= logits.sum(1, keepdim=True)
    return logits


def normalised_kernel(features: Tensor) -> tuple[PermutohedralLattice, Tensor]:
    """A lattice of ``(d, N)`` features, and the ``(N, 1)`` norm ``1 / sqrt(K 1)`` to apply before and after it."""
    lattice = PermutohedralLattice(features.t())
    ones = features.new_ones(features.shape[1], 1)
    return lattice, (lattice.filter(ones) + 1e-20).rsqrt()


def _numbers(preset: str | None, given: tuple[float | None, ...]) -> dict[str, float]:
    """The five numbers by name: those given, and the preset's for the rest."""
    if preset is not None and preset not in CRF_PRESETS:
        raise ConfigError(f'DenseCRF preset={preset!r}', expected=f'one of {", ".join(CRF_PRESETS)}; or the numbers')
    numbers = dict(zip(_NUMBERS, CRF_PRESETS[preset], strict=True)) if preset is not None else {}
    numbers.update((name, number) for name, number in zip(_NUMBERS, given, strict=True) if number is not None)
    if missing := [name for name in _NUMBERS if name not in numbers]:
        raise ConfigError(f'DenseCRF without {", ".join(missing)}', expected='all five numbers, or a preset',
                          fix=f'give them, or preset=…, one of {", ".join(CRF_PRESETS)}')
    return numbers


def _resolve_backend(backend: str, device: str) -> str:
    if backend not in ('auto', 'pydensecrf', 'torch'):
        raise ConfigError(f"DenseCRF backend='{backend}'", expected="'auto', 'pydensecrf' or 'torch'")
    if backend == 'pydensecrf' and device != 'cpu':
        raise ConfigError(f"DenseCRF backend='pydensecrf' with device='{device}'", expected="device='cpu'",
                          fix=f"set backend='torch' to use {device}")
    if backend == 'torch' or device != 'cpu':
        return 'torch'
    try:
        _pydensecrf()
    except ConfigError:
        if backend == 'pydensecrf':
            raise
        return 'torch'
    return 'pydensecrf'


def _pydensecrf() -> ModuleType:
    try:
        import pydensecrf.densecrf
    except ImportError as error:
        raise ConfigError(f'DenseCRF needs pydensecrf for this backend, and it cannot be imported ({error})',
                          fix="pip install \"wsss_mm[crf]\", or set backend='torch', which needs nothing") from None
    return pydensecrf.densecrf


def _check_image(image: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(image, Tensor):
        image = image.cpu().numpy()
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f'DenseCRF got an image of shape {image.shape} and dtype {image.dtype}',
                        expected='(H, W, 3) uint8 RGB', fix='give the image as it was read, before normalisation')
    return np.ascontiguousarray(image)


def _check_maps(maps: np.ndarray | Tensor, what: str, size: tuple[int, int]) -> np.ndarray:
    if isinstance(maps, Tensor):
        maps = maps.detach().cpu().numpy()
    maps = np.asarray(maps)
    if maps.ndim != 3 or len(maps) == 0 or maps.shape[1:] != size:
        raise DataError(f'DenseCRF got {what} of shape {maps.shape} for an image of {size[0]} x {size[1]} (H x W)',
                        expected=f'(K >= 1, {size[0]}, {size[1]})', fix="resize them to the image's own size")
    maps = np.ascontiguousarray(maps, np.float32)
    if not np.isfinite(maps).all():
        raise DataError(f'DenseCRF got {what} with {np.count_nonzero(~np.isfinite(maps))} values of NaN or infinity',
                        expected='finite numbers')
    return maps

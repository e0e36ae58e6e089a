"""Colour augmentation."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from wsss_mm.errors import ConfigError
from wsss_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Brightness, contrast, saturation and hue, each by a uniform factor.

    Brightness multiplies; contrast blends with the mean grey of the image, saturation with its grey version; hue turns
    the colour circle. Every step rounds to uint8 (BANA's code truncates, at most one grey level apart per step).
    Brightness and contrast are look-up tables, so without hue the cost is three passes over the bytes and no float
    image.

    The defaults are BANA's: in this order, always applied. AEFT and others that use torchvision's jitter are
    ``ColorJitter(.4, .4, .4, .1, prob=.8, random_order=True)``.

    Args:
        brightness, contrast, saturation: Half width d of the range [1 - d, 1 + d] of each factor.
        hue: Half width of the range of the turn, as a part of the circle, at most .5.
        prob: Probability that the image is changed at all.
        random_order: Draw the order of the steps for each image, as torchvision does.
    """

    def __init__(self, brightness: float = 0.5, contrast: float = 0.5, saturation: float = 0.5, hue: float = 0.,
                 prob: float = 1., random_order: bool = False) -> None:
        self.widths = dict(brightness=brightness, contrast=contrast, saturation=saturation)
        for name, value, limit in (*((k, v, 1) for k, v in self.widths.items()), ('hue', hue, .5), ('prob', prob, 1)):
            if not 0 <= value <= limit:
                raise ConfigError(f'{name} is {value}', expected=f'0 … {limit}')
        self.hue, self.prob, self.random_order = hue, prob, random_order

    @cache_randomness
    def _factors(self) -> np.ndarray:
        widths = np.array(list(self.widths.values()))
        return np.random.uniform(1 - widths, 1 + widths)

    @cache_randomness
    def _turn(self) -> float:
        return np.random.uniform(-self.hue, self.hue)

    @cache_randomness
    def _order(self) -> list[int]:
        return np.random.permutation(4).tolist()

    @cache_randomness
    def _applied(self) -> bool:
        return np.random.rand() < self.prob

    def transform(self, results: dict) -> dict:
        """Change ``img`` (BGR uint8)."""
        if self.prob < 1 and not self._applied():
            return results
        brightness, contrast, saturation = self._factors()
        turn = self._turn() if self.hue else 0.
        steps = (lambda x: cv2.LUT(x, _table(brightness, 0.)),
                 lambda x: cv2.LUT(x, _table(contrast, cv2.cvtColor(x, cv2.COLOR_BGR2GRAY).mean())),
                 lambda x: _saturate(x, saturation),
                 lambda x: _turn_hue(x, turn) if turn else x)
        image = results['img']
        for step in self._order() if self.random_order else range(4):
            image = steps[step](image)
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}({", ".join(f"{k}={v}" for k, v in self.widths.items())}, hue={self.hue}, '
                f'prob={self.prob}, random_order={self.random_order})')


def _saturate(image: np.ndarray, factor: float) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


def _turn_hue(image: np.ndarray, turn: float) -> np.ndarray:
    """Add ``turn`` of the circle to the hue, in 256 steps as torchvision does on Pillow's images.

    Pillow truncates the hue where OpenCV rounds: half a grey level apart on average, at a thirteenth of the time.
    """
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] += np.uint8(int(turn * 255) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)


def _table(factor: float, pivot: float) -> np.ndarray:
    return np.clip(np.rint(pivot + factor * (np.arange(256) - pivot)), 0, 255).astype(np.uint8)

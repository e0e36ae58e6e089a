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
    """Brightness, contrast and saturation in this order, always applied, each by a uniform factor.

    Brightness multiplies; contrast blends with the mean grey of the image, saturation with its grey version. Every
    step rounds to uint8 (BANA's code truncates, at most one grey level apart per step). Brightness and contrast
    are look-up tables, so the cost is three passes over the bytes and no float image.

    Args:
        brightness, contrast, saturation: Half width d of the range [1 - d, 1 + d] of each factor.
    """

    def __init__(self, brightness: float = 0.5, contrast: float = 0.5, saturation: float = 0.5) -> None:
        self.widths = dict(brightness=brightness, contrast=contrast, saturation=saturation)
        for name, value in self.widths.items():
            if not 0 <= value <= 1:
                raise ConfigError(f'{name} is {value}', expected='0 … 1')

    @cache_randomness
    def _factors(self) -> np.ndarray:
        widths = np.array(list(self.widths.values()))
        return np.random.uniform(1 - widths, 1 + widths)

    def transform(self, results: dict) -> dict:
        """Change ``img`` (BGR uint8)."""
        brightness, contrast, saturation = self._factors()
        image = cv2.LUT(results['img'], _table(brightness, 0.))
        image = cv2.LUT(image, _table(contrast, cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).mean()))
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        results['img'] = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(f"{k}={v}" for k, v in self.widths.items())})'


def _table(factor: float, pivot: float) -> np.ndarray:
    return np.clip(np.rint(pivot + factor * (np.arange(256) - pivot)), 0, 255).astype(np.uint8)

"""Masks of an image's objects: one lattice and all objects together, against a CRF for each mask.

``python benchmarks/instance_masks.py`` prints a Markdown table; it needs scikit-image for the photographs.
"""

from __future__ import annotations

import time

import cv2
import numpy as np
from skimage import data

from wsss_mm.explainers import object_maps
from wsss_mm.refinement import DenseCRF, MaskBuilder, PreparedCRF
from wsss_mm.structures import ObjectMaps

HEIGHT, WIDTH = 375, 500
PRIORS, RETRIES = (.7, .8, .9, .95), (.7, .8, .9, .95, .96)


def picture(name: str) -> np.ndarray:
    """A photograph of up to VOC's usual size, from scikit-image's own."""
    return np.ascontiguousarray(getattr(data, name)()[:HEIGHT, :WIDTH, :3])


def drawn_maps(image: np.ndarray, count: int, seed: int) -> ObjectMaps:
    """Maps with a bump in each box, by the adaptive stride; the last object of three and more has none."""
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    side = rng.uniform(.1, .5, (count, 2)) * (width, height)
    low = rng.random((count, 2)) * ((width, height) - side)
    boxes = np.concatenate([low, low + side], 1).astype(np.float32)
    grids = []
    for (x1, y1, x2, y2), area in zip(boxes, side.prod(1), strict=True):
        stride = 10 + 30 * np.sqrt(area / height / width)   # 16 and 48 px of an image of 800 px
        rows, columns = int(height / stride), int(width / stride)
        y, x = np.linspace(0, height - 1, rows)[:, None], np.linspace(0, width - 1, columns)
        bump = np.exp(-2 * (((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2) * 4)
        grids.append((bump * rng.uniform(.6, 1, bump.shape)).astype(np.float32))
    statuses = ['ok'] * count
    if count >= 3:
        statuses[-1] = 'no_positive'
    return object_maps('', (height, width), (height, width), boxes, np.zeros(count, np.int64), np.arange(count),
                       grids=grids, statuses=statuses)


def plain(image: np.ndarray, maps: ObjectMaps, crf: DenseCRF, prepared: PreparedCRF | None = None) -> np.ndarray:
    """As published, mask after mask: a CRF for each with its lattices, or with those of ``prepared``."""
    height, width = image.shape[:2]

    def cut(m: np.ndarray) -> np.ndarray:
        return (prepared or crf.prepare(image)).refine(np.stack([m, 1 - m]))[0] > .9

    def one(n: int, threshold: float) -> np.ndarray:
        x1, y1, x2, y2 = np.concatenate([np.floor(maps.boxes[n][:2]), np.ceil(maps.boxes[n][2:])]).astype(int)
        inside = np.zeros((height, width), np.float32)
        inside[y1:y2, x1:x2] = 1
        area = inside.sum()
        if maps.statuses[n] != 'ok':
            for prior in PRIORS:
                mask = cut(np.float32(prior) * inside)
                if mask.sum() > area / 5:
                    break
            return mask
        m = maps.full_size(n)
        m = (m - m.min()) / m.max() * inside
        m = np.clip(m / (np.sort(m.ravel())[::-1][int(area * (1 - threshold))] + 1e-8), 0, 1)
        k = int(16 + 48 * np.sqrt(area / (height * width)))
        m = cv2.GaussianBlur(m, (2 * k + 1, 2 * k + 1), k) * inside
        first = mask = cut((m - m.min()) / m.max())
        if first.sum() > area / 5 or area > height * width / 10:
            return first
        for prior in RETRIES:
            mask = cut(np.where(first, 1, np.float32(prior) * inside))
            if mask.sum() > area / 3:
                break
        return mask
    pairs = [[one(n, threshold) for threshold in (.85, .2)] for n in range(len(maps))]
    return np.stack([np.where(sure, 1, np.where(possible, 2, 0)) for sure, possible in pairs])


def main() -> None:
    crf, builder = DenseCRF(preset='bbam'), MaskBuilder()
    print('| photograph, height x width | objects | CRF for each mask, s | one lattice, s | ours, s | ratio | '
          'pixels that differ |\n|---|---:|---:|---:|---:|---:|---:|')
    for name, count in (('chelsea', 1), ('chelsea', 4), ('coffee', 4), ('coffee', 8)):
        image = picture(name)
        maps = drawn_maps(image, count, 1)
        seconds, found = [], []
        for run in (lambda: plain(image, maps, crf), lambda: plain(image, maps, crf, crf.prepare(image)),   # noqa: B023
                    lambda: builder(image, maps).masks):                                                    # noqa: B023
            start = time.process_time()
            found.append(run())
            seconds.append(time.process_time() - start)
        known = np.array([status != 'box_inner' for status in builder(image, maps).statuses])
        differ = (found[0] != found[2])[known].sum()
        print(f'| {name}, {image.shape[0]} x {image.shape[1]} | {count} | {seconds[0]:.2f} | {seconds[1]:.2f} | '
              f'{seconds[2]:.2f} | {seconds[0] / seconds[2]:.1f} | {differ} of {found[0].size} |', flush=True)


if __name__ == '__main__':
    main()

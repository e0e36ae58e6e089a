"""Seeds for SEC, DSRG and GAIN's segmentor: the surest pixels of each class and of the background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.datasets.transforms import LoadPrior
from wsss_mm.errors import ConfigError
from wsss_mm.localization import Localizer, MultiScale, gradient_saliency, least_salient
from wsss_mm.localization.multi_scale import normalised
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.pseudo_labels.saved_maps import SavedMaps, folder_fingerprint
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ClassMaps, ImageSample, LabelResult

NO_CUE = 255
# Settings of each kind of background cues; None: has to be given.
_BACKGROUNDS: dict[str, dict[str, Any]] = dict(
    maps=dict(below=.05), prior=dict(folder=None, below=.06), gradient=dict(layer=None, share=.1))


def resolve_conflicts(claims: np.ndarray, class_ids: np.ndarray, scores: np.ndarray | None = None) -> np.ndarray:
    """One class for each pixel that several claim.

    Args:
        claims: ``(K, H, W)`` bool.
        class_ids: ``(K,)`` segmentation ids.
        scores: ``(K, H, W)``: the highest wins. None: the class that claims the fewest pixels wins (SEC). Of equal
            ones it is the first.

    Returns:
        ``(H, W)`` uint8; 255 where there is no claim.
    """
    if not len(claims):
        return np.full(claims.shape[1:], NO_CUE, np.uint8)
    if scores is None:
        order = claims.sum((1, 2)).argsort(kind='stable')
        best = order[claims[order].argmax(0)]
    else:
        best = np.where(claims, scores, -np.inf).argmax(0)
    return np.where(claims.any(0), np.asarray(class_ids)[best], NO_CUE).astype(np.uint8)


@TASK_UTILS.register_module()
class SeedCues(LabelGenerator):
    """Cues of the tagged classes and of the background: ``labels``, 0 background, 1…C, 255 no cue.

    A pixel is a cue of a class where its map is above ``foreground`` times the map's maximum. Maps come from the
    classifier, or are those that another run saved.

    Background cues are of one ``kind``:

    * ``dict(kind='maps', below=.05)``: all class maps are below that. Needs nothing else.
    * ``dict(kind='prior', folder=…, below=.06)``: a saliency map ``<image id>.png``, 0 to 1 as black to white, is
      below that (DSRG).
    * ``dict(kind='gradient', layer=…, share=.1)``: the tenth of the positions of the layer that the class scores
      depend on the least (SEC), see :func:`gradient_saliency`. Needs the classifier, also for saved maps.

    Args:
        localizer: As of :class:`ClassMapLabels`.
        map_dir: In its place, the folder of saved maps, ``<out_dir>/maps``.
        foreground: Share of a map's maximum.
        conflicts: Of several classes, ``'smaller'``: the one with fewer pixels, the background among them (SEC); or
            ``'best'``: the one of the highest map, and any before the background (FickleNet).
        background: See above.
        save_maps: Keep the class maps, where they come from the classifier.

    Raises:
        ConfigError: not one source of maps, or an unknown choice or setting.
    """

    outputs = ('labels',)

    def __init__(self, localizer: dict | None = None, map_dir: str | None = None, foreground: float = .2,
                 conflicts: str = 'smaller', background: dict | None = None, save_maps: bool = True) -> None:
        if (localizer is None) == (map_dir is None):
            raise ConfigError('SeedCues: localizer and map_dir, or neither', expected='one of the two')
        if conflicts not in ('smaller', 'best'):
            raise ConfigError(f'SeedCues: conflicts={conflicts!r}', expected="'smaller' or 'best'")
        if not 0 <= foreground < 1:
            raise ConfigError(f'SeedCues: foreground={foreground}', expected="a share of a map's maximum, 0 to 1")
        self.background = _checked_background(dict(background or dict(kind='maps')))
        self.localizer = self.saved = None
        if localizer is not None:
            built = TASK_UTILS.build(localizer)
            self.localizer = MultiScale(built, scales=(1.,), flip=False) if isinstance(built, Localizer) else built
        else:
            self.saved = SavedMaps(str(map_dir))
        self.foreground, self.conflicts, self.save_maps = foreground, conflicts, save_maps
        self.needs_model = localizer is not None or self.background['kind'] == 'gradient'

    def fingerprint(self) -> dict[str, str]:
        """What the saved maps were made of, and the bytes of the saliency maps; see :class:`LabelGenerator`."""
        found = {} if self.saved is None else self.saved.fingerprint()
        if self.background['kind'] == 'prior':
            found['prior'] = folder_fingerprint(Path(self.background['folder']), '*.png')
        return found

    def extract_batch(self, model: Any, images: Sequence[np.ndarray], inputs: Tensor, data_samples: Sequence[Any]
                      ) -> list[dict[str, Tensor]]:
        """``scale0`` … of the localizer, and ``saliency`` ``(h, w)`` where background is found by gradients.

        Raises:
            ConfigError: samples without tags.
        """
        found: list[dict[str, Tensor]] = [{} for _ in images]
        if self.localizer is not None:
            if any('gt_label' not in sample for sample in data_samples):
                raise ConfigError('SeedCues: a sample has no `gt_label`', expected='multi-hot image tags (C,)',
                                  fix='put LoadWeakLabels into the pipeline of pseudo_labels.dataset')
            tags = torch.stack([sample.gt_label for sample in data_samples]) > 0
            raw = self.localizer.raw_maps(model, images, tags, [sample.img_id for sample in data_samples])
            for own, scales in zip(found, raw, strict=True):
                own.update({f'scale{i}': maps for i, maps in enumerate(scales)})
        if self.background['kind'] == 'gradient':
            saliency = gradient_saliency(model, normalised(model, list(images)), self.background['layer']).cpu()
            for own, maps in zip(found, saliency, strict=True):
                own['saliency'] = maps
        return found

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The cues, a note for every class that has none, and the class maps; see the class."""
        if self.saved is not None:
            maps = self.saved.load(sample)
        else:
            raw = [features[f'scale{i}'] for i in range(sum(name.startswith('scale') for name in features))]
            merged = self.localizer.merge(raw, sample.height, sample.width)   # type: ignore[union-attr]
            maps = ClassMaps(sample.image_id, sample.tags, merged.numpy(), sample.height, sample.width)
        full = maps.full_size()
        background = self._background(sample, full, features)
        labels = self._labels(full, background)
        notes = [f'no cue of class {c}' for c in (0, *full.class_ids.tolist()) if not (labels == c).any()]
        return LabelResult(dict(labels=labels), notes, maps if self.saved is None and self.save_maps else None)

    def _labels(self, full: ClassMaps, background: np.ndarray) -> np.ndarray:
        claims = full.maps > self.foreground * full.maps.max((1, 2), keepdims=True)
        if self.conflicts == 'smaller':
            return resolve_conflicts(np.concatenate([background[None], claims]), np.append(0, full.class_ids))
        labels = resolve_conflicts(claims, full.class_ids, full.maps)
        labels[background & (labels == NO_CUE)] = 0
        return labels

    def _background(self, sample: ImageSample, full: ClassMaps, features: dict[str, Tensor]) -> np.ndarray:
        """``(H, W)`` bool."""
        settings, size = self.background, (sample.height, sample.width)
        if settings['kind'] == 'maps':
            return full.maps.max(0, initial=0) < settings['below']
        if settings['kind'] == 'prior':
            path = Path(settings['folder']) / f'{sample.image_id}.png'
            loaded = LoadPrior().transform(dict(prior_path=str(path), ori_shape=size, seg_fields=[]))
            return loaded['gt_prior'] < settings['below'] * 254
        lowest = least_salient(features['saliency'].numpy(), settings['share'])
        enlarged = F.interpolate(torch.from_numpy(lowest)[None, None].float(), size, mode='nearest-exact')
        return enlarged[0, 0].numpy() > 0


def _checked_background(given: dict) -> dict:
    kind = given.get('kind')
    if kind not in _BACKGROUNDS:
        raise ConfigError(f'SeedCues: background is {given}', expected=f"kind={' or '.join(map(repr, _BACKGROUNDS))}")
    known = _BACKGROUNDS[kind]
    if strange := sorted(given.keys() - known.keys() - {'kind'}):
        raise ConfigError(f'SeedCues: background of kind {kind!r} with {strange}',
                          expected=f'{", ".join(known)}')
    found = {**known, **given}
    if missing := [name for name, value in found.items() if value is None]:
        raise ConfigError(f'SeedCues: background of kind {kind!r} without {missing[0]}',
                          fix=f'set background=dict(kind={kind!r}, {missing[0]}=…)')
    return found

"""Out-of-distribution images by erasure: what looks like one of the classes is covered (dissertation, section 4.5)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from wsss_mm import files
from wsss_mm.config_hash import digest
from wsss_mm.errors import ConfigError, describe_error
from wsss_mm.localization import ImageLocalizer
from wsss_mm.models.data_preprocessor import gives_rgb
from wsss_mm.progress import Progress
from wsss_mm.pseudo_labels.ood_candidates import Scores, claim_folder, read_candidate


def erase(image: np.ndarray, maps: np.ndarray, threshold: float, colour: np.ndarray) -> np.ndarray:
    """Paint over the pixels where a class map is above a threshold.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        maps: ``(K, H, W)`` in [0, 1].
        threshold: Above it a pixel is painted.
        colour: ``(3,)`` RGB, 0 to 255.

    Returns:
        ``(H, W, 3)`` uint8; a copy.
    """
    covered = np.any(maps > threshold, axis=0, keepdims=True).transpose(1, 2, 0)
    return np.where(covered, np.round(colour).astype(np.uint8), image)


def mean_colour(model: Any) -> np.ndarray:
    """The RGB colour that the model's data preprocessor makes 0.

    Raises:
        ConfigError: it has no mean.
    """
    preprocessor = model.data_preprocessor
    mean = getattr(preprocessor, 'mean', None)
    if mean is None:
        raise ConfigError('the data preprocessor has no mean colour', expected='mean=[…] in data_preprocessor')
    mean = mean.flatten().cpu().numpy()
    # its input is BGR, so without the conversion the mean is too
    return mean if gives_rgb(preprocessor) else mean[::-1]


@torch.no_grad()
def erase_images(model: Any, localizer: ImageLocalizer, images: Mapping[str, Path], ids: Iterable[str],
                 candidates: Scores, classes: Sequence[str], folder: str | Path, threshold: float,
                 settings: Mapping[str, Any], long_side: int | None = None) -> dict[str, str]:
    """Write images with the regions of their candidate classes erased, as ``<folder>/<id>.jpg``.

    Images are written at the size at which they were scored; those that are there already are kept.

    Args:
        model: The classifier in eval mode, where it shall run.
        localizer: Gives the class maps.
        images: ``{id: file}``.
        ids: The images to be written.
        candidates: Their candidate classes, see
            :func:`~wsss_mm.pseudo_labels.ood_candidates.hard_candidates`.
        classes: Names, in the order of the logits.
        folder: Output folder.
        threshold: Of the class maps.
        settings: What else decides the pictures, name -> hash or plain value.
        long_side: As in scoring.

    Returns:
        Error text by id of the images that could not be erased.

    Raises:
        ConfigError: the folder holds images erased with other settings.
    """
    folder = Path(folder)
    settings = dict(settings, erase_threshold=threshold)
    claim_folder(folder / 'run.json', dict(settings=settings, hash=digest(settings)), 'erased images',
                 f'rm -r {folder}')
    colour, failures = mean_colour(model), {}
    targets = {image_id: folder / f'{image_id}.jpg' for image_id in ids}
    todo = [image_id for image_id, path in targets.items() if not path.is_file()]
    progress = Progress(len(targets), f'erased → {folder}', done=len(targets) - len(todo))
    for image_id in todo:
        try:
            image = read_candidate(images[image_id], long_side)
            tags = torch.zeros(1, len(classes), dtype=torch.bool)
            tags[0, [classes.index(name) for name, _ in candidates[image_id]]] = True
            maps = localizer.class_maps(model, [image], tags, [image_id])[0].full_size().maps
            files.write_atomic(targets[image_id], _jpeg(erase(image, maps, threshold, colour)))
        except (ConfigError, OSError):   # the config's or the disk's fault: so with every image
            raise
        except Exception as error:
            failures[image_id] = describe_error(error)
        progress.step(failed=image_id in failures)
    progress.finish()
    return failures


def _jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    # full colour resolution: no fringes along the erased regions
    Image.fromarray(image).save(buffer, format='JPEG', quality=95, subsampling=0)
    return buffer.getvalue()

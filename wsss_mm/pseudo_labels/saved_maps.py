"""Class maps of an earlier run, as another generator finds them."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from wsss_mm.errors import DataError
from wsss_mm.files import read_run
from wsss_mm.safe_loading import file_sha256
from wsss_mm.structures import ClassMaps, ImageSample


class SavedMaps:
    """A folder of class maps.

    Args:
        map_dir: ``<out_dir>/maps`` of a finished run.
    """

    def __init__(self, map_dir: str | Path) -> None:
        self.map_dir = str(map_dir)

    def paths(self) -> list[Path]:
        """Its files, sorted.

        Raises:
            DataError: there are none.
        """
        paths = sorted(Path(self.map_dir).glob('*.npz'))
        if not paths:
            raise DataError('no class maps here', file=self.map_dir, expected='<image id>.npz, one per image',
                            fix='make them first: ClassMapLabels with save_maps=True')
        return paths

    def fingerprint(self) -> dict[str, str]:
        """``maps``: what the maps were made of, by their run; of maps without a run, the hash of their bytes.

        Raises:
            DataError: no maps there, or their run is not complete.
        """
        self.paths()
        return dict(maps=made_of(self.map_dir, '*.npz', 'class maps'))

    def load(self, sample: ImageSample) -> ClassMaps:
        """The maps of one image, of the classes that it is tagged with.

        Raises:
            DataError: no maps of this image, of another size, or without a class that it is tagged with.
        """
        path = Path(self.map_dir) / f'{sample.image_id}.npz'
        if not path.is_file():
            raise DataError('no class maps of this image', file=path,
                            fix='label the same list with ClassMapLabels first, or take the image off the list')
        found = ClassMaps.load(path)
        if (found.height, found.width) != (sample.height, sample.width):
            raise DataError(f'class maps of an image of {found.height} x {found.width} pixels (height x width), it '
                            f'has {sample.height} x {sample.width}', file=path, expected='maps of this very image')
        if missing := sorted(set(sample.tags.tolist()) - set(found.class_ids.tolist())):
            raise DataError(f'no map of the classes {missing}, which the image is tagged with', file=path,
                            fix='make the maps anew with these tags')
        present = np.isin(found.class_ids, sample.tags)
        return dataclasses.replace(found, class_ids=found.class_ids[present], maps=found.maps[present])


def made_of(folder: str | Path, pattern: str, what: str) -> str:
    """What the files of an earlier run's folder were made of: the run's hash, or of files without a run their bytes'.

    Args:
        folder: ``<out_dir>/<name>``.
        pattern: Of the files' names, for those without a run.
        what: The files in a word or two, for the error.

    Raises:
        DataError: the run is not complete, or its ``run.json`` is damaged.
    """
    run = Path(folder).parent / 'run.json'
    found = read_run(run.parent)
    if found is None:
        return folder_fingerprint(Path(folder), pattern)
    if not found.get('complete'):
        raise DataError(f'the run that makes the {what} is not complete', file=run,
                        fix='run its command again: what is finished is kept')
    return found['hash']


def folder_fingerprint(folder: Path, pattern: str) -> str:
    """One hash of the names and bytes of a folder's files."""
    lines = ''.join(f'{path.stem} {file_sha256(path)}\n' for path in sorted(folder.glob(pattern)))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]

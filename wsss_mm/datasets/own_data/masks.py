"""Masks of pictures: PNGs of class numbers or of one colour a class, in any numbering."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_mm.datasets.label_readers import IGNORED
from wsss_mm.datasets.own_data.pictures import Pictures
from wsss_mm.datasets.own_data.problems import Problems
from wsss_mm.errors import ConfigError, DataError

BACKGROUND, IGNORE = 'background', 'ignore'
_VOID = 0xe0e0c0   # the cream in which VOC draws what is ignored
_COLOUR = re.compile(r'#([0-9a-fA-F]{6})')


def parse_mask_classes(texts: Sequence[str]) -> dict[int | str, str]:
    """What the pixels of masks mean, as given on the command line.

    Args:
        texts: Names, for the values 1, 2, …; or ``value=name`` or ``#rrggbb=name``, where ``background`` and ``ignore``
            are names too.

    Returns:
        ``{value: name}``, colours as ``'#rrggbb'`` in lower case.

    Raises:
        ConfigError: values and colours mixed, or what is neither.
    """
    if not any('=' in text for text in texts):
        return {number: name for number, name in enumerate(texts, 1)}
    found: dict[int | str, str] = {}
    for text in texts:
        value, _, name = text.partition('=')
        key: int | str | None = value.lower() if _COLOUR.fullmatch(value) else int(value) if value.isdigit() else None
        if key is None or not name.strip():
            raise ConfigError(f'--mask-classes has {text!r}', expected='names alone, or value=name, or "#rrggbb=name"')
        found[key] = name.strip()
    if len({type(key) for key in found}) > 1:
        raise ConfigError('--mask-classes has both numbers and colours', expected='one of them')
    return found


class MaskReader:
    """Reads masks as label maps of the classes' segmentation ids.

    Args:
        folder: Folder of PNGs, named and placed as the pictures are, but for the suffix.
        meaning: As of :func:`parse_mask_classes`. 0 (or black) is the background and 255 (or VOC's cream) ignored where
            it says nothing else.
        classes: Names of the classes without the background.

    Raises:
        DataError: no such folder, or no PNG in it.
    """

    def __init__(self, folder: str | Path, meaning: dict[int | str, str], classes: Sequence[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError('no such folder (--masks)', file=folder, expected='a folder of PNG masks')
        self.paths = sorted(p for p in self.folder.rglob('*')
                            if p.suffix.lower() == '.png' and not p.name.startswith('.') and p.is_file())
        if not self.paths:
            raise DataError('no PNG in this folder (--masks)', file=folder)
        self.coloured = any(isinstance(key, str) for key in meaning)
        ids = {BACKGROUND: 0, IGNORE: IGNORED} | {name: number for number, name in enumerate(classes, 1)}
        values: dict[int, int] = {0: 0, _VOID if self.coloured else 255: IGNORED}
        values |= {int(key[1:], 16) if isinstance(key, str) else key: ids[name] for key, name in meaning.items()}
        self._keys = np.array(sorted(values))
        self._ids = np.array([values[key] for key in sorted(values)], np.uint8)

    def find(self, pictures: Pictures, problems: Problems) -> dict[str, Path]:
        """The mask of each image id that has one."""
        found: dict[str, Path] = {}
        for path in self.paths:
            name = path.relative_to(self.folder).as_posix()[:-len(path.suffix)]
            image_id = pictures.find(name, f'mask {path.name}', problems)
            if image_id in found:
                problems.add('two masks of one picture', f'{found[image_id]} and {path}')
            elif image_id is not None:
                found[image_id] = path
        return found

    def read(self, path: Path, problems: Problems) -> np.ndarray | None:
        """One mask as ``(H, W)`` uint8 segmentation ids; None where it is none, which ``problems`` takes."""
        try:
            with Image.open(path) as picture:
                if self.coloured:
                    rgb = np.array(picture.convert('RGB')).astype(np.int64)
                    values = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
                elif picture.mode in ('1', 'L', 'P', 'I', 'I;16', 'I;16B'):
                    values = np.array(picture).astype(np.int64)
                else:
                    problems.add('a mask in colours', f'{path.name}: pixel type {picture.mode}',
                                 'numbers of classes, or the class of each colour: --mask-classes "#c00000=cat" …')
                    return None
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            problems.add('a mask that cannot be read', f'{path.name}: {error}', 'a whole PNG file')
            return None
        place = np.searchsorted(self._keys, values).clip(max=len(self._keys) - 1)
        unknown = self._keys[place] != values
        if unknown.any():
            strange = np.unique(values[unknown])[:5].tolist()
            shown = ', '.join(f'#{v:06x}' if self.coloured else str(v) for v in strange)
            problems.add('a mask with values that stand for no class', f'{path.name}: {shown}',
                         'among ' + ', '.join(f'#{k:06x}' if self.coloured else str(k) for k in self._keys[:12]),
                         'say what they are: --mask-classes value=name …, with background or ignore as names too')
            return None
        return self._ids[place]

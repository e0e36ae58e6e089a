"""Pictures with any names: their image ids, and finding a picture by what a label file calls it."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from wsss_mm.datasets.label_readers import read_image
from wsss_mm.datasets.own_data.problems import Problems
from wsss_mm.errors import DataError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
_LONGEST = 120   # bytes of an id: file systems take names of 255
_EXIF_ORIENTATION, _TURNED = 274, (5, 6, 7, 8)


def image_id_of(name: str) -> str:
    """The image id of a picture: its path below the folder, made fit for file names and lists.

    Folders are joined by ``__``, and what is no letter, digit or hyphen becomes ``_``: ``a/b c.v2.jpg`` is
    ``a__b_c_v2``. It follows from the path alone, so that other pictures never change it.

    Args:
        name: Path below the folder of pictures, with ``/``.
    """
    stem = PurePosixPath(unicodedata.normalize('NFC', name)).with_suffix('')
    image_id = '__'.join(re.sub(r'[^\w-]+', '_', part) for part in stem.parts)
    if len(image_id.encode()) > _LONGEST:
        cut = image_id.encode()[:_LONGEST - 9].decode(errors='ignore')
        digest = hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()
        image_id = f'{cut}_{digest[:8]}'
    return image_id


class Pictures:
    """The pictures below a folder.

    Args:
        folder: Searched with its sub-folders; hidden files and folders are left out.
        problems: Takes two pictures with one id.
        leave_out: Folders below it that hold no pictures, such as masks.

    Attributes:
        names: Path below ``folder`` of each image id, with ``/``, in the order of the ids.

    Raises:
        DataError: no such folder, or no picture in it.
    """

    def __init__(self, folder: str | Path, problems: Problems, leave_out: Iterable[str | Path] = ()) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError('no such folder (--images)', file=folder, expected='a folder of pictures')
        excluded = {Path(path).resolve() for path in leave_out}
        by_id: dict[str, str] = {}
        clashes: dict[str, list[str]] = {}
        for name in sorted(_walk(self.folder, excluded)):
            # some file systems do not tell cases apart
            clashes.setdefault(image_id_of(name).casefold(), []).append(name)
            by_id.setdefault(image_id_of(name), name)
        if not by_id:
            raise DataError('no picture in this folder (--images)', file=folder,
                            expected='files that end in ' + ', '.join(SUFFIXES))
        for key, names in clashes.items():
            if len(names) > 1:
                problems.add('pictures with the same image id', f'{key!r}: ' + ', '.join(map(repr, names)),
                             'paths that differ in letters, digits or folders', 'rename all but one')
        self.names = dict(sorted(by_id.items()))
        self._missing = 0
        self._whole: dict[str, str] = {}
        self._tails: dict[str, list[str]] = {}
        for image_id, name in self.names.items():
            for form in _forms(name):
                self._whole[form] = image_id
                parts = form.split('/')
                for start in range(len(parts)):
                    self._tails.setdefault('/'.join(parts[start:]), []).append(image_id)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, image_id: str) -> Path:
        """The picture's file."""
        return self.folder / self.names[image_id]

    def find(self, name: str, where: str, problems: Problems) -> str | None:
        """The image id of what a label file calls a picture.

        Taken are the path below the folder, its last parts where no other picture ends so, or a longer path that ends
        in it; with or without the suffix, with either slash.

        Args:
            name: As the label file has it.
            where: File and line, for the message.
            problems: Takes names of no picture, of several, and of files of other kinds.
        """
        called = _normal(name)
        if called in self._whole:
            return self._whole[called]
        found = self._tails.get(called, [])
        if not found:
            parts = called.split('/')
            tails = ('/'.join(parts[start:]) for start in range(1, len(parts)))
            found = [self._whole[tail] for tail in tails if tail in self._whole][:1]
        if len(found) == 1:
            return found[0]
        if found:
            problems.add('a name that several pictures have', f'{where}: {name!r} is '
                         + ', '.join(repr(self.names[i]) for i in found[:3]), f'paths below {self.folder}')
        elif os.path.isfile(self.folder / _normal(name)):   # also False for names that no system takes
            problems.add('a file that is there and is not taken for a picture', f'{where}: {name!r}',
                         f'files that end in {", ".join(SUFFIXES)}, and are not hidden',
                         'convert or rename it, or take the line out')
        else:
            self._missing += 1   # a likeness takes milliseconds, and no message shows more than the first ones
            close = difflib.get_close_matches(called, list(self._whole)[:2000], 1) if self._missing <= 5 else []
            problems.add('a picture that is not there', f'{where}: {name!r}'
                         + (f' (there is {self.names[self._whole[close[0]]]!r})' if close else ''),
                         f'pictures below {self.folder}', 'correct the name, take the line out, or add the picture')
        return None

    def names_a_picture(self, name: str) -> bool:
        """Whether a text is the name of one of the pictures, as :meth:`find` would take it."""
        return _normal(name) in self._tails


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width as shown, that is after the EXIF orientation; reads the file's head alone.

    Raises:
        DataError: no image.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_EXIF_ORIENTATION) in _TURNED
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return read_image(path).shape[:2]   # raises with the reason
    return (width, height) if turned else (height, width)


def _walk(folder: Path, excluded: set[Path]) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [n for n in folders if not n.startswith('.') and (Path(place) / n).resolve() not in excluded]
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith('.'):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _normal(name: str) -> str:
    path = PurePosixPath(unicodedata.normalize('NFC', name.strip()).replace('\\', '/'))
    text = path.as_posix().lstrip('/')
    suffix = path.suffix
    return text[:-len(suffix)] + suffix.lower() if suffix.lower() in SUFFIXES else text


def _forms(name: str) -> tuple[str, str]:
    with_suffix = _normal(name)
    return with_suffix, with_suffix[:-len(PurePosixPath(with_suffix).suffix)]

"""A folder that stands in for the whole file system: links to what is there, real files for what a sample changes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from wsss_mm.files import write_atomic


class Overlay:
    """Absolute and relative paths below one folder, so that samples of stages read the data and write nowhere else.

    ``/a/b`` becomes ``<root>/a/b``. Programs are started in :attr:`cwd`, where relative paths mean their stand-ins.

    Args:
        root: An empty folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.cwd = self.inside('.')
        self.cwd.mkdir(parents=True, exist_ok=True)

    def inside(self, path: str | Path) -> Path:
        """The stand-in of a path."""
        absolute = Path(os.path.abspath(path))
        return self.root / absolute.relative_to(absolute.anchor)

    def link(self, path: str | Path) -> None:
        """Show a file or folder as it is. Nothing where it is not there, or is shown already."""
        own = self.inside(path)
        if os.path.exists(path) and not os.path.lexists(own):
            self._unfold(own.parent)
            if not os.path.lexists(own):   # not below a folder that was just unfolded
                own.symlink_to(os.path.abspath(path))

    def folder(self, path: str | Path) -> Path:
        """An empty folder in the place of a path; what is really there is out of sight."""
        own = self.inside(path)
        self._unfold(own.parent)
        if own.is_symlink():
            own.unlink()
        own.mkdir(exist_ok=True)
        return own

    def open(self, path: str | Path) -> None:
        """Make a folder that is shown a real one with links to what it holds, so that files can come beside them."""
        self._unfold(self.inside(path))

    def write(self, path: str | Path, data: bytes) -> None:
        """A file in the place of a path."""
        own = self.inside(path)
        self._unfold(own.parent)
        write_atomic(own, data)   # replaces a link, not what it points to

    def is_own(self, path: str | Path) -> bool:
        """Whether what is written to a path stays below the root."""
        return Path(os.path.realpath(self.inside(path))).is_relative_to(self.root)

    def _unfold(self, folder: Path) -> None:
        """Make a folder and those above it real ones, with links to what the real ones hold."""
        for each in [*reversed(folder.relative_to(self.root).parents), folder.relative_to(self.root)]:
            own = self.root / each
            if own.is_symlink():
                real = os.readlink(own)
                own.unlink()
                own.mkdir()
                for name in os.listdir(real):
                    (own / name).symlink_to(os.path.join(real, name))
            else:
                own.mkdir(exist_ok=True)

    def remove(self) -> None:
        """Remove the folder; what links point to stays."""
        shutil.rmtree(self.root, ignore_errors=True)

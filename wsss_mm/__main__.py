"""The tools, wherever the package was installed.

``python -m wsss_mm train CONFIG`` is ``python tools/train.py CONFIG``. A wheel has no ``tools`` folder that a user
could name; there they lie below ``wsss_mm/.mim``.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def tools_folder() -> Path:
    """The repository's ``tools``, or those of the wheel."""
    source = _PACKAGE.parent / 'tools'
    return source if (source / '_common.py').is_file() else _PACKAGE / '.mim/tools'


def main() -> None:
    """Run the tool that the first argument names, with the rest of the command line."""
    folder = tools_folder()
    names = sorted(path.stem for path in folder.glob('[a-z]*.py'))
    given = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if given not in names:
        asked = given in ('-h', '--help')
        print(('' if asked else f'error: no tool {given!r}\n') + 'usage: python -m wsss_mm TOOL …   (TOOL --help says '
              f'more)\ntools: {", ".join(names)}', file=sys.stdout if asked else sys.stderr)
        sys.exit(0 if asked else 2)
    tool = folder / f'{given}.py'
    sys.path.insert(0, str(folder))   # as Python does for a script: the tools share _common.py
    sys.argv = [str(tool), *sys.argv[2:]]
    runpy.run_path(str(tool), run_name='__main__')


if __name__ == '__main__':
    main()

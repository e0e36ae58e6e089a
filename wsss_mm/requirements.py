"""Says which packages are missing and the commands that bring them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from importlib.util import find_spec

from wsss_mm.errors import WSSSError

# module -> what to install; mmcv stands apart, since its build needs torch and setuptools in the environment
_INSTALL = dict(torch='torch', mmengine='mmengine==0.10.7', mmseg='mmsegmentation==1.2.2', mmdet='mmdet==3.3.0',
                cv2='opencv-python', PIL='"pillow>=10.1"')
_MMCV = 'MMCV_WITH_OPS=1 pip install --no-build-isolation mmcv==2.1.0'


def check_requirements(modules: Sequence[str] = ('torch', 'mmengine', 'mmcv', 'mmseg', 'ftfy', 'regex')) -> None:
    """Check that modules can be found, without importing them.

    Args:
        modules: Names of top-level modules; by default what every tool needs. mmdet and pydensecrf are not among them.

    Raises:
        WSSSError: naming all that are missing and the pip commands.
    """
    missing = [m for m in modules if not _is_there(m)]
    if not missing:
        return
    others = [_INSTALL.get(m, m) for m in missing if m != 'mmcv']
    commands = [f'pip install {" ".join(others)}'] if others else []
    if 'mmcv' in missing:
        commands += ['pip install "setuptools<81" wheel ninja', _MMCV + '   (compiles for about 13 minutes)']
    raise WSSSError(f'not installed: {", ".join(missing)}', expected='MMSegmentation 1.2 with its dependencies, or the '
                    'onedl- forks of all of them', fix='\n    '.join([*commands, 'or, in the repository: make env']))


def has_mmdet() -> bool:
    """Whether mmdet is there, and the compiled ops of mmcv without which it cannot be imported."""
    return _is_there('mmdet') and _is_there('mmcv._ext')


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide a result, of either OpenMMLab lineage, as far as they are installed."""
    found = {}
    for name in ('wsss_mm', 'torch', 'numpy', 'opencv-python', 'scipy', 'scikit-image', 'higra', 'pydensecrf',
                 'pycocotools', 'mmengine', 'mmcv', 'mmsegmentation', 'mmdet', 'onedl-mmengine', 'onedl-mmcv',
                 'onedl-mmsegmentation', 'onedl-mmdetection'):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:   # not installed, or run from the sources
            continue
    return found


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):   # an import hook that refuses it, or a module without a spec
        return False

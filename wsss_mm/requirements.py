"""Says which packages are missing and the commands that bring them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from wsss_mm.errors import WSSSError

# module -> what to install, for each of the two lineages; they have the same modules and overwrite each other's files
_LINEAGES = dict(
    openmmlab=dict(mmengine='mmengine==0.10.7', mmcv='mmcv==2.1.0', mmseg='mmsegmentation==1.2.2',
                   mmdet='mmdet==3.3.0'),
    onedl=dict(mmengine='"onedl-mmengine>=0.10.12"', mmcv='"onedl-mmcv>=2.3.6"',
               mmseg='"onedl-mmsegmentation>=1.4.2"', mmdet='"onedl-mmdetection>=3.5.1"'))
_DISTRIBUTIONS = dict(
    openmmlab=('mmengine', 'mmcv', 'mmcv-lite', 'mmsegmentation', 'mmdet'),
    onedl=('onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'onedl-mmdetection'))
_OTHERS = dict(torch='torch', cv2='opencv-python', PIL='"pillow>=10.1"')
_MAKE = dict(openmmlab='make env', onedl='make env-onedl')
_NEEDED = ('torch', 'mmengine', 'mmcv', 'mmseg', 'ftfy', 'regex')


def check_requirements(modules: Sequence[str] = _NEEDED) -> None:
    """Check that modules can be found, without importing them, and that MMSegmentation's are of one lineage.

    Args:
        modules: Names of top-level modules; by default what every tool needs. mmdet and pydensecrf are not among them.

    Raises:
        WSSSError: naming all that are missing, or what is mixed, and the pip commands.
    """
    found = installed_lineages()
    if len(found) > 1:
        raise WSSSError(
            'packages of two lineages are installed: ' + ' beside '.join(', '.join(f'{n} {v}' for n, v in of.items())
                                                                         for of in found.values()),
            expected="OpenMMLab's packages, or their onedl- forks; both have the modules mmengine, mmcv, mmseg and "
                     "mmdet, and overwrite each other's files",
            fix='pip uninstall -y ' + ' '.join(n for of in found.values() for n in of) + '\n    then pip install '
                'those of one lineage, all anew (make env or make env-onedl in the repository)')
    missing = [m for m in modules if not _is_there(m)]
    lineage = next(iter(found), 'openmmlab')
    names = _LINEAGES[lineage] | _OTHERS
    if not missing and 'mmcv' in modules and lineage == 'openmmlab' and not has_ops():
        raise WSSSError(
            'mmcv is installed without its compiled ops',
            expected='mmcv with its ops: MMSegmentation 1.2.2 imports them (its fork, onedl-mmsegmentation, does not)',
            fix=f'pip uninstall -y mmcv mmcv-lite\n    pip install "setuptools<81" wheel ninja\n    {_build(lineage)}')
    if not missing:
        return
    others = [names.get(m, m) for m in missing if m != 'mmcv']
    commands = [f'pip install {" ".join(others)}'] if others else []
    if 'mmcv' in missing:   # apart from the others: its build needs torch and setuptools in the environment
        commands += ['pip install "setuptools<81" wheel ninja', _build(lineage)]
    raise WSSSError(f'not installed: {", ".join(missing)}', expected='MMSegmentation 1.2 with its dependencies, or the '
                    'onedl- forks of all of them',
                    fix='\n    '.join([*commands, f'or, in the repository: {_MAKE[lineage]}']))


def installed_lineages() -> dict[str, dict[str, str]]:
    """What is installed of OpenMMLab and of its maintained forks: ``openmmlab`` and ``onedl`` -> package -> version."""
    found = {lineage: _versions(names) for lineage, names in _DISTRIBUTIONS.items()}
    return {lineage: versions for lineage, versions in found.items() if versions}


def has_mmdet() -> bool:
    """Whether mmdet is there, and the compiled ops of mmcv without which it cannot be imported."""
    return _is_there('mmdet') and _is_there('mmcv._ext')


def has_ops() -> bool:
    """Whether mmcv has compiled ops, by its files: nothing is imported."""
    spec = find_spec('mmcv') if _is_there('mmcv') else None
    return any(any(Path(folder).glob('_ext*')) for folder in (spec and spec.submodule_search_locations) or ())


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide a result, of either OpenMMLab lineage, as far as they are installed."""
    return _versions(('wsss_mm', 'torch', 'numpy', 'opencv-python', 'scipy', 'scikit-image', 'higra', 'pydensecrf',
                      'pycocotools', *_DISTRIBUTIONS['openmmlab'], *_DISTRIBUTIONS['onedl']))


def _build(lineage: str) -> str:
    return (f'MMCV_WITH_OPS=1 pip install --no-build-isolation {_LINEAGES[lineage]["mmcv"]}   '
            '(compiles for about 13 minutes)')


def _versions(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
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

"""Says which packages are missing and the command that brings them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from wsss_mm.errors import WSSSError

# module → what to install; mmcv-lite is enough as long as no detector is used
_INSTALL = dict(torch='torch', mmengine='mmengine==0.10.7', mmcv='mmcv==2.1.0', mmseg='mmsegmentation==1.2.2',
                ftfy='ftfy', regex='regex', mmdet='mmdet==3.3.0', scipy='scipy')


def check_requirements(modules: Sequence[str] = ('torch', 'mmengine', 'mmcv', 'mmseg', 'ftfy', 'regex')) -> None:
    """Check that modules can be found, without importing them.

    Raises:
        WSSSError: naming all that are missing and the pip command.
    """
    missing = [m for m in modules if find_spec(m) is None]
    if missing:
        raise WSSSError(f'not installed: {", ".join(missing)}',
                        fix='pip install "setuptools<81" ' + ' '.join(_INSTALL.get(m, m) for m in missing)
                            + '   (or run: make env)')

"""Puts configs, tools and the model index into the wheel, below ``wsss_mm/.mim``; the rest is in pyproject.toml.

``mim``, ``mmengine.hub`` and ``wsss_mm.engine.stages.find_config`` look there. An editable install needs no copy: the
configs and tools of the repository are used.

``mim train`` looks for a config by the name of its file alone and refuses one that stands in several folders, as
``deeplabv2_voc.py`` does. So each is also there under the name that the model index has for it, the folder's before its
own (``bap_deeplabv2_voc.py``), as a file that inherits it.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_FILES = [*ROOT.glob('configs/**/*.py'), *ROOT.glob('configs/**/*.yml'), *ROOT.glob('configs/**/*.md'),
             *ROOT.glob('tools/*.py'), ROOT / 'model-index.yml']


class BuildPyWithMim(build_py):
    """``build_py`` that also copies what lies outside the package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'wsss_mm/.mim'
        shutil.rmtree(target, ignore_errors=True)   # an earlier build's files, since renamed or deleted
        for source in MIM_FILES:
            copy = target / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        by_name = target / 'by_name'
        by_name.mkdir()
        for source in ROOT.glob('configs/[!_]*/*.py'):
            method = source.parent.name
            (by_name / f'{method}_{source.name}').write_text(f"_base_ = '../configs/{method}/{source.name}'\n")


setup(cmdclass=dict(build_py=BuildPyWithMim))

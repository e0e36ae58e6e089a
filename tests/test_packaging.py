"""The wheel: what is in it, and that it works where mmdet and pydensecrf are not installed."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

import wsss_mm

ROOT = Path(__file__).resolve().parents[1]
# Ahead of everything that a check below imports.
BLOCKER = '''
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('mmdet', 'pydensecrf'):
            raise ModuleNotFoundError(f'No module named {name!r} (blocked)', name=name)
sys.meta_path.insert(0, Blocker())
'''


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that the checkout stays clean."""
    if not all(map(importlib.util.find_spec, ('pip', 'setuptools', 'wheel'))):
        pytest.skip('building a wheel without network needs pip, setuptools and wheel in the environment')
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    source.mkdir()
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE', 'model-index.yml'):
        shutil.copy(ROOT / name, source)
    for name in ('wsss_mm', 'configs', 'tools'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    # An earlier build's leftover must not come back.
    stale = source / 'build/lib/wsss_mm/.mim/configs/old/renamed_since.py'
    stale.parent.mkdir(parents=True)
    stale.touch()
    done = subprocess.run([sys.executable, '-m', 'pip', 'wheel', '.', '--no-deps', '--no-build-isolation', '--no-index',
                           '-w', folder], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob('*.whl'))


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """A folder with the wheel installed in it."""
    target = tmp_path_factory.mktemp('installed')
    done = subprocess.run([sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-index', '--quiet', '--target',
                           target, wheel], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def run(installed, tmp_path, *command):
    """Run Python on the installed package, from an empty folder, so that the checkout is out of reach."""
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env=dict(os.environ, PYTHONPATH=str(installed), OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_holds_package_configs_tools_and_index(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for kind, pattern in (('configs', '**/*.py'), ('configs', '**/*.yml'), ('tools', '*.py')):
        files = [p.relative_to(ROOT) for p in (ROOT / kind).glob(pattern)]
        assert files and {f'wsss_mm/.mim/{p.as_posix()}' for p in files} <= names
    package = [p.relative_to(ROOT) for p in (ROOT / 'wsss_mm').rglob('*.py') if '.mim' not in p.parts]
    assert {p.as_posix() for p in package} <= names
    assert 'wsss_mm/.mim/model-index.yml' in names


def test_wheel_has_each_config_under_the_name_of_the_model_index(wheel, tmp_path):
    """mim finds a config by its file's name alone, and only if no other file has that name."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    found = tmp_path / 'wsss_mm/.mim/by_name'
    aliases = sorted(p.name for p in found.iterdir())
    assert aliases == sorted(f'{p.parent.name}_{p.name}' for p in ROOT.glob('configs/[!_]*/*.py'))
    named = {f'{model["Name"]}.py' for content in metafiles().values() for model in content['Models']}
    assert named <= set(aliases)
    for name in aliases:
        assert len(list((tmp_path / 'wsss_mm').rglob(name))) == 1, name
    config = Config.fromfile(ROOT / 'configs/bap/deeplabv2_toy.py')
    assert Config.fromfile(found / 'bap_deeplabv2_toy.py').to_dict() == config.to_dict()


def test_wheel_holds_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split('/')[0] for name in names} == {'wsss_mm', f'wsss_mm-{wsss_mm.__version__}.dist-info'}
    assert not [name for name in names if '__pycache__' in name or 'renamed_since' in name or name.endswith('.pth')]


def test_dependencies_leave_the_choice_of_lineage(wheel):
    archive = zipfile.ZipFile(wheel)
    metadata = archive.read(next(n for n in archive.namelist() if n.endswith('/METADATA'))).decode()
    always = [line for line in metadata.splitlines() if line.startswith('Requires-Dist') and 'extra ==' not in line]
    assert sorted(re.match(r'Requires-Dist: ([\w-]+)', line)[1] for line in always) == [
        'numpy', 'opencv-python', 'pillow', 'scipy', 'torch']
    for extra in ('openmmlab', 'onedl', 'crf', 'proposals', 'hierarchy', 'examples', 'dev'):
        assert f'Provides-Extra: {extra}' in metadata


def test_importing_the_package_is_light(installed, tmp_path):
    heavy = run(installed, tmp_path, '-c', 'import sys, wsss_mm\n'
                'print(wsss_mm.__file__)\n'
                'print([m for m in ("torch", "numpy", "mmengine", "mmcv", "mmseg", "mmdet") if m in sys.modules])')
    file, modules = heavy.splitlines()
    assert Path(file).is_relative_to(installed) and modules == '[]'


def test_parts_build_without_mmdet_and_pydensecrf(installed, tmp_path):
    said = run(installed, tmp_path, '-c', BLOCKER + '''
import numpy as np, torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS, TASK_UTILS
init_default_scope('mmseg')
head = MODELS.build(dict(type='wsss_mm.BAPHead', num_classes=2, in_channels=4))
print(tuple(head.class_maps((torch.zeros(1, 4, 3, 5),)).shape))
crf = TASK_UTILS.build(dict(type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=55, bilateral_rgb=3,
                            gaussian_weight=3, gaussian_xy=3, backend='torch'))
print(crf(np.zeros((6, 7, 3), np.uint8), np.full((2, 6, 7), .5, np.float32))[0, 0, 0])
from wsss_mm.requirements import check_requirements
check_requirements()
try:
    check_requirements(['mmdet', 'pydensecrf'])
except Exception as error:
    print(error)
print([m for m in ('mmdet', 'pydensecrf') if m in sys.modules])
''')
    lines = said.splitlines()
    assert lines[0] == '(1, 2, 3, 5)' and float(lines[1]) == pytest.approx(.5)
    assert 'not installed: mmdet, pydensecrf' in said
    assert re.search(r'pip install "?(onedl-)?mmdet\S+ pydensecrf', said)   # of the lineage that is installed
    assert lines[-1] == '[]'


def test_installed_tools_find_the_installed_configs(installed, tmp_path):
    said = run(installed, tmp_path, installed / 'wsss_mm/.mim/tools/train.py', 'configs/bap/deeplabv2_toy.py', '--plan')
    steps = [line for line in said.splitlines() if re.match(r'\[\d+/\d+\]', line)]
    assert len(steps) >= 5 and 'data data/toy_voc' in steps[0] and 'not drawn yet' in steps[0]
    assert any('configs/bap/classifier_toy.py' in step for step in steps)


def test_advice_of_the_installed_package_names_commands_that_it_has(installed, tmp_path):
    said = run(installed, tmp_path, '-c', """
from wsss_mm.errors import ConfigError
error = ConfigError('no boxes', fix='python tools/prepare_dataset.py instances --root data   (from its XML)')
print(error)""")
    assert said == 'no boxes\n  to mend it: python -m wsss_mm prepare_dataset instances --root data   (from its XML)\n'
    assert 'usage' in run(installed, tmp_path, '-m', 'wsss_mm', 'prepare_dataset', 'instances', '--help')


def metafiles():
    """Every metafile of the model index: path → content."""
    return {path: yaml.safe_load((ROOT / path).read_text())
            for path in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']}


def test_model_index_has_every_metafile():
    assert sorted(metafiles()) == sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob('configs/*/metafile.yml'))


@pytest.mark.parametrize('path', metafiles())
def test_metafile_names_configs_that_exist_and_whose_figures_they_are(path):
    found = metafiles()[path]
    collections = {c['Name'] for c in found['Collections']}
    names = [model['Name'] for model in found['Models']]
    assert len(names) == len(set(names))
    for model in found['Models']:
        config = Path(model['Config'])
        assert (ROOT / config).is_file(), config
        assert model['In Collection'] in collections
        assert model['Name'] == f'{config.parent.name}_{config.stem}'   # as the wheel's by_name has it
        # The figures are the paper's; a "Results" or "Weights" key would claim them for this package.
        assert not {'Results', 'Weights'} & model.keys()
        assert model.keys() <= {'Name', 'In Collection', 'Config', 'Metadata', 'Results of the Paper'}


@pytest.mark.parametrize('path', metafiles())
def test_metafile_says_where_a_method_comes_from(path):
    for collection in metafiles()[path]['Collections']:
        assert (ROOT / collection['README']).is_file()
        assert collection['License'] == 'Apache-2.0' and collection['Paper']['Title'] and collection['Paper']['Venue']
        origin = collection['Provenance']
        assert origin.keys() == {'Written From', 'Published Code', 'Code License', 'Used of It'}
        assert all(origin.values())
        for folder in re.findall(r'tests/data/parity/\w+', origin['Used of It']):
            assert (ROOT / folder).is_dir(), folder


def test_every_config_but_the_toys_is_in_a_metafile():
    listed = {model['Config'] for found in metafiles().values() for model in found['Models']}
    there = {p.relative_to(ROOT).as_posix() for p in ROOT.glob('configs/[!_]*/*.py') if not p.stem.endswith('_toy')}
    assert there == listed


def test_provenance_page_is_that_of_the_metafiles():
    rows = []
    for path, found in metafiles().items():
        for one in found['Collections']:
            cells = [f'[{one["Name"]}](../{path})', one['Paper']['Venue'], *one['Provenance'].values()]
            rows.append(f'| {" | ".join(cells)} |')
    page = (ROOT / 'docs/provenance.md').read_text().splitlines()
    assert [line for line in page if line.startswith('| [')] == rows


def test_tests_of_the_other_lineage_are_there():
    """``make test-onedl`` names them by path; a renamed file must not drop out of it."""
    listed = [line.split('#')[0].strip() for line in (ROOT / 'tests/lineage.txt').read_text().splitlines()]
    paths = [ROOT / line for line in listed if line]
    assert paths and not [p for p in paths if not (p.is_dir() or p.is_file())]


def test_citation_has_the_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == wsss_mm.__version__

"""The check of what is installed names everything that is missing, and the commands."""

import sys

import pytest
from mmengine.registry import DefaultScope

from wsss_mm.errors import WSSSError
from wsss_mm.registry import enter_scope
from wsss_mm.requirements import check_requirements, has_ops, installed_lineages

LINEAGE, INSTALLED = next(iter(installed_lineages().items()))   # the one that the tests run on
WANTED = dict(openmmlab=('mmsegmentation==1.2.2', 'mmcv==2.1.0', 'make env'),
              onedl=('"onedl-mmsegmentation>=1.4.2"', '"onedl-mmcv>=2.3.6"', 'make env-onedl'))[LINEAGE]


class Refusing:
    """An import hook that refuses some packages."""

    def __init__(self, *names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f'{name} is blocked')


@pytest.fixture
def without(monkeypatch):
    """Make packages look as if they were not installed."""
    def block(*names):
        for name in [m for m in sys.modules if m.split('.')[0] in names]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, 'meta_path', [Refusing(*names), *sys.meta_path])
    return block


def test_silent_where_all_is_there():
    check_requirements()


def test_missing_packages_and_the_command(without):
    without('ftfy', 'mmseg')
    with pytest.raises(WSSSError) as caught:
        check_requirements()
    assert caught.value.problem == 'not installed: mmseg, ftfy'
    assert f'pip install {WANTED[0]} ftfy' in caught.value.fix
    assert caught.value.fix.endswith(WANTED[2]) and 'mmcv' not in caught.value.fix


def test_mmcv_is_built_without_isolation(without):
    without('mmcv')
    with pytest.raises(WSSSError) as caught:
        check_requirements()
    assert caught.value.problem == 'not installed: mmcv'
    lines = [line.strip() for line in caught.value.fix.splitlines()]
    assert lines[0] == 'pip install "setuptools<81" wheel ninja'
    assert lines[1].startswith(f'MMCV_WITH_OPS=1 pip install --no-build-isolation {WANTED[1]}')


def test_mmcv_without_ops(tmp_path, monkeypatch):
    """MMSegmentation 1.2.2 imports them, its fork does not."""
    assert has_ops()
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv/__init__.py').touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'mmcv', raising=False)
    assert not has_ops()
    if LINEAGE == 'onedl':
        check_requirements()
        return
    with pytest.raises(WSSSError, match='mmcv is installed without its compiled ops') as caught:
        check_requirements()
    assert f'MMCV_WITH_OPS=1 pip install --no-build-isolation {WANTED[1]}' in caught.value.fix


def test_unknown_module_is_named_as_it_is():
    with pytest.raises(WSSSError, match='not installed: no_such_package') as caught:
        check_requirements(['torch', 'no_such_package'])
    assert 'pip install no_such_package' in caught.value.fix


def test_optional_packages_are_not_asked_for(without):
    without('mmdet', 'pydensecrf')
    check_requirements()


def test_a_config_of_mmdet_asks_for_mmdet(without):
    without('mmdet')
    with pytest.raises(WSSSError, match='not installed: mmdet'):
        enter_scope(dict(default_scope='mmdet'))
    with pytest.raises(WSSSError, match='not installed: mmdet'):
        enter_scope({}, 'mmdet')
    enter_scope({})


@pytest.mark.parametrize('config, default, expected', [
    (dict(default_scope='mmseg'), 'mmengine', 'mmseg'), ({}, 'mmengine', 'mmengine')])
def test_the_scope_of_a_config_is_entered_where_there_is_none(config, default, expected, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', {})
    enter_scope(config, default)
    assert DefaultScope.get_current_instance().scope_name == expected
    enter_scope(dict(default_scope='other'))
    assert DefaultScope.get_current_instance().scope_name == expected


def test_lineages_may_not_be_mixed(tmp_path, monkeypatch):
    name, version = dict(openmmlab=('onedl-mmcv', '2.3.6'), onedl=('mmcv', '2.1.0'))[LINEAGE]
    metadata = tmp_path / f'{name.replace("-", "_")}-{version}.dist-info/METADATA'
    metadata.parent.mkdir()
    metadata.write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WSSSError) as caught:
        check_requirements()
    assert caught.value.problem.startswith('packages of two lineages are installed: ')
    for package, of in (*INSTALLED.items(), (name, version)):
        assert f'{package} {of}' in caught.value.problem and package in caught.value.fix
    assert f' beside {name} {version}' in caught.value.problem or f': {name} {version} beside ' in caught.value.problem

"""The stage chain: order, completeness, refusal of what was made with other settings."""

import json
from pathlib import Path

import pytest

from wsss_mm.engine import stages
from wsss_mm.engine.stages import Stage
from wsss_mm.errors import ConfigError, DataError, WSSSError

CONFIG = """
default_scope = 'mmseg'
prerequisites = {prerequisites}
work_dir = '{work_dir}'
model = dict(type='X', width={width})
train_cfg = dict(max_iters=1)
pseudo_labels = dict(out_dir='{work_dir}/labels', generator=dict(type='G'), num_workers={workers})
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, prerequisites=(), width=1, workers=1):
        Path(f'{name}.py').write_text(CONFIG.format(prerequisites=list(prerequisites), work_dir=f'work/{name}',
                                                    width=width, workers=workers))
        return f'{name}.py'
    return write


def finish_training(config, product='p'):
    cfg = stages.load_config(config)
    Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    inputs = {s.key: stages.product_of(s) for s in stages.direct_prerequisites(cfg)}
    (Path(cfg.work_dir) / 'stage.json').write_text(json.dumps(dict(
        settings=stages.training_settings(cfg), product=product, inputs=inputs)))


def test_order_puts_each_stage_after_what_it_stands_on(write):
    write('pre')
    write('classifier', [dict(run='data', kind='toy', root='d'), dict(run='train', config='pre.py')])
    write('segmentor', [dict(run='data', kind='toy', root='d'), dict(run='labels', config='classifier.py')])
    order = stages.in_order(stages.direct_prerequisites(stages.load_config('segmentor.py')))
    assert [s.key for s in order] == ['data d', 'train pre.py', 'train classifier.py', 'labels classifier.py']


def test_circle_is_named(write):
    write('a', [dict(run='train', config='b.py')])
    write('b', [dict(run='train', config='a.py')])
    with pytest.raises(ConfigError, match='train a.py → train b.py → train a.py'):
        stages.in_order([Stage('train', 'a.py')])


def test_training_is_missing_interrupted_complete_or_other(write):
    stage = Stage('train', write('net'))
    assert stages.why_incomplete(stage) == 'not trained yet'
    Path('work/net').mkdir(parents=True)
    Path('work/net/last_checkpoint').write_text('iter_1.pth')
    assert stages.why_incomplete(stage) == 'training was interrupted'
    finish_training('net.py')
    assert stages.why_incomplete(stage) is None
    write('net', workers=7)                    # not a setting that changes the weights
    assert stages.why_incomplete(stage) is None
    write('net', width=2)
    with pytest.raises(ConfigError, match='changed: model') as caught:
        stages.why_incomplete(stage)
    assert 'rm -r work/net' in str(caught.value)


EMA = "dict(type='EMAHook', momentum=.1)"


@pytest.mark.parametrize('added, other, part', [
    (f"custom_hooks = [dict(type='wsss_mm.StageHook'), {EMA}]", f"custom_hooks = [{EMA.replace('.1', '.2')}]",
     'custom_hooks'),
    (f'custom_hooks = [{EMA}]', "custom_hooks = [dict(type='wsss_mm.StageHook')]", 'custom_hooks'),
    ("custom_hooks = [dict(type='wsss_mm.StageHook')]", f'custom_hooks = [{EMA}]', 'custom_hooks'),
    ("param_scheduler = [dict(type='PolyLR')]", '', 'param_scheduler'),
    ('', "param_scheduler = [dict(type='PolyLR')]", 'param_scheduler')])
def test_what_was_added_changed_or_removed_is_named(write, added, other, part):
    """A hook may average the weights, so it decides; what the config no longer has counts as well."""
    stage = Stage('train', write('net'))
    plain = Path('net.py').read_text()
    Path('net.py').write_text(f'{plain}\n{added}\n')
    finish_training('net.py')
    assert stages.why_incomplete(stage) is None
    Path('net.py').write_text(f'{plain}\n{other}\n')
    with pytest.raises(ConfigError, match=rf'changed: {part}\n'):
        stages.why_incomplete(stage)


def test_hooks_that_act_on_the_finished_network_decide_nothing(write):
    stage = Stage('train', write('net'))
    plain = Path('net.py').read_text()
    for hooks in ("dict(type='wsss_mm.StageHook'), dict(type='wsss_mm.PseudoLabelHook')", "dict(type='StageHook')", ''):
        finish_training('net.py')
        Path('net.py').write_text(f'{plain}\ncustom_hooks = [{hooks}]\n')
        assert stages.why_incomplete(stage) is None


@pytest.mark.parametrize('damage', [
    lambda r: '', lambda r: json.dumps(r)[:-9], lambda r: '{}', lambda r: '[]',
    *(lambda r, k=key: json.dumps(dict(r, **{k: None})) for key in ('settings', 'inputs', 'product'))])
def test_a_damaged_record_means_a_training_to_be_taken_up(write, damage):
    stage = Stage('train', write('net'))
    finish_training('net.py')
    record = Path('work/net/stage.json')
    record.write_text(damage(json.loads(record.read_text())))
    Path('work/net/last_checkpoint').write_text('iter_1.pth')
    assert stages.why_incomplete(stage) == 'training was interrupted' and stages.product_of(stage) is None


def test_a_prerequisite_made_anew_makes_what_stands_on_it_stale(write):
    write('pre')
    finish_training('pre.py', 'first')
    stage = Stage('train', write('net', [dict(run='train', config='pre.py')]))
    finish_training('net.py')
    assert stages.why_incomplete(stage) is None
    finish_training('pre.py', 'second')
    with pytest.raises(ConfigError, match='changed: train pre.py'):
        stages.why_incomplete(stage)


@pytest.mark.parametrize('kind, name, command', [
    ('voc', 'PASCAL VOC 2012', 'voc'), ('coco', 'COCO 2014', 'coco'), ('coco17', 'COCO 2017', 'coco --year 2017')])
def test_missing_data_say_where_to_put_them(tmp_path, kind, name, command):
    stage = stages.to_stage(dict(run='data', kind=kind, root=str(tmp_path / 'data')))
    assert stages.product_of(stage) is None
    with pytest.raises(DataError, match=f'{name} is not there(.|\n)*prepare_dataset.py {command} --root'):
        stages.why_incomplete(stage)


@pytest.mark.parametrize('kind, folder', [('voc', 'ImageSets'), ('coco', 'ImageSets'), ('coco17', 'train2017')])
def test_a_training_on_fetched_data_is_recorded_as_complete(write, kind, folder):
    Path('data', folder).mkdir(parents=True)
    stage = Stage('train', write('net', [dict(run='data', kind=kind, root='data')]))
    assert stages.why_incomplete(stages.to_stage(dict(run='data', kind=kind, root='data'))) is None
    finish_training('net.py')
    assert stages.why_incomplete(stage) is None


def test_labels_of_maps_made_anew_are_stale(write):
    Path('labels.py').write_text("""
work_dir = 'work/labels'
pseudo_labels = dict(
    out_dir='work/labels', generator=dict(type='wsss_mm.SavedMapLabels', map_dir='run/maps', threshold=.3))
""")
    cfg, stage = stages.load_config('labels.py'), Stage('labels', 'labels.py')
    for folder in ('run/maps', 'work/labels'):
        Path(folder).mkdir(parents=True)
    Path('run/maps/a.npz').touch()
    maps = Path('run/run.json')
    maps.write_text(json.dumps(dict(complete=True, hash='first')))
    Path('work/labels/run.json').write_text(json.dumps(dict(
        complete=True, hash='labels', settings=dict(stages.settings_of(cfg, ['pseudo_labels']), maps='first'))))
    assert stages.why_incomplete(stage) is None
    for other in (dict(complete=True, hash='second'), dict(complete=False, hash='first')):
        maps.write_text(json.dumps(other))
        with pytest.raises(ConfigError, match='changed: maps'):
            stages.why_incomplete(stage)


@pytest.mark.parametrize('entry', [dict(run='train'), dict(run='data', kind='toy'), dict(run='fly', config='a'), {}])
def test_entries_that_say_nothing_are_refused(entry):
    with pytest.raises(ConfigError, match='is not understood'):
        stages.to_stage(entry)


def test_a_failing_stage_stops_the_chain_with_its_command(write, tmp_path):
    tools = tmp_path / 'tools'
    tools.mkdir()
    (tools / 'train.py').write_text('import sys; sys.exit(3)')
    with pytest.raises(WSSSError, match='exit code 3') as caught:
        stages.run_stages([Stage('train', write('net'))], tools)
    assert 'train.py net.py --no-prerequisites' in str(caught.value)


def test_unknown_config_is_named():
    with pytest.raises(ConfigError, match='no such config'):
        stages.load_config('configs/bap/none.py')


def test_a_trace_follows_its_training_and_is_that_of_its_options(write):
    config = write('net')
    asked = dict(run='trace', config=config, out='work/steps', images=3, variant=['a: x=1', 'b: x=2'])
    stage = stages.to_stage(asked)
    assert [s.key for s in stages.in_order([stage])] == ['train net.py', 'trace work/steps']
    assert stages.command(stage, Path('tools'))[1:] == [
        'tools/trace.py', 'net.py', '--images', '3', '--out', 'work/steps', '--variant', 'a: x=1', '--variant',
        'b: x=2']
    finish_training(config)
    assert stages.why_incomplete(stage) == 'not traced yet' and stages.product_of(stage) is None
    settings = stages.trace_settings(stages.load_config(config), asked)
    Path('work/steps.json').write_text(json.dumps(dict(settings=dict(settings, checkpoint='p'))))
    assert stages.why_incomplete(stage) is None and stages.product_of(stage)
    with pytest.raises(ConfigError, match='changed: options'):
        stages.why_incomplete(stages.to_stage(dict(asked, variant='a: x=1')))
    finish_training(config, product='q')
    with pytest.raises(ConfigError, match='changed: checkpoint'):
        stages.why_incomplete(stage)
    write('net', width=2)
    with pytest.raises(ConfigError, match='changed: model, checkpoint'):
        stages.why_incomplete(stage)
    with pytest.raises(ConfigError, match='is not understood'):
        stages.to_stage(dict(asked, imges=3))


def test_one_training_for_all_who_label_with_it(write):
    write('net')
    Path('other.py').write_text("_base_ = './net.py'\npseudo_labels = dict(out_dir='work/other_labels')\n")
    Path('wider.py').write_text("_base_ = './net.py'\nmodel = dict(width=2)\n")   # the same folder, another network
    order = stages.in_order([Stage('labels', 'net.py'), Stage('labels', 'other.py'), Stage('train', 'other.py')])
    assert [s.key for s in order] == ['train net.py', 'labels net.py', 'labels other.py']
    order = stages.in_order([Stage('train', 'net.py'), Stage('train', 'wider.py')])
    assert [s.key for s in order] == ['train net.py', 'train wider.py']

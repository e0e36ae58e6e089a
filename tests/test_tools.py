"""The tools as a user calls them: the whole chain, resuming, mmseg's own tools, one message for what is wrong."""

import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_mm.datasets.toy_voc import draw_patches
from wsss_mm.engine import stages

ROOT = Path(__file__).resolve().parents[1]
TOOLS = sorted(p.stem for p in (ROOT / 'tools').glob('[a-z]*.py'))
LOADER = 'dict(batch_size=4, num_workers=0, persistent_workers=False)'
DATA = "dict(run='data', kind='toy', root='data/toy_voc/boxes_world0', profile='boxes', seed=0)"


def stock(name):
    """mmseg's own, unmodified tool."""
    import mmseg
    return [sys.executable, str(Path(mmseg.__file__).parent / f'.mim/tools/{name}.py')]


@pytest.fixture(scope='module')
def workplace(tmp_path_factory, toy_root, write_config):
    """A working directory with small data and the shipped BANA configs cut down to two iterations a stage."""
    root = tmp_path_factory.mktemp('workplace')
    shutil.copytree(toy_root, root / 'data/toy_voc/boxes_world0')
    draw_patches(root / 'data/toy_voc/patches_boxes', 'boxes', 100, n=44)
    short = f'train_cfg = dict(max_iters=2)\ntrain_dataloader = {LOADER}\n'
    write_config(root / 'tiny/pretrain.py', 'pretrain/textures_toy.py', short)
    write_config(root / 'tiny/classifier.py', 'bap/classifier_toy.py', f"""{short}
prerequisites = [{DATA}, dict(run='train', config='tiny/pretrain.py')]
pseudo_labels = dict(num_workers=0)""")
    write_config(root / 'tiny/segmentor.py', 'bap/deeplabv2_toy.py', f"""
prerequisites = [{DATA}, dict(run='labels', config='tiny/classifier.py')]
train_cfg = dict(max_iters=2, val_interval=2)
train_dataloader = {LOADER}
val_dataloader = test_dataloader = dict(num_workers=0, persistent_workers=False)
pseudo_labels = dict(num_workers=0)
report = dict(needs=[dict(run='labels')])""")
    return root


@pytest.fixture(scope='module')
def chain(workplace, run_tool):
    """The working directory after one command ran the whole chain, and what the command said."""
    return workplace, run_tool(workplace, 'train', 'tiny/segmentor.py').stdout


SEGMENTOR = 'work_dirs/toy_boxes0/bap/deeplabv2'


def test_one_command_runs_the_whole_chain(chain, monkeypatch, call_tool):
    root, said = chain
    steps = re.findall(r'^\[(\d)/8\] (.+?)(?:: (.+))?$', said, re.M)
    assert steps == [
        ('1', 'data data/toy_voc/boxes_world0', 'complete'), ('2', 'data data/toy_voc/patches_boxes', 'complete'),
        ('3', 'train tiny/pretrain.py', 'not trained yet'), ('4', 'train tiny/classifier.py', 'not trained yet'),
        ('5', 'labels tiny/classifier.py', 'no labels yet'), ('6', 'train tiny/segmentor.py', 'not trained yet'),
        ('7', 'labels tiny/segmentor.py', 'no labels yet'), ('8', 'report', '')]
    monkeypatch.chdir(root)
    assert (Path(SEGMENTOR) / 'report/report.html').is_file()
    scores = json.loads((Path(SEGMENTOR) / 'report/scores.json').read_text())
    assert all(0 < scores[row][split]['miou'] < 100 for row in ('Y_crf', 'DeepLab-V2 + NAL') for split in scores[row]
               if split != 'auc') and scores['GrabCut']['train'] is None
    again = call_tool('train', 'tiny/segmentor.py', '--plan')
    assert again.code == 0 and again.out.count(': complete') == len(again.out.splitlines()) == 7


def test_testing(chain, run_tool, call_tool, monkeypatch):
    """The same score as the training's last validation; predictions as PNG; another network's weights refused."""
    root, said = chain
    done = run_tool(root, 'test', 'tiny/segmentor.py', '--out', 'predictions', '--work-dir', 'test_log',
                    '--cfg-options', 'test_dataloader.persistent_workers=True')   # which is without effect there
    scores = [re.findall(r'mIoU: +([\d.]+)', text)[-1] for text in (said, done.stdout)]
    assert scores[0] == scores[1]
    for path in (root / 'data/toy_voc/boxes_world0/ImageSets/Segmentation/val.txt').read_text().split():
        with Image.open(root / f'predictions/{path}.png') as label:
            assert label.size == (96, 96) and np.array(label).max() <= 6
    other = Path('work_dirs/toy_boxes0/bap/classifier/final.pth')
    monkeypatch.chdir(root)
    refused = call_tool('test', 'tiny/segmentor.py', other, '--work-dir', 'test_log')
    assert refused.code == 2 and 'of another network' in refused.err and 'Traceback' not in refused.err


def test_resuming_goes_on_where_it_stopped(chain, run_tool, monkeypatch):
    root, _ = chain
    shutil.copytree(root / 'work_dirs/toy_boxes0/bap/classifier', root / 'longer')
    (root / 'longer/stage.json').unlink()
    (root / 'longer/last_checkpoint').write_text('longer/iter_2.pth')
    done = run_tool(root, 'train', 'tiny/classifier.py', '--no-prerequisites', '--resume', '--work-dir', 'longer',
                    '--cfg-options', 'train_cfg.max_iters=4', 'default_hooks.logger.interval=1',
                    'train_dataloader.persistent_workers=True')   # without effect: no workers
    lines = re.findall(r'Iter\(train\) \[(\d)/4\]', done.stdout)
    assert lines == ['3', '4'] and 'resumed' in done.stdout
    record = json.loads((root / 'longer/stage.json').read_text())
    assert record['iterations'] == 4
    # That it was resumed is no change of settings: only the length of the training is.
    monkeypatch.chdir(root)
    settings = stages.training_settings(stages.load_config('tiny/classifier.py'))
    assert {k for k in record['settings'] if record['settings'][k] != settings[k]} == {'train_cfg'}


def test_mmsegs_own_tools_run_the_same_config(chain, run_line, write_config, monkeypatch):
    root, _ = chain
    done = run_line([*stock('train'), 'tiny/segmentor.py', '--work-dir', 'stock'], root)
    assert 'Iter(val) [4/4]' in done.stdout and (root / 'stock/final.pth').is_file()
    assert sum('Traceback' in line for line in done.stderr.splitlines()) == 0
    tested = run_line([*stock('test'), 'tiny/segmentor.py', 'stock/iter_2.pth', '--work-dir', 'stock_test'], root)
    scores = [re.findall(r'mIoU: +([\d.]+)', text)[-1] for text in (done.stdout, tested.stdout)]
    assert scores[0] == scores[1]
    # The chain takes what mmseg's tool trained as complete.
    monkeypatch.chdir(root)
    Path('tiny/stock.py').write_text("_base_ = './segmentor.py'\nwork_dir = 'stock'\n")
    assert stages.why_incomplete(stages.Stage('train', 'tiny/stock.py')) is None


def test_mmsegs_train_without_labels_names_the_command(chain, run_line, tmp_path):
    root, _ = chain
    for folder in ('data', 'tiny', 'work_dirs/pretrain'):
        (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / folder).symlink_to(root / folder)
    done = run_line([*stock('train'), 'tiny/segmentor.py'], tmp_path, code=1)
    message = done.stderr[done.stderr.index('wsss_mm.errors.DataError'):]
    assert done.stderr.count('Traceback') == 1 and done.stderr.count('DataError: ') == 1
    assert 'labels/Y_crf' in message and 'python tools/generate.py configs/bap/classifier_toy.py' in message


def test_a_broken_image_in_a_loaders_worker_is_one_message(chain, run_tool):
    """torch re-raises a worker's error with its traceback for a text; only our own text is shown."""
    root, _ = chain
    (root / 'broken').mkdir()
    shutil.copytree(root / 'data/toy_voc/boxes_world0', root / 'broken/toy')
    for path in (root / 'broken/toy/JPEGImages').glob('train_*'):
        path.write_bytes(path.read_bytes()[:500])
    done = run_tool(root, 'train', 'tiny/classifier.py', '--no-prerequisites', '--work-dir', 'broken/work',
                    '--cfg-options', 'train_dataloader.dataset.data_root=broken/toy', 'train_dataloader.num_workers=1',
                    code=2)
    assert re.search(r"\nerror: broken/toy/JPEGImages/train_\d+\.jpg: not readable as an image", done.stderr)
    assert 'Traceback' not in done.stderr and done.stderr.count('not readable as an image') == 1
    assert done.stderr.rstrip().endswith('copy or download it again')


# ---------------------------------------------------------------- in this process: nothing is trained

class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize('tool', ['test', 'generate', 'train'])
def test_a_hostile_checkpoint_is_refused_before_it_runs(tool, workplace, tmp_path, monkeypatch, call_tool):
    monkeypatch.chdir(workplace)
    buffer = io.BytesIO()
    torch.save(dict(state_dict=Hostile(tmp_path / 'ran')), buffer)
    checkpoint = tmp_path / 'hostile.pth'
    checkpoint.write_bytes(buffer.getvalue())
    arguments = dict(
        test=['tiny/segmentor.py', checkpoint, '--work-dir', tmp_path], generate=[
            'tiny/classifier.py', '--checkpoint', checkpoint, '--out-dir', tmp_path / 'labels'], train=[
            'tiny/classifier.py', '--no-prerequisites', '--work-dir', tmp_path, '--resume', checkpoint])[tool]
    said = call_tool(tool, *arguments)
    assert said.code == 2 and 'refused, since loading it could run code' in said.err and str(checkpoint) in said.err
    assert not (tmp_path / 'ran').exists() and 'weights_only' not in said.err


@pytest.mark.parametrize('tool', TOOLS)
def test_help_shows_an_example(tool, call_tool):
    said = call_tool(tool, '--help')
    assert said.code == 0 and f'python tools/{tool}.py' in said.out and not said.err


@pytest.mark.parametrize(('line', 'words'), [
    (['train', 'configs/none.py'], 'configs/none.py: no such config'),
    (['test', 'configs/none.py'], 'no such config'),
    (['generate', 'configs/none.py'], 'no such config'),
    (['report', 'configs/none.py'], 'no such config'),
    (['train', 'configs/bap/classifier_toy.py', '--no-prerequisites', '--amp'], '--amp without a GPU'),
    (['train', 'configs/bap/deeplabv1_voc.py'], 'PASCAL VOC 2012 is not there'),
    (['test', 'configs/bap/classifier_toy.py'], 'this config has no test split'),
    (['test', 'configs/bap/deeplabv2_toy.py'], 'no such checkpoint'),
    (['report', 'configs/bap/deeplabv2_ycrf_toy.py'], 'no report section'),
    (['generate', 'configs/bap/deeplabv2_ycrf_toy.py'], 'no pseudo_labels section'),
    (['generate', 'configs/box_baselines/box_fill_toy.py'], 'prepare_dataset.py toy'),
    (['generate', 'broken.py'], 'broken.py'),
    (['prepare_dataset', 'voc', '--root', 'nowhere'], 'unpack it so that nowhere exists'),
    (['prepare_dataset', 'toy', '--root', 'x', '--counts', 'train=-1'], "counts['train']=-1"),
    (['prepare_dataset', 'toy', '--root', 'x', '--counts', 'train'], 'SPLIT=NUMBER'),
    (['evaluate', 'a', '--truth', 'b', '--ids', 'c', '--classes', 'toy'], 'c: not readable as a list'),
], ids=lambda v: ' '.join(v) if isinstance(v, list) else '')
def test_what_cannot_work_is_one_message(line, words, call_tool, tmp_path, monkeypatch):
    if '--amp' in line and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    monkeypatch.chdir(tmp_path)
    Path('broken.py').write_text('model = dict(type=\n')
    said = call_tool(*line)
    assert said.code == 2 and said.err.count('error: ') == 1 and words in said.err and 'Traceback' not in said.err


def test_drawing_and_checking_a_small_toy(call_tool, tmp_path):
    counts = [f'{split}=1' for split in ('train', 'val', 'test', 'test_decor', 'ood', 'ood_test')]
    root = tmp_path / 'toy'
    said = call_tool('prepare_dataset', 'toy', '--root', root, '--workers', 1, '--counts', *counts)
    assert said.code == 0 and f'complete: {root}' in said.out
    assert len(list((root / 'JPEGImages').iterdir())) == 6
    assert call_tool('prepare_dataset', 'check', '--root', root).code == 0
    (root / 'Annotations/train_00000.xml').unlink()
    said = call_tool('prepare_dataset', 'check', '--root', root)
    assert said.code == 1 and 'train_00000.xml' in said.out

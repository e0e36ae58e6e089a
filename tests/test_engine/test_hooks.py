"""What a finished training leaves: the chain's marker, and labels made at once."""

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict

from wsss_mm.engine import stages
from wsss_mm.pseudo_labels.run import LabellingRun

ROOT = Path(__file__).resolve().parents[2]


def test_labels_right_after_a_training_on_two_ranks(label_config, toy_root, tmp_path, contents, run_line, monkeypatch):
    """Each rank labels its share; the files are those that the labelling tool makes with final.pth."""
    config = label_config(tmp_path, text=f"""
prerequisites = []
custom_hooks = [dict(type='wsss_mm.StageHook'), dict(type='wsss_mm.PseudoLabelHook')]
model_wrapper_cfg = dict(device_ids=[0])   # of a machine with GPUs
train_cfg = dict(max_iters=2)
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False,
                        dataset=dict(data_root='{toy_root}'))""")
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    run_line([sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone',
              str(ROOT / 'tools/train.py'), config, '--no-prerequisites'], tmp_path)
    cfg = Config.fromfile(config)
    record = json.loads((tmp_path / 'classifier/stage.json').read_text())
    assert record['iterations'] == 2 and stages.why_incomplete(stages.Stage('train', config)) is None
    assert stages.why_incomplete(stages.Stage('labels', config)) is None
    cfg.pseudo_labels.out_dir = str(tmp_path / 'anew')
    run = LabellingRun(cfg)
    assert run.checkpoint == tmp_path / 'classifier/final.pth' and run.run()['complete']
    assert contents(tmp_path / 'anew') == contents(tmp_path / 'labels')
    assert len(json.loads((tmp_path / 'anew/run.json').read_text())['outputs']) == 2
    weights = torch.load(run.checkpoint, weights_only=True)
    assert weights['meta'] == dict(iter=2, config='classifier.py')


@pytest.fixture
def settings():
    """Hashes of a training config with some settings changed."""
    def hashes(**changes):
        cfg = ConfigDict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.1)),
                         load_from=None, model=dict(type='X'), train_dataloader=dict(num_workers=1))
        cfg.update(ConfigDict(changes))
        return stages.training_settings(cfg)
    return hashes


def test_how_it_is_computed_is_no_setting(settings):
    amp = dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=.1), loss_scale='dynamic', dtype='float16')
    assert settings(optim_wrapper=amp) == settings()
    assert settings(train_dataloader=dict(num_workers=8)) == settings()
    resumed = settings(resume=True, load_from='work/iter_5.pth')
    assert 'load_from' not in resumed and resumed.items() < settings().items()


def test_what_decides_the_weights_is_a_setting(settings):
    assert settings(load_from='other.pth')['load_from'] != settings()['load_from']
    faster = dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=.2), loss_scale='dynamic')
    assert settings(optim_wrapper=faster)['optim_wrapper'] != settings()['optim_wrapper']

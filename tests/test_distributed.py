"""Training in two processes on a CPU: the same gradients as one, equal weights; labels and training under torchrun."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import distributed as dist

from wsss_mm.datasets.supervision import MixedSupervisionSampler
from wsss_mm.distributed import in_processes, local_device, own_line, set_up_launcher, shut_down, start_again
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
TINY = """
prerequisites = []
find_unused_parameters = False
train_cfg = dict(max_iters=3)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root='{root}'))
custom_hooks = [dict(type='wsss_mm.StageHook')]
"""


@pytest.fixture
def two_ranks(at_once):
    """Run a function of the rank in two processes that know of each other as torchrun's do."""

    def run(function):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]

        def rank(number):
            os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE='2', LOCAL_WORLD_SIZE='2',
                              MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
            function(number)
            shut_down()
        at_once(*[lambda number=number: rank(number) for number in range(2)])
    return run


@pytest.fixture
def training(label_config, toy_root, tmp_path):
    return label_config(tmp_path, text=TINY.format(root=toy_root))


def test_two_ranks_train_the_same_weights_on_different_images(training, two_ranks, tmp_path):
    def train(rank):
        cfg = Config.fromfile(training)
        set_up_launcher(cfg)
        assert (cfg.launcher, dist.get_backend(), cfg.model_wrapper_cfg['device_ids']) == ('pytorch', 'gloo', None)
        runner = Runner.from_cfg(cfg)
        seen, losses = [], []
        plain = runner.model.train_step

        def train_step(data, **options):
            seen.extend(sample.img_path for sample in data['data_samples'])
            values = plain(data, **options)
            losses.append(float(values['loss']))
            return values
        runner.model.train_step = train_step
        runner.train()
        torch.save(dict(weights=runner.model.module.state_dict(), seen=seen, losses=losses), tmp_path / f'{rank}.pth')

    two_ranks(train)
    first, second = (torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in range(2))
    assert len(first['seen']) == len(second['seen']) == 6 and not {*first['seen']} & {*second['seen']}
    assert torch.tensor(first['losses'] + second['losses']).isfinite().all() and first['losses'] != second['losses']
    final = torch.load(tmp_path / 'classifier/final.pth', weights_only=True)['state_dict']
    assert json.loads((tmp_path / 'classifier/stage.json').read_text())['iterations'] == 3
    for name, value in final.items():
        assert torch.equal(value, first['weights'][name])
        if 'running_' not in name:    # batch statistics are each rank's own
            assert torch.equal(value, second['weights'][name]), name


def test_two_ranks_have_the_gradient_of_one_with_both_images(training, two_ranks, tmp_path, classifier):
    """Batch norm with running statistics; 2 x 1 images against 1 x 2."""
    cfg = Config.fromfile(training)
    tags = torch.tensor([[1., 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]])
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255

    def gradients(rows, wrap):
        model = MODELS.build(cfg.model)
        model.load_state_dict(torch.load(classifier, weights_only=True)['state_dict'])
        model.eval()
        samples = []
        for row in rows:
            sample = SegDataSample(metainfo=dict(img_shape=(64, 64)))
            sample.gt_label = tags[row]
            bg = torch.zeros(1, 64, 64, dtype=torch.uint8)
            bg[:, :, :32] = 1
            sample.gt_bg_mask = PixelData(data=bg)
            sample.gt_instances = InstanceData(bboxes=torch.tensor([[32., 8, 60, 50]]), labels=torch.tensor([row]))
            samples.append(sample)
        data = dict(inputs=list(images[rows].to(torch.uint8)), data_samples=samples)
        outer = MMDistributedDataParallel(module=model, device_ids=None, broadcast_buffers=False) if wrap else model
        data = model.data_preprocessor(data, True)
        losses = outer(data['inputs'], data['data_samples'], mode='loss')
        model.parse_losses(losses)[0].backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    def rank(number):
        dist.init_process_group('gloo')
        found = gradients([number], wrap=True)
        torch.save(found, tmp_path / f'{number}.pth')
    two_ranks(rank)
    both = [torch.load(tmp_path / f'{number}.pth', weights_only=True) for number in range(2)]
    expected = gradients([0, 1], wrap=False)
    assert len(expected) > 5 and any(g.abs().max() > 1e-3 for g in expected.values())
    for name, gradient in expected.items():
        scale = gradient.abs().max().clamp_min(1e-3)
        for found in both:
            assert (found[name] - gradient).abs().max() / scale < 1e-5, name


def test_ranks_draw_other_images(monkeypatch):
    class Images:
        def __len__(self):
            return 40

        def get_data_info(self, i):
            return dict(supervision='masks' if i < 8 else 'tags')

    for build in (lambda: DATA_SAMPLERS.build(dict(type='InfiniteSampler', dataset=Images(), seed=3)),
                  lambda: DATA_SAMPLERS.build(dict(type='DefaultSampler', dataset=Images(), seed=3)),
                  lambda: MixedSupervisionSampler(Images(), 4, 1, seed=3)):
        seen = []
        for rank in range(2):
            for where in ('mmengine.dataset.sampler', 'wsss_mm.datasets.supervision'):
                monkeypatch.setattr(f'{where}.get_dist_info', lambda rank=rank: (rank, 2), raising=False)
            stream = iter(build())
            seen.append([next(stream) for _ in range(12)])
        assert seen[0] != seen[1]
        # of the whole list both together see nothing twice; masks are few, and come round in a stream of their own
        tags = [i for part in seen for i in part if i >= 8]
        assert len(set(tags)) == len(tags)


def test_labels_and_a_training_under_torchrun(training, classifier, run_line, tmp_path, contents):
    tools = ROOT / 'tools'
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    said = run_line([*launcher, str(tools / 'generate.py'), training, '--checkpoint', str(classifier)], tmp_path)
    assert said.stdout.count('16/16') == 1   # process 0 speaks for both, whoever ends the run
    assert 'Traceback' not in said.stderr
    cfg = Config.fromfile(training)
    two = Path(cfg.pseudo_labels.out_dir)
    cfg.pseudo_labels.out_dir = str(tmp_path / 'one')
    assert LabellingRun(cfg, classifier).run()['labelled'] == 16
    assert contents(tmp_path / 'one') == contents(two)
    run_line([*launcher, str(tools / 'train.py'), training, '--no-prerequisites'], tmp_path)
    assert (tmp_path / 'classifier/final.pth').is_file()
    assert len(list((tmp_path / 'classifier').glob('2*'))) == 1       # the ranks agreed on one log folder


# ---------------------------------------------------------------- command lines and refusals

def test_command_lines(monkeypatch):
    line = ['python', 'tools/train.py', 'c.py', '--no-prerequisites']
    assert in_processes(line, 1) == line
    assert in_processes(line, 4) == ['python', '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=4',
                                     *line[1:]]
    assert in_processes(['python', 'tools/generate.py', 'c.py'], 4)[-2:] == ['--nproc', '4']
    assert in_processes(['python', 'tools/trace.py', 'c.py'], 4) == ['python', 'tools/trace.py', 'c.py']
    for given in (['--nproc', '4'], ['--nproc=4']):
        monkeypatch.setattr('sys.argv', ['tools/generate.py', *given, 'c.py', '--device', 'cpu'])
        assert own_line('--nproc')[1:] == ['tools/generate.py', 'c.py', '--device', 'cpu']


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    for variable in ('LOCAL_RANK', 'SLURM_LOCALID'):
        found = []
        for number in range(3):
            monkeypatch.setenv(variable, str(number))
            found.append(local_device())
        assert found == ['cuda:0', 'cuda:1', 'cuda:0']
        monkeypatch.delenv(variable)
    assert local_device() == 'cuda:0'
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    assert local_device() == 'cpu'


def test_one_process_is_left_alone_and_a_launcher_of_others_kept(monkeypatch):
    cfg = Config()
    set_up_launcher(cfg)
    assert dict(cfg) == dict(launcher='none')
    set_up_launcher(cfg, 'slurm')
    assert dict(cfg) == dict(launcher='slurm', find_unused_parameters=True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 8)
    for name, value in dict(RANK='1', LOCAL_RANK='1', WORLD_SIZE='8', LOCAL_WORLD_SIZE='8').items():
        monkeypatch.setenv(name, value)
    cfg = Config(dict(find_unused_parameters=False))
    set_up_launcher(cfg)      # a GPU each: mmengine's own way
    assert dict(cfg) == dict(launcher='pytorch', find_unused_parameters=False)


def test_a_command_runs_itself_in_several_processes(tmp_path, monkeypatch):
    script = tmp_path / 'tool.py'
    script.write_text("""
import os, pathlib, signal, sys
rank = os.environ['LOCAL_RANK']
pathlib.Path(sys.argv[0]).with_name(rank).write_text(' '.join(sys.argv[1:]))
os.kill(os.getpid(), signal.SIGKILL) if rank == '1' else sys.exit(int(rank))
""")
    monkeypatch.setattr('sys.argv', [str(script), 'c.py', '--nproc', '3', '--verify'])
    assert start_again(3, '--nproc') == [0, -9, 2]
    assert [(tmp_path / str(i)).read_text() for i in range(3)] == ['c.py --verify'] * 3


@pytest.mark.parametrize(('line', 'environment', 'said'), [
    (['train', 'configs/bap/classifier_toy.py'], dict(RANK='0', WORLD_SIZE='2'), 'a chain of stages under torchrun'),
    (['train', 'configs/bap/classifier_toy.py', '--nproc', '2'], dict(RANK='0', WORLD_SIZE='2'), 'under torchrun'),
    (['generate', 'configs/box_baselines/box_fill_toy.py', '--nproc', '0'], {}, '--nproc 0')])
def test_refusals(call_tool, monkeypatch, line, environment, said):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = call_tool(*line)
    assert found.code == 2 and said in found.err

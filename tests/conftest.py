"""Shared by all tests: one thread, the mmseg scope, the parity fixtures, a toy VOC, the tools as a user calls them."""

import contextlib
import multiprocessing
import os
import signal

os.environ.setdefault('OMP_NUM_THREADS', '1')

import runpy  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[1]
NO_IMAGES = dict(train=0, val=0, test=0, test_decor=0, ood=0, ood_test=0)
SMALL_CLASSIFIER = """
model = dict(
    backbone=dict(channels=(16, 24, 32), init_cfg=None), head=dict(in_channels=32))
"""


@pytest.fixture(autouse=True)
def mmseg_scope():
    """Build parts as the shipped configs do."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def parity():
    """Load ``tests/data/parity/<name>.npz`` as a dict of tensors (arrays that torch cannot hold stay numpy)."""

    def load(name: str) -> dict:
        with np.load(ROOT / 'tests/data/parity' / f'{name}.npz', allow_pickle=False) as f:
            arrays = {k: f[k] for k in f.files}
        return {k: torch.from_numpy(v.copy()) if v.dtype.kind in 'fiub' and v.ndim else v for k, v in arrays.items()}
    return load


@pytest.fixture(scope='session')
def toy_root(tmp_path_factory):
    """Twelve training and four validation scenes of toy VOC; to be copied where a test changes it."""
    from wsss_mm.datasets.toy_voc import draw_toy_voc
    root = tmp_path_factory.mktemp('toy') / 'boxes_world0'
    draw_toy_voc(root, 'boxes', 0, {**NO_IMAGES, 'train': 12, 'val': 4}, workers=1)
    return root


@pytest.fixture(scope='session')
def write_config():
    """Write a config that inherits a shipped one; returns its path."""

    def write(path: Path, base: str, text: str = '') -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"_base_ = '{ROOT / 'configs' / base}'\n{text}")
        return str(path)
    return write


@pytest.fixture(scope='session')
def label_config(write_config, toy_root):
    """Write a config that labels the small toy VOC with a small classifier."""

    def write(folder: Path, data_root: Path = toy_root, text: str = '') -> str:
        return write_config(folder / 'classifier.py', 'bap/classifier_toy.py', f"""
work_dir = '{folder}/classifier'
{SMALL_CLASSIFIER}
pseudo_labels = dict(out_dir='{folder}/labels', num_workers=0, dataset=dict(data_root='{data_root}'))
{text}""")
    return write


@pytest.fixture(scope='session')
def classifier(tmp_path_factory, label_config):
    """Checkpoint of the small classifier with random weights; the same ones in every session."""
    from mmengine.config import Config

    from wsss_mm.registry import MODELS
    folder = tmp_path_factory.mktemp('classifier')
    cfg = Config.fromfile(label_config(folder))
    generator = torch.Generator().manual_seed(0)
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=.3, generator=generator)
    torch.save(dict(state_dict=model.state_dict()), folder / 'final.pth')
    return folder / 'final.pth'


@pytest.fixture(scope='session')
def contents():
    """All files below a folder: relative path → bytes."""
    return lambda root: {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob('*'))
                         if p.is_file()}


def tool_line(name: str, *args: object) -> list[str]:
    """The command line of a tool."""
    return [sys.executable, str(ROOT / 'tools' / f'{name}.py'), *map(str, args)]


def tool_environment() -> dict[str, str]:
    """One thread, and the package found by nothing but PYTHONPATH."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith('TOY_')}
    return {**kept, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}


@pytest.fixture(scope='session')
def run_line():
    """Run a command in a process group of its own, of which nothing is left if it hangs."""

    def run(line: list[str], cwd: Path, code: int = 0) -> SimpleNamespace:
        with subprocess.Popen(line, cwd=cwd, env=tool_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, start_new_session=True) as process:
            try:
                out, err = process.communicate(timeout=240)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert process.returncode == code, f'{line}\n{out[-3000:]}\n{err[-3000:]}'
        return SimpleNamespace(stdout=out, stderr=err)
    return run


@pytest.fixture(scope='session')
def run_tool(run_line):
    """Run one of the tools in a process of its own."""
    return lambda cwd, name, *args, code=0: run_line(tool_line(name, *args), cwd, code)


@pytest.fixture
def start_tool():
    """Start one of the tools in a process group of its own; what is left of it is killed in the end."""
    started = []

    def start(cwd: Path, name: str, *args: object) -> subprocess.Popen:
        started.append(subprocess.Popen(
            tool_line(name, *args), cwd=cwd, env=tool_environment(), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
            # A shell in the background hands down an ignored SIGINT, which no Ctrl-C would then reach.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)))
        return started[-1]
    yield start
    for process in started:
        with process, contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope='session')
def at_once():
    """Run functions at the same time, each in a forked process; what goes wrong in one is the caller's error."""

    def run(*functions) -> None:
        processes = [multiprocessing.get_context('fork').Process(target=function) for function in functions]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            process.kill()
            process.join()
        assert [process.exitcode for process in processes] == [0] * len(processes)
    return run


@pytest.fixture
def call_tool(monkeypatch, capsys):
    """Run one of the tools in this process, which spares the imports; returns code, out, err."""

    def call(name: str, *args: object) -> SimpleNamespace:
        monkeypatch.syspath_prepend(str(ROOT / 'tools'))
        monkeypatch.setenv('PYTHONPATH', str(ROOT))
        monkeypatch.setattr(sys, 'argv', tool_line(name, *args)[1:])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            runpy.run_path(sys.argv[0], run_name='__main__')
        said = capsys.readouterr()
        return SimpleNamespace(code=left.value.code, out=said.out, err=said.err)
    return call

"""The documentation says what is so: links, paths, quoted messages, and config snippets that work."""

import ast
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from wsss_mm.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / 'README.md', *ROOT.glob('docs/**/*.md'), *ROOT.glob('configs/**/*.md'),
                *ROOT.glob('benchmarks/*.md'), *ROOT.glob('examples/*.md')])
STATIONS = ('structures', 'datasets', 'models', 'localization', 'explainers', 'refinement', 'pseudo_labels',
            'engine', 'evaluation', 'visualization')


@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_and_paths_exist(page):
    text = page.read_text()
    links = [link for link in re.findall(r'\]\(([^)#]+)', text) if '://' not in link]
    assert not [link for link in links if not (page.parent / link).exists()]
    # `configs/…`, `tools/…` and the like, also with {a,b}, but not the reader's own files
    named = re.findall(r'(?:^|[\s`(])((?:configs|tools|benchmarks|wsss_mm|tests)/[\w./{},-]+?\.(?:py|md))\b', text)
    named = [n for n in named if 'my_data' not in n and '{' not in n]
    assert not [n for n in named if not (ROOT / n).is_file()]


@pytest.mark.parametrize('method', sorted(p.parent.name for p in ROOT.glob('configs/*/README.md')))
def test_configs_of_the_tables_exist_and_none_is_left_out(method):
    text = (ROOT / f'configs/{method}/README.md').read_text()
    named = set()
    for name in re.findall(r'`([\w{},-]+\.py)`', text):
        stem, options, rest = re.match(r'([\w-]*)(?:\{([\w,]+)\})?([\w.-]*)', name).groups()
        named |= {f'{stem}{o}{rest}' for o in (options or '').split(',')}
    files = {p.name for p in (ROOT / f'configs/{method}').glob('*.py')}
    if '`*_toy.py`' in text and method != 'bap':   # then their tables are among the benchmarks
        files = {f for f in files if f in named or not f.endswith('_toy.py')}
    assert named == files


def test_quoted_messages_are_those_of_the_code():
    """Every heading of the troubleshooting page that does not name another package."""
    sources = [*ROOT.glob('wsss_mm/**/*.py'), *ROOT.glob('tools/*.py')]
    strings = [node.value for path in sources for node in ast.walk(ast.parse(path.read_text()))
               if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    page = (ROOT / 'docs/troubleshooting.md').read_text()
    headings = [line for line in page.splitlines() if line.startswith('### `') and '(from ' not in line
                and not re.search(r'registry|torch\.|UnpicklingError', line)]
    pieces = [piece.strip() for line in headings for quote in re.findall(r'`([^`]+)`', line)
              for piece in quote.split('…') if len(piece.strip()) > 2]
    assert len(pieces) > 30
    assert not [piece for piece in pieces if not any(piece in text for text in strings)]


def test_imports_run_left_to_right():
    """docs/contracts.md: no station imports one to its right."""
    wrong = []
    for path in ROOT.glob('wsss_mm/*/**/*.py'):
        station = path.relative_to(ROOT / 'wsss_mm').parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'wsss_mm':
                names = [f'{node.module}.{alias.name}' for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.startswith('wsss_mm.')]
            for imported in {name.split('.')[1] for name in names} & set(STATIONS):
                if STATIONS.index(imported) > STATIONS.index(station):
                    wrong.append((str(path), imported))
    assert not wrong


@pytest.fixture
def snippets(tmp_path, monkeypatch):
    """The README's configs as files, next to the shipped ones, and a data set such as it describes."""
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    for block in re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL):
        path = tmp_path / re.match(r'# (\S+)', block)[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)
    data = tmp_path / 'data/my_data'
    labels = [tmp_path / f'work_dirs/my_data/labels/{name}' for name in ('Y_crf', 'Y_ret')]
    for folder in (data / 'JPEGImages', data / 'Annotations', data / 'SegmentationClass',
                   data / 'ImageSets/Segmentation', *labels):
        folder.mkdir(parents=True)
    ids = ['one', 'two']
    for split in ('train', 'val'):
        (data / f'ImageSets/Segmentation/{split}.txt').write_text('\n'.join(ids))
    (data / 'tags.json').write_text('{"one": ["cat"], "two": []}')
    rng = np.random.default_rng(0)
    for image_id, name in zip(ids, ('cat', 'dog'), strict=True):
        Image.fromarray(rng.integers(0, 255, (70, 90, 3), np.uint8)).save(data / f'JPEGImages/{image_id}.jpg')
        (data / f'Annotations/{image_id}.xml').write_text(
            '<annotation><size><width>90</width><height>70</height></size><object><name>' + name +
            '</name><bndbox><xmin>11</xmin><ymin>1</ymin><xmax>60</xmax><ymax>70</ymax></bndbox></object></annotation>')
        mask = Image.fromarray(rng.integers(0, 3, (70, 90), np.uint8))
        for folder in (data / 'SegmentationClass', *labels):
            mask.save(folder / f'{image_id}.png')
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'configs/my_data'


def loss_of(cfg, keys):
    """One step's losses on the whole data set, without pretrained weights."""
    model = MODELS.build(cfg.model)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    data = [dataset[i] for i in range(len(dataset))]
    batch = model.data_preprocessor({k: [d[k] for d in data] for k in ('inputs', 'data_samples')}, True)
    losses = model(**batch, mode='loss')
    assert keys <= losses.keys() and all(torch.isfinite(losses[k]) for k in keys)


def test_own_data_classifier(snippets):
    cfg = Config.fromfile(snippets / 'classifier.py')
    cfg.model.head.in_channels = 320
    cfg.model.backbone = dict(type='MobileNetV2', out_indices=(6,))   # faster here than VGG-16
    for section in (cfg.train_dataloader, cfg.pseudo_labels):
        dataset = DATASETS.build(section.dataset)
        assert dataset.metainfo['classes'] == ('background', 'cat', 'dog')
    sample = dataset[0]['data_samples']
    assert sample.gt_instances.bboxes.tolist() == [[10, 0, 60, 70]] and sample.gt_label.tolist() == [1, 0]
    loss_of(cfg, {'loss_bap'})


def test_own_data_tags(snippets):
    cfg = Config.fromfile(snippets / 'tag_classifier.py')
    cfg.model.head.in_channels = 320
    cfg.model.backbone = dict(type='MobileNetV2', out_indices=(6,))
    dataset = DATASETS.build(cfg.pseudo_labels.dataset)
    assert [dataset[i]['data_samples'].gt_label.tolist() for i in range(2)] == [[1, 0], [0, 0]]
    loss_of(cfg, {'loss_cls'})


def test_own_data_segmentor(snippets):
    cfg = Config.fromfile(snippets / 'segmentor.py')
    # with one map, mmseg's MobileNetV2 returns it bare, which decode heads take for a tuple
    cfg.model.backbone = dict(type='MobileNetV2', out_indices=(4, 6))
    cfg.model.decode_head.in_channels = 320
    loss_of(cfg, {'decode.loss_ce', 'decode.loss_wce'})
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        dataset = DATASETS.build(loader.dataset)
        assert len(dataset) == 2 and dataset[0]['data_samples'].gt_sem_seg.data.max() <= 2
    assert cfg.prerequisites == [dict(run='labels', config='configs/my_data/classifier.py')]


def test_another_backbone(snippets):
    cfg = Config.fromfile(snippets / 'classifier_mobilenet.py')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        assert model.class_maps(torch.zeros(1, 3, 64, 96)).shape == (1, 20, 8, 12)

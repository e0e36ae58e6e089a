"""docs/importing.md: its program runs, and its configs are a chain from the maps to the segmentor."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from wsss_mm.engine import stages
from wsss_mm.pseudo_labels import ImportedMaps, IRNConfidentLabels
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.registry import DATASETS, TASK_UTILS
from wsss_mm.structures import ClassMaps
from wsss_mm.visualization import build

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page's Python blocks as files, next to the shipped configs; the working directory is there."""
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs', ignore=shutil.ignore_patterns('*.md', '*.yml'))
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/importing.md').read_text(), re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        path = tmp_path / re.match(r'# (\S+)', block)[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_configs_are_a_chain(page):
    cfg = stages.load_config('configs/my_data/clip_deeplabv2.py')
    found = [(s.run, Path(s.config).name) for s in stages.in_order(stages.direct_prerequisites(cfg)) if s.run != 'data']
    assert found == [('labels', 'clip_maps.py'), ('labels', 'clip_confident.py'), ('train', 'clip_affinity.py'),
                     ('labels', 'clip_affinity.py')]
    chain = {name: stages.load_config(f'configs/my_data/clip_{name}.py') for name in ('maps', 'confident', 'affinity')}
    maps = chain['maps'].pseudo_labels.out_dir + '/maps'
    for name in ('confident', 'affinity'):
        assert chain[name].pseudo_labels.generator.map_dir == maps
    for name, before in ((chain['affinity'], chain['confident']), (cfg, chain['affinity'])):
        assert name.train_dataloader.dataset.label_dirs.seg_map == before.pseudo_labels.out_dir + '/labels'
    assert isinstance(TASK_UTILS.build(chain['maps'].pseudo_labels.generator), ImportedMaps)
    assert isinstance(TASK_UTILS.build(chain['confident'].pseudo_labels.generator), IRNConfidentLabels)
    assert build._checked(cfg.report)['rows'][0]['name'] == 'CLIP'
    assert all('clip' in row['labels'] for row in cfg.report.rows)


def test_the_program_and_the_import(page, toy_root):
    """Scores written by the page's program, imported with the page's options, taken up by IRN's first stage."""
    program: dict = {}
    exec((page / 'save_clip_maps.py').read_text(), program)
    options = Config.fromfile('configs/my_data/clip_maps.py').pseudo_labels.generator
    cfg = Config.fromfile('configs/imported/maps_toy.py')
    cfg.pseudo_labels.dataset.data_root = str(toy_root)
    cfg.pseudo_labels.update(out_dir='labels', num_workers=0)
    cfg.pseudo_labels.generator.update(map_dir='clip', normalize=options.normalize, threshold=options.threshold)
    dataset = DATASETS.build(cfg.pseudo_labels.dataset)
    names, tags, written = dataset.metainfo['classes'], {}, {}
    for i in range(len(dataset)):
        data = dataset[i]['data_samples']
        tags[data.img_id] = [names[c + 1] for c in data.gt_label.nonzero().flatten().tolist()]
    suffix = Path(dataset.get_data_info(0)['img_path']).suffix
    (page / 'jpeg').mkdir()
    for image_id in tags:
        with Image.open(toy_root / f'JPEGImages/{image_id}{suffix}') as image:
            image.convert('RGB').save(page / f'jpeg/{image_id}.jpg')

    def score(image, wanted):
        rng = np.random.default_rng(len(written))
        written[len(written)] = rng.normal(20, 3, (len(wanted), 14, 14)).astype(np.float32)
        assert image.size == (96, 96)
        return written[len(written) - 1]
    program['save_maps'](score, 'jpeg', tags, 'clip')
    assert LabellingRun(cfg).run()['complete']
    for number, (image_id, of_image) in enumerate((i, t) for i, t in tags.items() if t):
        found = ClassMaps.load(f'labels/maps/{image_id}.npz')
        assert [names[i] for i in found.class_ids] == of_image
        low, high = (f(written[number], (1, 2), keepdims=True) for f in (np.min, np.max))
        np.testing.assert_allclose(found.maps, (written[number] - low) / (high - low), atol=1e-3)
    cfg.pseudo_labels.out_dir = 'confident'
    cfg.pseudo_labels.generator = dict(
        type='wsss_mm.IRNConfidentLabels', map_dir='labels/maps', foreground=.6, background=.2, confidence=.7,
        refiner=dict(type='wsss_mm.DenseCRF', preset='irn', iterations=1))
    assert LabellingRun(cfg).run()['complete']

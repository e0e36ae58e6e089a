"""The configs for one's own data: they load, learn and label, and nothing of the toy or VOC is left in them."""

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict

from wsss_mm.datasets.own_data import Request, prepare_own_data, write_configs
from wsss_mm.engine import stages
from wsss_mm.errors import ConfigError
from wsss_mm.files import label_png
from wsss_mm.registry import DATASETS, MODELS, TASK_UTILS
from wsss_mm.visualization import build

from .own import write_mask, write_pictures

SECTIONS = ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'pseudo_labels', 'report',
            'prerequisites', 'work_dir', 'data_root')
NAMES = ['boxes_classifier', 'boxes_deeplab', 'dataset', 'masks_deeplab', 'mixed_classifier', 'mixed_deeplab',
         'tags_classifier', 'tags_deeplab', 'tags_labels']


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Eight pictures, all with tags, four with boxes, four with masks; the working directory is above them."""
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / 'pictures', {f'IMG {i}.jpg': (40, 48) for i in range(8)})
    (tmp_path / 'tags.csv').write_text('file,tags\n' + ''.join(f'IMG {i},{["cat", "dog"][i % 2]}\n' for i in range(8)))
    (tmp_path / 'boxes.csv').write_text('file,class,x1,y1,x2,y2\n' + ''.join(
        f'IMG {i},{["cat", "dog"][i % 2]},4,6,30,36\n' for i in range(4)))
    for i in range(2, 6):
        mask = np.zeros((40, 48), int)
        mask[6:36, 4:30] = 1 + i % 2
        write_mask(tmp_path / f'masks/IMG {i}.png', mask)

    def make(*kinds, **options):
        paths = dict(tags='tags.csv', boxes='boxes.csv', masks='masks')
        request = Request('pictures', 'data/mine', **{k: paths[k] for k in kinds}, val='.5',
                          mask_classes=('cat', 'dog') if 'masks' in kinds else None)
        said = []
        marker = prepare_own_data(request, said.append)
        found = write_configs('data/mine', marker, stages.find_config, say=said.append, **options)
        return found, '\n'.join(said)
    return make


def nodes(value):
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for item in value if isinstance(value, (list, tuple)) else ():
        yield from nodes(item)


def fake_labels(cfg, tmp_path):
    """Labels where the config looks for them, of the images of its list."""
    dirs = cfg.train_dataloader.dataset.get('label_dirs') or {}
    for folder in dirs.values():
        for image_id in (tmp_path / 'data/mine/ImageSets/Segmentation/all.txt').read_text().split():
            path = tmp_path / folder / f'{image_id}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(label_png(np.full((40, 48), 2, np.uint8), [[0, 0, 0]] * 3))


def one_step(cfg):
    """Losses of a step on two images, with random weights."""
    model = ConfigDict(cfg.model.to_dict())
    for node in nodes(model):
        node.pop('init_cfg', None)
    if 'size' in model.data_preprocessor:
        assert tuple(model.data_preprocessor.size) == (48, 48)
    model = MODELS.build(model)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    data = [dataset[i] for i in range(2)]
    losses = model(**model.data_preprocessor({k: [d[k] for d in data] for k in data[0]}, True), mode='loss')
    values = {k: v for k, v in losses.items() if 'loss' in k}
    assert values and all(torch.isfinite(v) for v in values.values())


@pytest.mark.parametrize('backbone', ['small', 'resnet50'])
def test_every_config_learns_and_labels(data, tmp_path, backbone):
    found, _ = data('tags', 'boxes', 'masks', backbone=backbone)
    paths = sorted((tmp_path / 'data/mine/configs').glob('*.py'))
    assert [p.stem for p in paths] == NAMES
    assert sorted(found) == ['boxes', 'masks', 'mixed', 'tags']
    for path in paths:
        if path.stem == 'dataset':
            continue
        cfg = Config.fromfile(path)
        kept = {k: cfg[k].to_dict() if isinstance(cfg.get(k), dict) else cfg.get(k) for k in SECTIONS}
        assert not [text for text in ('toy_', 'VOC2012', 'ToyVOC', 'WeakVOC', 'textures', 'trainaug')
                    if text in str(kept)], path
        classes = {n['num_classes'] for n in nodes(kept['model']) if 'num_classes' in n}
        assert classes <= {2, 3}, (path, classes)
        dataset = DATASETS.build(cfg.pseudo_labels.dataset)
        assert dataset.metainfo['classes'] == ('background', 'cat', 'dog')
        assert len({tuple(c) for c in dataset.metainfo['palette']}) == 3
        TASK_UTILS.build(cfg.pseudo_labels.generator)
        if cfg.get('train_cfg'):
            fake_labels(cfg, tmp_path)
            if backbone == 'resnet50' and path.stem == 'mixed_classifier':   # on small crops, for the time it takes
                cfg.model.data_preprocessor.size = (48, 48)
                crop, = (t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'wsss_mm.RandomCropWithBoxes')
                crop.crop_size = 48
            if backbone == 'small' or path.stem == 'mixed_classifier':   # the others are those of test_configs.py
                one_step(cfg)
            else:
                DATASETS.build(cfg.train_dataloader.dataset)
        if cfg.get('report'):
            build._checked(cfg.report)
            assert len(DATASETS.build(cfg.val_dataloader.dataset)) == 2


def test_the_chain_of_each_kind(data):
    found, _ = data('tags', 'boxes', 'masks')
    runs = {kind: [(s.run, s.config.split('/')[-1][:-3]) for s in stages.in_order([stages.to_stage(dict(
        run='train', config=str(path)))]) if s.run != 'data'] for kind, path in found.items()}
    assert runs['masks'] == [('train', 'masks_deeplab')]
    assert runs['boxes'] == [('train', 'boxes_classifier'), ('labels', 'boxes_classifier'), ('train', 'boxes_deeplab')]
    assert runs['tags'] == [('train', 'tags_classifier'), ('labels', 'tags_classifier'), ('labels', 'tags_labels'),
                            ('train', 'tags_deeplab')]


def test_without_masks_nothing_is_scored(data):
    found, _ = data('tags')
    assert sorted(found) == ['tags']
    cfg = Config.fromfile(found['tags'])
    assert cfg.val_dataloader is cfg.val_cfg is cfg.val_evaluator is cfg.test_dataloader is cfg.report is None


def test_iterations_and_schedule(data):
    found, _ = data('tags', iterations=50)
    cfg = Config.fromfile(found['tags'])
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == 50
    assert Config.fromfile(data('tags')[0]['tags']).train_cfg.max_iters == 400
    for wrong in (dict(iterations=3), dict(backbone='vit')):
        with pytest.raises(ConfigError):
            data('tags', **wrong)


def test_an_edited_config_stays(data):
    path = data('tags')[0]['tags']
    path.write_text(path.read_text() + 'log_level = "WARNING"\n')
    _, said = data('tags', iterations=50)
    assert f'{path} was edited and stays as it is' in said and path.read_text().endswith('"WARNING"\n')
    classifier = path.with_name('tags_classifier.py')
    assert 'max_iters = 50' in classifier.read_text()   # that one was not
    path.unlink()
    data('tags', iterations=50)
    assert 'max_iters = 50' in path.read_text()


# ---- the command

def test_the_command(data, call_tool, tmp_path):
    line = ('prepare_dataset', 'custom', '--images', 'pictures', '--tags', 'tags.csv', '--out', 'out')
    done = call_tool(*line, '--classes', 'dog', 'cat')
    assert done.code == 0 and '(100 %)' in done.out
    assert 'dog 4' in done.out and '8 to train on' in done.out and 'train out/configs/tags_deeplab.py' in done.out
    again = call_tool(*line)
    assert again.code == 2 and 'changed: classes' in again.err and 'rm -r out' in again.err
    assert call_tool('prepare_dataset', 'custom', '--images', 'gone', '--tags', 'tags.csv', '--out', 'x').code == 2
    checked = call_tool('prepare_dataset', 'check', '--root', 'out', '--workers', '0')
    assert checked.code == 0, checked.out


def test_help_has_examples(call_tool):
    said = call_tool('prepare_dataset', 'custom', '--help')
    assert said.code == 0 and said.out.count('prepare_dataset.py custom --images') >= 4

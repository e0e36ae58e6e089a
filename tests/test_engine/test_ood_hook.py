"""Centres before a W-OoD training: from whole images, once, the same on all ranks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_mm.datasets.toy_voc import draw_toy_voc
from wsss_mm.engine import OoDCentresHook, ood_hook
from wsss_mm.errors import ConfigError
from wsss_mm.models.objectives.ood_centres import kmeans
from wsss_mm.registry import DATASETS, MODELS

LOAD, PACK = dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.PackWeakInputs')
FAST = [LOAD, dict(type='wsss_mm.RandomLongSide', low=120, high=120), PACK]
CROP = dict(type='wsss_mm.RandomCropWithBoxes', crop_size=32)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Seven scenes and five OoD images, some of another size."""
    folder = tmp_path_factory.mktemp('toy')
    draw_toy_voc(folder, 'tags', 0, dict(train=7, val=0, test=0, test_decor=0, ood=5, ood_test=0), workers=1)
    for name in ('train_00002', 'train_00005', 'ood_00001'):
        path = folder / f'JPEGImages/{name}.jpg'
        Image.open(path).resize((96, 64)).save(path, quality=95)
    return folder


@pytest.fixture
def training(root):
    """A runner with the model and the data of a W-OoD training, all that the hook looks at."""

    def make(iteration=0, objective=None, dataset=None):
        torch.manual_seed(0)
        model = MODELS.build(dict(
            type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ToyNet', channels=(8, 8, 12)),
            head=dict(type='wsss_mm.GAPHead', num_classes=6, in_channels=12),
            objectives=[objective or dict(
                type='wsss_mm.OutOfDistribution', num_classes=6, in_channels=12, clusters=3)],
            data_preprocessor=dict(type='SegDataPreProcessor', mean=[110.] * 3, std=[60.] * 3, bgr_to_rgb=True)))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.running_mean, -.1, .1)
        data = DATASETS.build(dataset or dict(
            type='wsss_mm.WithOoDImages',
            dataset=dict(type='wsss_mm.ToyVOCDataset', serialize_data=False, data_root=str(root),
                         ann_file='ImageSets/Segmentation/train.txt',
                         pipeline=[LOAD, dict(type='wsss_mm.LoadWeakLabels', boxes=False), CROP, PACK]),
            ood=dict(type='wsss_mm.OoDImages', serialize_data=False, data_root=str(root),
                     ann_file='ImageSets/Segmentation/ood.txt',
                     data_prefix=dict(img_path='JPEGImages'), pipeline=[LOAD, CROP, PACK])))
        return SimpleNamespace(model=model.train(), iter=iteration, train_dataloader=SimpleNamespace(dataset=data))
    return make


@torch.no_grad()
def one_by_one(runner, long_side):
    """Both centres by a loop over the images."""
    model, data = runner.model.eval(), runner.train_dataloader.dataset

    def feature(dataset, i, long_side):
        image = Image.open(dataset.get_data_info(i)['img_path'])
        if long_side:
            factor = long_side / max(image.size)
            image = image.resize(tuple(round(n * factor) for n in image.size), Image.Resampling.BICUBIC)
        x = torch.from_numpy((np.asarray(image).transpose(2, 0, 1).astype(np.float32) - 110) / 60)
        return model.extract_feat(x[None])[0].mean((0, 2, 3))

    by_class = [[] for _ in range(6)]
    for i in range(len(data)):
        for label in data.get_cat_ids(i):
            by_class[label].append(feature(data.dataset, i, None))
    classes = torch.stack([torch.stack(found).mean(0) if found else torch.zeros(12) for found in by_class])
    ood = torch.stack([feature(data.ood, i, long_side) for i in range(len(data.ood))])
    return classes, kmeans(ood, 3)


@pytest.mark.parametrize('options', [
    {}, dict(batch_size=4, ood_pipeline=FAST), dict(batch_size=2, ood_pipeline=FAST, num_workers=1)])
def test_centres_are_those_of_whole_images(training, options):
    runner = training()
    classes, clusters = one_by_one(training(), 120 if options else 500)
    before = {k: v.clone() for k, v in runner.model.state_dict().items() if 'centres' not in k}
    OoDCentresHook(**options).before_train(runner)
    objective = runner.model.objectives[0]
    assert objective.ready and runner.model.training and runner.model.backbone.stem[1].training
    torch.testing.assert_close(objective.centres_in, classes, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(objective.centres_ood, clusters, rtol=1e-4, atol=1e-5)
    after = runner.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_pipelines_of_ones_own(training):
    runner, own = training(), training()
    OoDCentresHook(ood_pipeline=FAST).before_train(runner)
    OoDCentresHook(ood_pipeline=[LOAD, PACK]).before_train(own)
    assert torch.equal(own.model.objectives[0].centres_in, runner.model.objectives[0].centres_in)
    assert not torch.allclose(own.model.objectives[0].centres_ood, runner.model.objectives[0].centres_ood)


def test_no_random_numbers_are_drawn(training):
    runner = training()
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(()), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    OoDCentresHook(ood_pipeline=FAST).before_train(runner)
    assert (torch.rand(()), np.random.rand()) == expected


def test_ranks_share_the_images(training, monkeypatch):
    """What two ranks add up is what one finds; every image is run by one of them."""
    whole = training()
    OoDCentresHook(ood_pipeline=FAST, batch_size=2).before_train(whole)
    parts = {}
    for rank in (0, 1):
        parts[rank] = []
        monkeypatch.setattr(ood_hook, 'get_dist_info', lambda rank=rank: (rank, 2))
        monkeypatch.setattr(ood_hook, 'all_reduce', lambda x, rank=rank: parts[rank].append(x.clone()))
        runner = training()
        hook = OoDCentresHook(ood_pipeline=FAST, batch_size=2)
        hook.centres(runner.model.eval(), runner.model.objectives[0], runner.train_dataloader.dataset)
    sums, counts, features = (a + b for a, b in zip(*parts.values(), strict=True))
    objective = whole.model.objectives[0]
    torch.testing.assert_close((sums / counts.clamp_min(1)[:, None]).float(), objective.centres_in)
    torch.testing.assert_close(kmeans(features, 3), objective.centres_ood)
    assert all(((a == 0).all(1) | (b == 0).all(1)).all() for a, b in [(parts[0][2], parts[1][2])])
    assert parts[0][1].sum() > 0 and parts[1][1].sum() > 0


def test_a_resumed_training_keeps_its_centres(training):
    resumed = training(iteration=10)
    marks = torch.ones(6, 12), torch.ones(3, 12)
    resumed.model.objectives[0].set_centres(*marks)
    OoDCentresHook().before_train(resumed)
    assert torch.equal(resumed.model.objectives[0].centres_in, marks[0])
    fresh = training()   # one that continues another W-OoD training computes its own
    fresh.model.objectives[0].set_centres(*marks)
    OoDCentresHook(ood_pipeline=FAST).before_train(fresh)
    assert not torch.equal(fresh.model.objectives[0].centres_in, marks[0])


def test_what_it_needs_is_named(training, root):
    with pytest.raises(ConfigError, match='no OutOfDistribution objective'):
        OoDCentresHook().before_train(training(objective=dict(type='wsss_mm.AttentionMining')))
    plain = dict(type='wsss_mm.ToyVOCDataset', data_root=str(root), pipeline=[],
                 ann_file='ImageSets/Segmentation/train.txt')
    with pytest.raises(ConfigError, match='the training set is a ToyVOCDataset'):
        OoDCentresHook().before_train(training(dataset=plain))
    narrow = dict(type='wsss_mm.OutOfDistribution', num_classes=6, in_channels=16, clusters=3)
    runner = training(objective=narrow)
    with pytest.raises(ConfigError, match='12 channels'):
        OoDCentresHook().before_train(runner)
    assert runner.model.training
    few = dict(type='wsss_mm.OutOfDistribution', num_classes=5, in_channels=12, clusters=3)
    with pytest.raises(ConfigError, match='num_classes=5, but the images have tags of 6'):
        OoDCentresHook().before_train(training(objective=few))

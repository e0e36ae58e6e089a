"""Parts that no paper has together: trained, saved, loaded, labelled with. Two of them are docs/mixing.md's configs."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from PIL import Image

from wsss_mm.datasets.label_readers import read_image
from wsss_mm.localization import CAM, GradCAM
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.registry import MODELS
from wsss_mm.structures import ClassMaps

ROOT = Path(__file__).resolve().parents[1]
ITERS, SCALES = 3, (1., .5)
TRANSFORMER = """
model = dict(
    backbone=dict(
        _delete_=True, type='MixVisionTransformer', embed_dims=8, num_stages=3, num_layers=(1, 1, 1),
        num_heads=(1, 2, 4), patch_sizes=(7, 3, 3), strides=(4, 2, 1), sr_ratios=(4, 2, 1), out_indices=(2, ),
        drop_path_rate=0.),
    head=dict(type='wsss_mm.HSPPHead', in_channels=32, loss_images=3),
    objectives=[
        dict(type='wsss_mm.ErasingTriplet', begin=1, hard_only=False),
        dict(type='wsss_mm.AttentionSupervision', prior='outside', begin=1)])
train_dataloader = dict(
    sampler=dict(_delete_=True, type='wsss_mm.MixedSupervisionSampler', batch_size=4, extra_per_batch=3),
    dataset=dict(mask_count=4, box_count=4, pipeline=[
        dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.LoadWeakLabels'),
        dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )), dict(type='wsss_mm.PackWeakInputs')]))
pseudo_labels = dict(generator=dict(localizer=dict(localizer=dict(
    type='wsss_mm.GradCAM', layer='backbone.layers.2.1.0'))))
"""
RESNET = """
model = dict(
    backbone=dict(_delete_=True, type='wsss_mm.ResNetCAM', depth=18, base_channels=16, frozen_stages=1),
    neck=dict(type='wsss_mm.EmbeddingNeck', in_channels=128, channels=24),
    head=dict(type='wsss_mm.GMPHead', in_channels=24, on='maps'),
    objectives=[
        dict(type='wsss_mm.VisualWords', num_classes=6, in_channels=24, num_words=16, hist='mean', decorrelation=1.),
        dict(type='wsss_mm.ErasingTriplet', begin=1, hard_only=False)])
pseudo_labels = dict(generator=dict(localizer=dict(localizer=dict(type='wsss_mm.CAM', fuse='max'))))
"""
BOXES = """
model = dict(
    backbone=dict(channels=(8, 12, 16), init_cfg=None),
    head=dict(type='wsss_mm.BAPHead', in_channels=16),
    objectives=[
        dict(type='wsss_mm.AttentionMining', begin=1, chunk=3),
        dict(type='wsss_mm.VisualWords', num_classes=6, in_channels=16, num_words=16)])
train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.LoadWeakLabels'), dict(type='wsss_mm.PackWeakInputs')]))
pseudo_labels = dict(generator=dict(localizer=dict(
    localizer=dict(type='wsss_mm.CAM', fuse='max_norm'), flip_fusion='max', relu='after')))
"""


def snippets():
    """The files of docs/mixing.md by their names."""
    blocks = re.findall(r'```python\n(# (\S+)\n.*?)```', (ROOT / 'docs/mixing.md').read_text(), re.DOTALL)
    return {name: text for text, name in blocks}


@pytest.fixture
def write(tmp_path, toy_root, write_config, monkeypatch):
    """A mixture's config, cut down to the small toy VOC and a few iterations."""
    def write(text):
        monkeypatch.syspath_prepend(str(tmp_path))
        (tmp_path / 'my_parts.py').write_text(snippets()['my_parts.py'])
        path = write_config(tmp_path / 'mixed.py', 'cam/classifier_toy.py', re.sub(r"_base_ = '.*'\n", '', text))
        cfg = Config.fromfile(path)
        data = dict(data_root=str(toy_root))
        cfg.merge_from_dict(dict(
            work_dir=str(tmp_path / 'work'), prerequisites=[], train_cfg=dict(max_iters=ITERS), param_scheduler=[],
            train_dataloader=dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=data),
            pseudo_labels=dict(
                out_dir=str(tmp_path / 'labels'), num_workers=0, batch_size=3,
                dataset=dict(data, ann_file='ImageSets/Segmentation/val.txt'),
                generator=dict(localizer=dict(scales=SCALES)))))
        if cfg.model.backbone.type == 'wsss_mm.ToyNet':
            cfg.model.backbone.update(init_cfg=None, channels=(8, 12, 16))
            cfg.model.head.in_channels = 16
        for objective in cfg.model.objectives:
            if objective.type != 'wsss_mm.VisualWords':
                objective.begin = 1
        return cfg
    yield write
    sys.modules.pop('my_parts', None)
    MODELS._module_dict.pop('LSEHead', None)


@pytest.fixture
def train():
    """Train in this process; returns the runner and the losses of each iteration. Leaves nothing global behind."""
    kinds = (MessageHub, DefaultScope, MMLogger, Visualizer)
    before = [dict(kind._instance_dict) for kind in kinds]

    class Record(Hook):
        def __init__(self):
            self.losses = []

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.losses.append({k: float(v.detach()) for k, v in outputs.items()})

    def train(cfg):
        runner, record = Runner.from_cfg(cfg), Record()
        runner.model.init_weights()
        start = {k: v.clone() for k, v in runner.model.named_parameters()}
        runner.register_hook(record)
        runner.train()     # does not initialise a second time
        return runner, start, record.losses
    yield train
    for kind, instances in zip(kinds, before, strict=True):
        kind._instance_dict.clear()
        kind._instance_dict.update(instances)


@pytest.mark.parametrize(('text', 'losses'), [
    (snippets()['configs/my_data/mixed.py'], {'loss_cls', 'loss_am', 'loss_w2i', 'loss_word'}),
    (snippets()['configs/my_data/lse.py'], {'loss_cls', 'loss_am', 'loss_attract', 'loss_repel'}),
    (TRANSFORMER, {'loss_cls', 'loss_attract', 'loss_repel', 'loss_p', 'loss_bbox'}),
    (RESNET, {'loss_cls', 'loss_w2i', 'loss_word', 'loss_decorrelation', 'loss_attract', 'loss_repel'}),
    (BOXES, {'loss_bap', 'loss_am', 'loss_w2i', 'loss_word'}),
], ids=['MobileNet GPP mining words', 'own head mining triplet', 'transformer HSPP triplet masks',
        'ResNet max words triplet', 'boxes mining words'])
def test_a_mixture_trains_and_labels(text, losses, write, train):
    cfg = write(text)
    runner, start, logged = train(cfg)

    late = {'loss_am', 'loss_attract', 'loss_repel', 'loss_p', 'loss_bbox'}
    names = [{k for k in step if k.startswith('loss_')} for step in logged]
    assert names == [losses - late, losses, losses]
    assert np.isfinite([v for step in logged for v in step.values()]).all()
    assert all(max(step.get(name, 0) for step in logged) > 0 for name in losses)
    trained = {k: v for k, v in runner.model.named_parameters() if v.requires_grad}
    still = [k for k, v in trained.items() if torch.equal(v, start[k])]
    assert not still and {k.partition('.')[0] for k in trained} >= {'backbone', 'head'}

    run = LabellingRun(cfg, Path(cfg.work_dir) / 'final.pth')
    assert run.run() == dict(complete=True, labelled=4, skipped=0, failures={})
    model, localizer = runner.model.eval(), run.generator.localizer
    seen = []
    for i in range(4):
        info = run.dataset.get_data_info(i)
        image, tags = read_image(info['img_path']), info['img_labels']
        found = ClassMaps.load(f'{cfg.pseudo_labels.out_dir}/maps/{info["img_id"]}.npz')
        present = torch.zeros(1, 6)
        present[0, tags] = 1
        (expected,) = localizer.class_maps(model, [image], present)
        assert found.class_ids.tolist() == expected.class_ids.tolist() == [t + 1 for t in tags]
        assert np.abs(found.maps - expected.maps).max() < 1e-3
        seen.append(found.maps.max())
        label = np.array(Image.open(f'{cfg.pseudo_labels.out_dir}/labels/{info["img_id"]}.png'))
        assert label.shape == image.shape[:2] and set(np.unique(label)) <= {0, *(t + 1 for t in tags)}
    assert max(seen) > .9   # of hardly trained classes, some are negative everywhere


def test_what_the_page_says_of_grad_cam(write):
    """The map of the head's own layer is the class map where pooling averages, as the page's own head claims to."""
    torch.manual_seed(0)
    images, tags = torch.randn(2, 3, 96, 96), torch.eye(6, dtype=torch.bool)[:2] | torch.eye(6, dtype=torch.bool)[3]
    for text, same in ((snippets()['configs/my_data/lse.py'], True), (snippets()['configs/my_data/mixed.py'], False),
                       (BOXES, True)):
        model = MODELS.build(write(text).model)
        model.init_weights()
        model.eval()
        maps = [localizer.maps(model, images, tags) for localizer in (CAM(), GradCAM())]
        assert maps[0].abs().max() > 0
        assert torch.allclose(*maps, rtol=1e-4, atol=1e-6) == same
        if same:   # without the claim: the weights from a backward
            feature_map, pairs = model.head.select(model.extract_feat(images)), tags.nonzero()
            claimed = model.head.gradcam_weights(feature_map, pairs)
            model.head.averages = False
            torch.testing.assert_close(model.head.gradcam_weights(feature_map, pairs), claimed, rtol=1e-4, atol=1e-8)

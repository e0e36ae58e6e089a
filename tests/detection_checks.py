"""What tests/test_configs.py checks of detectors' configs and of those that make masks of objects."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from PIL import Image

from wsss_mm.registry import MODELS
from wsss_mm.structures import ImageSample, ObjectMaps

SIDE = 96


def small_detector(cfg, nodes):
    """The detector as it is, but thin, with random weights and few RoIs."""
    model = ConfigDict(cfg.model.to_dict())
    for node in nodes(model):
        node.pop('init_cfg', None)
        for key in ('nms_pre', 'max_per_img'):
            if key in node:
                node[key] = min(node[key], 32)
    if model.backbone.type == 'ResNet':
        model.backbone.depth, model.backbone.base_channels = 50, 4
        model.neck.in_channels = [16, 32, 64, 128]
        model.neck.out_channels = model.rpn_head.in_channels = model.rpn_head.feat_channels = 16
        for part in ('bbox_roi_extractor', 'mask_roi_extractor'):
            if part in model.roi_head:
                model.roi_head[part].out_channels = 16
        model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=16)
        if 'mask_head' in model.roi_head:
            model.roi_head.mask_head.update(in_channels=16, conv_out_channels=16)
    model.train_cfg.rcnn.sampler.num = 32
    return model


def check_widths(cfg):
    """The parts fit each other in their true sizes, without memory for them."""
    with torch.device('meta'):
        model = MODELS.build(ConfigDict(cfg.model.to_dict())).eval()
        maps = model.extract_feat(torch.zeros(1, 3, 128, 128))
        strides = [stride[0] for stride in model.rpn_head.prior_generator.strides]
        assert [128 // m.shape[2] for m in maps] == strides
        assert list(model.roi_head.bbox_roi_extractor.featmap_strides) == strides[:len(
            model.roi_head.bbox_roi_extractor.featmap_strides)]
        model.rpn_head(maps)
        width, classes = maps[0].shape[1], len(cfg.train_dataloader.dataset.metainfo.classes)
        scores, deltas = model.roi_head.bbox_head(torch.zeros(2, width, 7, 7))
        assert scores.shape == (2, classes + 1) and deltas.shape == (2, 4 * classes)
        if model.with_mask:
            assert model.roi_head.mask_head(torch.zeros(2, width, 14, 14)).shape == (2, classes, 28, 28)


def images(num_classes):
    """Two images with two objects each, whose masks have ignored pixels."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    rng = np.random.default_rng(0)
    samples, inputs = [], []
    for i in range(2):
        masks = np.zeros((2, SIDE, SIDE), np.uint8)
        masks[0, 10:50, 8:40], masks[0, 10:20, 8:40] = 1, 2
        masks[1, 12:80, 40:90] = rng.integers(0, 3, (68, 50))
        sample = DetDataSample(metainfo=dict(
            img_id=i + 1, img_path=f'{i}.jpg', ori_shape=(SIDE, SIDE), img_shape=(SIDE, SIDE), scale_factor=(1., 1.)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[8., 10., 40., 50.], [40., 12., 90., 80.]]), labels=torch.tensor(
                [i, (i + 3) % num_classes]), masks=BitmapMasks(masks, SIDE, SIDE))
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        samples.append(sample)
        inputs.append(torch.from_numpy(rng.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)))
    return dict(inputs=inputs, data_samples=samples)


def check_learning(cfg, model):
    """Finite losses that reach every weight which is to be trained; predictions of the right content."""
    num_classes = model.roi_head.bbox_head.num_classes
    model.train()
    total, values = model.parse_losses(model(**model.data_preprocessor(images(num_classes), True), mode='loss'))
    assert all(v.isfinite() for v in values.values()) and total > 0
    assert ('loss_mask' in values) == model.with_mask
    total.backward()
    weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert not [n for n, p in weights.items() if p.grad is None]
    assert all(p.grad.isfinite().all() for p in weights.values())
    model.eval()
    model.roi_head.test_cfg.score_thr = 0.
    with torch.no_grad():
        found = model(**model.data_preprocessor(images(num_classes), False), mode='predict')
    for sample in found:
        instances = sample.pred_instances
        assert len(instances) and instances.scores.isfinite().all() and instances.labels.max() < num_classes
        assert ('masks' in instances) == model.with_mask
        if model.with_mask:
            assert instances.masks.shape[1:] == (SIDE, SIDE)


def check_training_file(cfg, made):
    """The training reads a file that a stage before it writes, by which it names that stage; or the data's own."""
    from wsss_mm.engine import stages
    dataset = cfg.train_dataloader.dataset
    if dataset.get('labels_made_by'):
        folder = stages.load_config(dataset.labels_made_by).pseudo_labels.out_dir
        assert folder in made and dataset.ann_file == f'{folder}/instances.json'
    else:
        assert Path(dataset.ann_file).parent == Path(cfg.data_root) / 'annotations'


def check_maps(generator, model, root):
    """One box explained: a file that tells its annotation."""
    explainer = generator.explainer
    explainer.scale = None
    explainer.settings = dataclasses.replace(explainer.settings, n_jitter=20, iterations=2)
    data = images(model.roi_head.bbox_head.num_classes)
    sample = data['data_samples'][0]
    sample.set_metainfo(dict(img_id='a', annotations=[dict(id=7), dict(id=9)]))
    image = np.ascontiguousarray(data['inputs'][0].permute(1, 2, 0).numpy()[..., ::-1])
    ready = model.eval().data_preprocessor(dict(inputs=data['inputs'][:1], data_samples=[sample]))
    constants = generator.constants(model)
    with torch.no_grad():
        features, = generator.extract_batch(model, [image], ready['inputs'], ready['data_samples'])
    result = generator.label(ImageSample('a', image, np.zeros((2, 4)), np.zeros(2), np.zeros(2)), features, constants)
    (root / 'a.npz').write_bytes(result.files['objects/a.npz'])
    found = ObjectMaps.load(root / 'a.npz')
    assert found.ids.tolist() == [7, 9] and len(found) == 2


def check_masks(generator, root):
    """One box's mask made: an annotation with pixels, and a label map that says its class nowhere outside the box."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 48, 3), np.uint8)
    image[8:30, 6:30] = 200
    annotation = dict(id=7, image_id=1, category_id=4, bbox=[3, 5, 27, 28], area=756, iscrowd=0)
    boxes = np.array([[3, 5, 30, 33]], np.float32)
    sample = ImageSample('a', image, boxes, np.array([4]), np.array([4]), annotations=[annotation])
    if hasattr(generator, 'saved'):   # maps as its prerequisite saves them
        generator.saved.map_dir = str(root)
        one, zero = np.ones(1, np.float32), np.zeros(1, np.int64)
        maps = ObjectMaps('a', 40, 48, (40, 48), ids=np.array([7]), boxes=boxes, labels=np.array([4]), statuses=['ok'],
                          grids=[rng.random((8, 9)).astype(np.float32)], strides=one, positives=zero, iou_used=one,
                          iterations=zero, loss_box=one, loss_cls=one)
        (root / 'a.npz').write_bytes(maps.to_bytes())
    for number, _ in enumerate(getattr(generator, 'label_dirs', ())):
        generator.label_dirs[number] = str(root / str(number))
        (root / str(number)).mkdir()
        labels = np.zeros((40, 48), np.uint8)
        labels[8:30, 6:20 + number] = 4
        Image.fromarray(labels).save(root / str(number) / 'a.png')
    result = generator.label(sample, {}, {})
    content = json.loads(result.files['instances/a.json'])
    found, = content['instances']
    assert found['id'] == 7 and found['bbox'] == annotation['bbox'] and found['area'] > 0
    labels = result.labels['labels']
    assert labels.shape == (40, 48) and set(np.unique(labels)) <= {0, 4, 255}

"""Every shipped config: it loads, builds, learns from a batch, predicts, and shares no folder with another."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import detection_checks
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.logging import MessageHub
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from wsss_mm import registry
from wsss_mm.config_hash import digest
from wsss_mm.engine import stages
from wsss_mm.evaluation import resolve_classes
from wsss_mm.localization import RIB, AdvCAM, StochasticCAM
from wsss_mm.models.affinity import BaseAffinityModel
from wsss_mm.models.heads import BasePoolingHead
from wsss_mm.models.objectives import OutOfDistribution
from wsss_mm.pseudo_labels import ExplainBoxes, InstanceLabels, LabelGenerator, MixedLabels, SavedMapLabels, SeedCues
from wsss_mm.pseudo_labels.class_map_labels import MapLabeller
from wsss_mm.pseudo_labels.workers import LabelWorkers
from wsss_mm.registry import DATASETS, MODELS, TASK_UTILS
from wsss_mm.structures import ClassMaps, ImageSample
from wsss_mm.visualization import build

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / 'configs').rglob('*.py') if '_base_' not in p.parts)
KINDS = (registry.MODELS, registry.DATASETS, registry.TRANSFORMS, registry.DATA_SAMPLERS, registry.HOOKS,
         registry.METRICS, registry.TASK_UTILS)
SIZE = 65


def nodes(value):
    """All dicts of a config, outer ones first."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for item in value if isinstance(value, (list, tuple)) else ():
        yield from nodes(item)


def without_checkpoints(cfg):
    """The model's config as it is, but with random weights, small inputs, and a small copy of the largest trunks."""
    model = ConfigDict(cfg.model.to_dict())
    for node in nodes(model):
        node.pop('init_cfg', None)
        if node.get('type') == 'wsss_mm.BatchCRF':
            node.num_workers = 0
    if model.backbone.type == 'wsss_mm.ResNet38d':
        model.backbone.base_channels = 2
        for part in [model.neck] if 'neck' in model else model.branches:
            part.in_channels //= 32
    if model.backbone.get('depth') == 101:
        model.backbone.depth = 50
    if model.type == 'wsss_mm.IRNet':
        model.radius = 5   # a crop of 65 pixels has no pixel with all neighbours within 10
    if 'size' in model.data_preprocessor:
        model.data_preprocessor.size = (SIZE, SIZE)
    if model.get('test_cfg', {}).get('size'):
        model.test_cfg.size = (SIZE, SIZE)
    if model.get('decode_head', {}).get('type') == 'wsss_mm.ASPPBranchHead':
        model.decode_head.channels = 16
    return model


def batch(num_classes, side=SIZE, training=True):
    """Two images with all that pipelines give: boxes, tags, two label maps with ignored pixels, definite background, a
    prior."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(2):
        labels = rng.integers(0, num_classes + 1, (1, side, side))
        labels[0, :3] = 255
        second = np.where(rng.random(labels.shape) < .3, 0, labels)
        mask = np.ones((1, side, side), np.uint8)
        mask[:, 10:50, 8:40] = 0
        classes = torch.tensor([i, (i + 3) % num_classes])
        sample = SegDataSample(metainfo=dict(
            img_path=f'{i}.jpg', img_id=str(i), ori_shape=(side, side), img_shape=(side, side)))
        sample.set_data(dict(
            gt_sem_seg=PixelData(data=torch.from_numpy(labels)),
            gt_sem_seg_ret=PixelData(data=torch.from_numpy(second)),
            gt_bg_mask=PixelData(data=torch.from_numpy(mask)),
            gt_prior=PixelData(data=torch.from_numpy(rng.integers(0, 256, mask.shape, dtype=np.uint8))),
            gt_instances=InstanceData(bboxes=torch.tensor([[8., 10., 40., 50.], [20., 12., 33., 44.]]), labels=classes),
            gt_label=torch.zeros(num_classes).index_fill(0, classes, 1.)))
        samples.append(sample)
    inputs = [torch.from_numpy(rng.integers(0, 256, (3, side, side), dtype=np.uint8)) for _ in samples]
    return dict(inputs=inputs, data_samples=samples)


def unwrapped(dataset):
    """The data set itself, of one that puts something beside its samples."""
    return dataset.get('dataset', dataset)


def supervised(data, dataset):
    """What a training pipeline gives of :func:`batch`; extra supervision: the first image has masks, the last boxes."""
    if 'ood' in dataset:
        Compose(dataset.ood.pipeline)
        for sample, image in zip(data['data_samples'], data['inputs'], strict=True):
            sample.set_data(dict(ood_image=image.flip(0)))
    dataset = unwrapped(dataset)
    steps = {step['type'].split('.')[-1]: step for step in dataset.pipeline}
    masks = [*data['data_samples']] if {'LoadLabelMaps', 'PoolConfidentScores'} & set(steps) else []
    boxes = [*data['data_samples']] if steps.get('LoadWeakLabels', {}).get('boxes', 'LoadWeakLabels' in steps) else []
    if dataset.get('mask_count') is not None or dataset.get('box_count') is not None:
        masks, boxes = masks[:1] if dataset.get('mask_count') else [], boxes[-1:] if dataset.get('box_count') else []
    for sample in data['data_samples']:
        given = dict(gt_sem_seg=any(sample is m for m in masks), gt_sem_seg_ret=any(sample is m for m in masks),
                     gt_instances=any(sample is b for b in boxes), gt_bg_mask=any(sample is b for b in boxes),
                     gt_prior='LoadPrior' in steps)
        for key in [key for key, there in given.items() if not there]:
            del sample[key]
    return data


@pytest.mark.parametrize('path', CONFIGS)
def test_config(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = stages.load_config(path)
    assert cfg.default_scope in ('mmseg', 'mmdet')
    pytest.importorskip(cfg.default_scope)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        check_config(cfg, path, tmp_path)


def check_config(cfg, path, tmp_path):
    detector = cfg.default_scope == 'mmdet'
    # mmengine puts a base's variable in at the end: until then 'data_root + …' joins on to its placeholder
    assert not re.search(r'_[a-z_]+_[0-9a-f]{6}\b', cfg.pretty_text)
    for node in nodes(cfg.to_dict()):
        name = node.get('type')
        if isinstance(name, str) and name.startswith('wsss_mm.'):
            assert any(kind.get(name) is not None for kind in KINDS), f'{name} is not registered'
    used = [k for k in cfg if k.endswith('dataloader') and cfg.get('train_cfg')]
    for key in used + (['pseudo_labels'] if cfg.get('pseudo_labels') else []):
        dataset = unwrapped(cfg[key].get('dataset', {}))
        Compose(dataset.pipeline)
        assert DATASETS.get(dataset.type) is not None
    check_stages(cfg, path)
    if cfg.get('report'):
        checked = build._checked(cfg.report)
        assert checked['rows'] and resolve_classes(checked['classes']).names
    generator = TASK_UTILS.build(cfg.pseudo_labels.generator) if cfg.get('pseudo_labels') else None
    model = None
    if 'model' in cfg:
        torch.manual_seed(0)
        model = MODELS.build(detection_checks.small_detector(cfg, nodes) if detector else without_checkpoints(cfg))
        model.init_weights()
        check_schedule(cfg, model)
        (detection_checks.check_learning if detector else check_learning)(cfg, model)
        if cfg.model.get('neck'):
            (detection_checks.check_widths if detector else check_widths)(cfg)
    if isinstance(generator, InstanceLabels):
        detection_checks.check_masks(generator, tmp_path)
    elif isinstance(generator, ExplainBoxes):
        detection_checks.check_maps(generator, model, tmp_path)
    elif generator is not None:
        check_labels(generator, model, tmp_path)


def check_stages(cfg, path):
    """What it stands on can be found and ordered, and what it trains on is what they make."""
    before = stages.in_order(stages.direct_prerequisites(cfg))
    assert before and before[0].run == 'data'
    for entry in (cfg.get('report') or {}).get('needs', ()):
        stages.in_order([stages.to_stage(entry, path)])
    dataset = unwrapped(cfg.get('train_dataloader', {}).get('dataset', {}))
    made = [stages.load_config(s.config).pseudo_labels.out_dir for s in before if s.run == 'labels']
    if cfg.default_scope == 'mmdet' and cfg.get('train_cfg'):
        detection_checks.check_training_file(cfg, made)
    for folder in dataset.get('label_dirs', {}).values():
        assert Path(folder).parent.as_posix() in made or folder.endswith('SegmentationClass')
    if 'label_dirs' in dataset and made:
        maker = before[-1].config
        assert stages.load_config(dataset.labels_made_by).pseudo_labels.out_dir == \
            stages.load_config(maker).pseudo_labels.out_dir, f'{dataset.labels_made_by} does not make its labels'
    trained = {(Path(stages.load_config(s.config).work_dir) / 'final.pth').as_posix()
               for s in before if s.run == 'train'}
    loaded = {n['checkpoint'] for n in nodes(cfg.get('model', {})) if n.get('type') == 'Pretrained'}
    assert {f for f in loaded if '://' not in f and not f.startswith('pretrained/')} <= trained
    assert not cfg.get('load_from') or cfg.load_from in trained


def check_schedule(cfg, model):
    """Optimizer and schedules build, and the schedules end where the training does, or where the config says."""
    from mmengine.optim import build_optim_wrapper
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    for scheduler in cfg.param_scheduler:
        PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=wrapper))
        # one more: mmengine counts the points of a polynomial schedule, not its steps
        end = scheduler.get('end', 0) or max(scheduler.get('milestones', [0]))
        assert end <= cfg.get('poly_iters', cfg.train_cfg.max_iters) + (scheduler.type == 'PolyLR')
    assert cfg.train_cfg.get('val_interval', cfg.train_cfg.max_iters) <= cfg.train_cfg.max_iters


def check_widths(cfg):
    """The parts fit each other in their true sizes, without memory for them."""
    with torch.device('meta'):
        model = MODELS.build(ConfigDict(cfg.model.to_dict()))
        maps = model.eval().class_maps(torch.zeros(1, 3, 64, 48))
        assert maps.shape[:2] == (1, cfg.model.head.num_classes)


def check_learning(cfg, model):
    """Finite losses that reach every weight which is to be trained; predictions of the right content."""
    pooled = isinstance(getattr(model, 'head', None), BasePoolingHead)
    affine = isinstance(model, BaseAffinityModel)
    num_classes = (model if affine else model.head).num_classes if pooled or affine else \
        model.decode_head.num_classes - 1
    # as the runner tells losses with a schedule; near the end, so that all have begun
    for key, value in dict(iter=cfg.train_cfg.max_iters - 1, max_iters=cfg.train_cfg.max_iters).items():
        MessageHub.get_current_instance().update_info(key, value)
    model.train()
    for objective in getattr(model, 'objectives', ()):
        if isinstance(objective, OutOfDistribution):
            objective.set_centres(torch.rand_like(objective.centres_in), torch.rand_like(objective.centres_ood))
    data = model.data_preprocessor(supervised(batch(num_classes), cfg.train_dataloader.dataset), True)
    total, values = model.parse_losses(model(**data, mode='loss'))
    assert all(v.isfinite() for v in values.values()) and total > 0
    total.backward()
    silent = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.eval()
    data = model.data_preprocessor(batch(num_classes, 33), False)
    with torch.no_grad():
        found = model(**data, mode='predict')
    if affine:
        assert found and all(maps.isfinite().all() for maps in found.values())
        return
    if pooled:
        assert all(s.pred_label.shape == (num_classes,) and ((0 <= s.pred_label) & (s.pred_label <= 1)).all()
                   for s in found)
        return
    for sample in found:
        labels = sample.pred_sem_seg.data
        assert labels.shape == (1, 33, 33) and 0 <= labels.min() and labels.max() <= num_classes
        assert sample.seg_logits.data.shape == (num_classes + 1, 33, 33) and sample.seg_logits.data.isfinite().all()


def shorten(localizer):
    """A few steps instead of many, and no other images, whose data are not here."""
    while localizer is not None:
        if isinstance(localizer, RIB):
            localizer.steps, localizer.map_steps, localizer.others.config = 2, frozenset([0, 1]), None
        elif isinstance(localizer, AdvCAM):
            localizer.steps = 2
        elif isinstance(localizer, StochasticCAM):
            localizer.passes = 3
        localizer = getattr(localizer, 'localizer', None)


def check_labels(generator, model, root):
    """One image labelled: every output, at its own size, with ids of its tags; with boxes, nothing outside them."""
    assert isinstance(generator, LabelGenerator)
    tagged = isinstance(generator, (MapLabeller, SeedCues))
    data = batch(model.head.num_classes if generator.needs_model and tagged else 6, 40)
    data['data_samples'][0].gt_label = torch.arange(len(data['data_samples'][0].gt_label)).eq(3).float()
    if isinstance(generator, MixedLabels):   # whose label of an image with a mask is the mask
        del data['data_samples'][0].gt_sem_seg
    features, constants = {}, {}
    shorten(getattr(generator, 'localizer', None))
    if getattr(generator, 'saved', None):   # maps as its prerequisite saves them
        generator.saved.map_dir = str(root / 'saved')
        Path(generator.saved.map_dir).mkdir()
        maps = ClassMaps('a', np.array([4]), np.random.default_rng(0).random((1, 40, 40), np.float32), 40, 40)
        (Path(generator.saved.map_dir) / 'a.npz').write_bytes(maps.to_bytes())
    if isinstance(generator, SeedCues) and 'folder' in generator.background:   # saliency, which is not shipped
        generator.background['folder'] = str(root)
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40), np.uint8)).save(root / 'a.png')
    if isinstance(generator, SavedMapLabels):
        generator.threshold = .4
        constants = generator.constants(None)
    if generator.needs_model:
        ready = model.eval().data_preprocessor(dict(inputs=data['inputs'][:1], data_samples=data['data_samples'][:1]))
        with torch.no_grad():
            image = data['inputs'][0].permute(1, 2, 0).numpy()[..., ::-1]
            features, = generator.extract_batch(model, [image], ready['inputs'], ready['data_samples'])
            constants = generator.constants(model)
    boxes = np.array([[3, 5, 30, 33]], np.float32)
    sample = ImageSample('a', data['inputs'][0].permute(1, 2, 0).numpy(), boxes, np.array([4]), np.array([4]))
    with LabelWorkers(generator, constants, [[0, 0, 0]], root, 0, 0) as workers:
        (_, hashes, _, error), = workers.map([('a', sample, features, None)])
    assert error is None and {f'{name}/a.png' for name in generator.outputs} <= set(hashes)
    for name in generator.outputs:
        labels = np.array(Image.open(root / name / 'a.png'))
        assert labels.shape == (40, 40)
        if type(generator).__name__ != 'SegmentorLabels':
            assert set(np.unique(labels)) <= {0, 4, 255}
            assert tagged or hasattr(generator, 'saved') or not labels[:4].any() and not labels[:, 31:].any()


def test_no_config_writes_into_anothers_folder():
    """Configs may share a folder only where they would write the same into it."""
    writers = defaultdict(dict)
    for path in CONFIGS:
        cfg = stages.load_config(ROOT / path)
        if cfg.get('train_cfg'):
            writers[cfg.work_dir, 'training'][path] = digest(stages.training_settings(cfg))
        if cfg.get('pseudo_labels'):
            section = stages.settings_of(cfg, ['pseudo_labels', 'model'])
            writers[cfg.pseudo_labels.out_dir, 'labels'][path] = digest([section, cfg.get('work_dir')])
        if cfg.get('report'):
            writers[cfg.report.out_dir, 'report'][path] = path
    clashes = {folder: found for folder, found in writers.items() if len(set(found.values())) > 1}
    assert not clashes
    assert len({folder for folder, _ in writers}) == len(writers)


def rates(path, steps):
    """Learning rate of the first parameter group at given iterations of a config's training."""
    cfg = stages.load_config(ROOT / path)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    scheduler = PARAM_SCHEDULERS.build(cfg.param_scheduler[0], default_args=dict(optimizer=optimizer))
    found = []
    for _ in range(cfg.train_cfg.max_iters):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    return [found[step] for step in steps]


@pytest.mark.parametrize('path, base, total, end', [
    ('cam/classifier_voc.py', .1, 3305, 3304), ('vwe/classifier_voc.py', .01, 3966, 3965)])
def test_learning_rates_fall_as_published(path, base, total, end):
    steps = [0, 1, 1000, end]
    expected = [base * (1 - t / total) ** .9 for t in steps]
    np.testing.assert_allclose(rates(f'configs/{path}', steps), expected, rtol=1e-6)


@pytest.mark.parametrize('dataset, epoch, short_epoch', [('voc', 1322, 330), ('coco', 10347, 2586)])
def test_aefts_phases_share_one_schedule(dataset, epoch, short_epoch):
    """Batches of 8, then of 32; the polynomial is that of 40 epochs of 8 throughout."""
    first, second = (stages.load_config(ROOT / f'configs/aeft/{n}_{dataset}.py') for n in ('warmup', 'classifier'))
    assert first.train_cfg.max_iters == 18 * epoch and second.train_cfg.max_iters == 22 * short_epoch
    assert first.train_dataloader.batch_size == 8 == second.model.head.loss_images
    assert second.train_dataloader.batch_size == 32

    def published(step):
        return .01 * (1 - step / (40 * epoch)) ** .9

    for cfg, start in ((first, 0), (second, 18 * epoch)):
        scheduler = cfg.param_scheduler[0]
        points = scheduler.end - scheduler.begin - 1   # what mmengine divides by
        for step in (0, 1, 700, cfg.train_cfg.max_iters - 1):
            found = cfg.optim_wrapper.optimizer.lr * (1 - step / points) ** scheduler.power
            assert found == pytest.approx(published(start + step), rel=1e-9)
    if dataset == 'voc':
        np.testing.assert_allclose(rates('configs/aeft/classifier_voc.py', [0, 7259]),
                                   [published(23796), published(31055)], rtol=1e-6)
        np.testing.assert_allclose(rates('configs/gpp/classifier_voc.py', [31055]), [published(31055)], rtol=1e-6)


# One part of each kind, asked for by name before anything of the package was imported.
PARTS = dict(MODELS='ToyNet', DATASETS='WeakVOCDataset', TRANSFORMS='LoadWeakLabels', HOOKS='StageHook',
             TASK_UTILS='DenseCRF')


@pytest.mark.parametrize('scope', ['mmseg', 'mmdet'])
def test_parts_are_found_by_name_alone(scope):
    pytest.importorskip(scope)
    code = f"""
import json, sys, mmengine.registry as registries
registries.init_default_scope('{scope}')
assert 'wsss_mm' not in sys.modules
arguments = dict(DenseCRF=dict(bilateral_weight=4, bilateral_xy=55, bilateral_rgb=3, gaussian_weight=3, gaussian_xy=3))
found = {{}}
for kind, name in {PARTS!r}.items():
    registry = getattr(registries, kind)
    cls = registry.get('wsss_mm.' + name)
    found[kind] = cls.__name__
    if kind != 'DATASETS':
        assert type(registry.build(dict(type='wsss_mm.' + name, **arguments.get(name, {{}})))) is cls
print(json.dumps(found))"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == PARTS


def test_configs_are_read_from_anywhere(tmp_path, monkeypatch):
    """Stages found from another working directory are the same ones, so that a chain never runs one twice."""
    monkeypatch.chdir(tmp_path)
    cfg = stages.load_config('configs/bap/deeplabv2_toy.py')
    order = stages.in_order(stages.direct_prerequisites(cfg))
    assert [s.run for s in order] == ['data', 'data', 'train', 'train', 'labels']
    assert isinstance(Config.fromfile(order[-1].config), Config)

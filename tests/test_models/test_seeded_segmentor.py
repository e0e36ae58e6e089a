"""Segmentors that learn from seeds: what their losses see, and that all weights learn."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import Compose
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.models.losses import SeedLoss, floored_probabilities
from wsss_mm.models.losses.sec import constrain_loss, expand_loss, floored_posterior, seed_loss
from wsss_mm.refinement.batch_crf import BatchCRF
from wsss_mm.registry import MODELS

MEAN, STD = [120., 110., 100.], [57., 58., 59.]
CLASSES = 4


@MODELS.register_module(name='StrideFour')
class StrideFour(nn.Module):
    """A backbone of stride 4, two maps."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU())

    def forward(self, x):
        first = self.first(x)
        return first, self.second(first)


@MODELS.register_module(name='CueEntropy')
class CueEntropy(SeedLoss):
    """Cross-entropy at the cues; keeps what it saw."""

    def __init__(self, name='loss_seed'):
        super().__init__()
        self.name, self.seen = name, []

    def forward(self, logits, batch):
        self.seen.append(batch)
        terms = -(batch.cues * floored_probabilities(logits).log())
        return {self.name: terms.sum() / batch.cues.sum().clamp_min(1), 'cues': batch.cues.sum().float()}


@MODELS.register_module(name='TwoMaps')
class TwoMaps(nn.Module):
    """A head that gives more than one map."""
    out_channels, num_classes, align_corners = CLASSES, CLASSES, False

    def forward(self, feats):
        return feats, feats


HEADS = dict(
    largefov=dict(type='wsss_mm.LargeFOVHead', in_channels=6, in_index=1, classifier='dot'),
    sum=dict(type='wsss_mm.DeepLabV2Head', in_channels=6, in_index=1, form='sum', classifier='dot', rates=(1, 2)),
    features=dict(type='wsss_mm.DeepLabV2Head', in_channels=6, in_index=1, channels=5, classifier='dot', rates=(1, 2)),
    branches=dict(type='wsss_mm.ASPPBranchHead', in_channels=6, in_index=1, channels=5, rates=(1, 2)),
    fcn=dict(type='FCNHead', in_channels=6, in_index=1, channels=5, num_convs=1, norm_cfg=dict(type='BN')),
    aspp=dict(type='ASPPHead', in_channels=6, in_index=1, channels=5, dilations=(1, 2), norm_cfg=dict(type='BN')))


def build(head='largefov', losses=(dict(type='wsss_mm.CueEntropy'),), preprocessor=None, **model):
    torch.manual_seed(0)
    built = MODELS.build(ConfigDict(
        type='wsss_mm.SeededSegmentor', backbone=dict(type='wsss_mm.StrideFour'), seed_losses=list(losses),
        data_preprocessor=dict(type='wsss_mm.WeakSegDataPreProcessor', mean=MEAN, std=STD, seg_pad_val=255,
                               **(preprocessor or {})),
        decode_head=dict(num_classes=CLASSES, **HEADS[head]) if isinstance(head, str) else head,
        test_cfg=dict(mode='whole'), **model))
    built.init_weights()
    return built


def samples(sizes=((32, 44), (32, 44)), labels=None):
    g = torch.Generator().manual_seed(3)
    images = [torch.randint(0, 256, (3, *size), generator=g, dtype=torch.uint8) for size in sizes]
    found = []
    for i, size in enumerate(sizes):
        cues = torch.full((1, *size), 255, dtype=torch.int64)
        cues[:, :12, :16], cues[:, 20:, 20:36] = i + 1, 0
        sample = SegDataSample(metainfo=dict(img_path=f'{i}.jpg', img_shape=size, ori_shape=size))
        sample.set_data(dict(gt_sem_seg=PixelData(data=cues if labels is None else labels[i]),
                             gt_label=torch.eye(CLASSES - 1)[i]))
        found.append(sample)
    return dict(inputs=images, data_samples=found)


def run(model, data):
    data = model.train().data_preprocessor(data, True)
    return model(**data, mode='loss')


@pytest.mark.parametrize('head', HEADS)
def test_all_weights_learn_with_any_head(head):
    model = build(head)
    losses = run(model, samples())
    assert set(losses) == {'decode.loss_seed', 'decode.cues'}
    total, log = model.parse_losses(losses)
    assert total == losses['decode.loss_seed'] and log['decode.cues'] > 0
    total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(p.grad.abs().sum() > 0 for n, p in model.named_parameters() if n.startswith('decode_head'))


def test_the_losses_see_cues_and_tags_at_the_size_of_the_logits():
    model = build()
    run(model, samples())
    batch, = model.seed_losses[0].seen
    assert batch.cues.shape == (2, CLASSES, 8, 11) and batch.valid.all()
    # align_corners: positions stand for the pixels 0, 31/7, … 31 and 0, 4.3, … 43
    rows, columns = np.rint(np.linspace(0, 31, 8)), np.rint(np.linspace(0, 43, 11))
    for i in range(2):
        expected = np.zeros((CLASSES, 8, 11), bool)
        expected[i + 1] = (rows[:, None] < 12) & (columns < 16)
        expected[0] = (rows[:, None] >= 20) & (columns >= 20) & (columns < 36)
        np.testing.assert_array_equal(batch.cues[i].numpy(), expected)
    assert batch.tags.tolist() == [[True, True, False, False], [True, False, True, False]]


def test_at_321_pixels_every_eighth_one_counts():
    model = build()
    torch.testing.assert_close(model._pixels(321, 41, torch.device('cpu')), torch.arange(0, 321, 8))
    model.decode_head.align_corners = False
    assert model._pixels(8, 2, torch.device('cpu')).tolist() == [2, 6]
    assert model._pixels(3, 3, torch.device('cpu')).tolist() == [0, 1, 2]


@pytest.mark.parametrize('bgr_to_rgb', [False, True])
def test_the_crf_sees_the_true_image(bgr_to_rgb):
    model, data = build(preprocessor=dict(bgr_to_rgb=bgr_to_rgb)), samples()
    loaded = torch.stack(data['inputs']).clone()
    ready = model.data_preprocessor(data, True)
    same = torch.zeros(2, CLASSES, *loaded.shape[2:])
    images = model.seed_batch(ready['inputs'], ready['data_samples'], same).images
    assert images.dtype == torch.uint8 and images.is_contiguous()
    assert torch.equal(images, loaded.flip(1).permute(0, 2, 3, 1))
    # and smaller: on the outer pixels, as scipy's linear zoom
    small = model.seed_batch(ready['inputs'], ready['data_samples'], torch.zeros(2, CLASSES, 2, 2)).images
    assert torch.equal(small, loaded.flip(1)[:, :, ::31, ::43].permute(0, 2, 3, 1))


def test_padding_of_the_batch_holds_no_cue_and_is_not_valid():
    model = build()
    everywhere = [torch.zeros(1, 32, 44, dtype=torch.int64), torch.zeros(1, 16, 20, dtype=torch.int64)]
    data = model.data_preprocessor(samples(((32, 44), (16, 20)), everywhere), True)
    batch = model.seed_batch(data['inputs'], data['data_samples'], torch.zeros(2, CLASSES, 32, 44))
    inside = torch.zeros(32, 44, dtype=torch.bool)
    inside[:16, :20] = True
    assert batch.valid[0].all() and torch.equal(batch.valid[1], inside)
    assert torch.equal(batch.cues[1, 0], inside) and not batch.cues[1, 1:].any()


def test_padding_of_a_crop_is_told_from_pixels_without_a_cue():
    pipeline = Compose([dict(type='wsss_mm.MarkValid'),
                        dict(type='wsss_mm.RandomCropWithBoxes', crop_size=(32, 44)),
                        dict(type='wsss_mm.PackWeakInputs')])
    packed = [pipeline(dict(img=np.zeros((16, 44, 3), np.uint8), img_shape=(16, 44), ori_shape=(16, 44),
                            gt_seg_map=np.full((16, 44), 255, np.uint8), seg_fields=['gt_seg_map'],
                            gt_label=np.array([1, 0, 0], np.float32))) for _ in range(2)]
    model = build()
    data = model.data_preprocessor(dict(inputs=[p['inputs'] for p in packed],
                                        data_samples=[p['data_samples'] for p in packed]), True)
    batch = model.seed_batch(data['inputs'], data['data_samples'], torch.zeros(2, CLASSES, 32, 44))
    assert batch.valid[:, 8:24].all() and not batch.valid[:, :8].any() and not batch.valid[:, 24:].any()


def test_images_of_a_batch_do_not_mix():
    model = build()
    run(model, samples())
    both, = model.seed_losses[0].seen
    for i in range(2):
        data = samples()
        run(model, dict(inputs=data['inputs'][i:i + 1], data_samples=data['data_samples'][i:i + 1]))
        single = model.seed_losses[0].seen[-1]
        for name in ('cues', 'tags', 'images', 'valid'):
            assert torch.equal(getattr(single, name)[0], getattr(both, name)[i])


def test_sec_is_what_its_functions_give_by_hand():
    crf = dict(bilateral_weight=2., bilateral_xy=4., bilateral_rgb=6., kernel='exact')
    model = build(losses=[dict(type='wsss_mm.SECLoss', crf=dict(type='wsss_mm.BatchCRF', **crf))]).eval()
    data = samples(((32, 44), (24, 44)))   # the second one is padded
    images = [image.clone() for image in data['inputs']]
    data = model.data_preprocessor(data, True)
    losses = model(**data, mode='loss')
    cues, seen = torch.zeros(2, CLASSES, 8, 11, dtype=torch.bool), torch.zeros(2, 8, 11, 3, dtype=torch.uint8)
    valid = torch.ones(2, 8, 11, dtype=torch.bool)
    tags = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0]], dtype=torch.bool)
    rows, columns = np.rint(np.linspace(0, 31, 8)), np.rint(np.linspace(0, 43, 11))
    valid[1] = torch.from_numpy(rows < 24)[:, None]
    for i, height in enumerate((32, 24)):
        cues[i, i + 1] = torch.from_numpy((rows[:, None] < 12) & (columns < 16))
        inside = (rows >= 20) & (rows < height)
        cues[i, 0] = torch.from_numpy(inside[:, None] & (columns >= 20) & (columns < 36))
        mean = torch.tensor(MEAN).view(3, 1, 1).expand(3, 32, 44).clone()   # 0 after normalisation
        mean[:, :height] = images[i].float()
        small = nn.functional.interpolate(mean.flip(0)[None], (8, 11), mode='bilinear', align_corners=True)
        seen[i] = small[0].permute(1, 2, 0).round().byte()
    with torch.no_grad():
        logits = model.decode_head(model.backbone(data['inputs']))
        p = floored_probabilities(logits)
        posterior = floored_posterior(BatchCRF(**crf)(seen, -logits, tags, valid))
    torch.testing.assert_close(losses['decode.loss_seed'], seed_loss(p, cues, valid))
    torch.testing.assert_close(losses['decode.loss_expand'], sum(expand_loss(p, tags, valid=valid).values()))
    torch.testing.assert_close(losses['decode.loss_constrain'], constrain_loss(p, posterior, valid), rtol=1e-4,
                               atol=1e-5)


def test_an_auxiliary_head_learns_from_the_cues_by_its_own_loss():
    model = build(auxiliary_head=dict(type='FCNHead', in_channels=8, in_index=0, channels=8, num_convs=0,
                                      concat_input=False, num_classes=CLASSES))
    losses = run(model, samples())
    assert losses['aux.loss_ce'] > 0 and 'decode.loss_seed' in losses


@torch.no_grad()
def test_squashed_and_summed_in_testing():
    """Every image at one size, whatever its shape; logits of several sizes added."""
    model, inputs = build().eval(), torch.randn(1, 3, 30, 50)
    meta = [dict(img_shape=(30, 50), ori_shape=(30, 50))]
    model.size, model.scales, model.fusion = (32, 32), (1, 1.5), 'sum'
    squashed = nn.functional.interpolate(inputs, size=(32, 32), mode='bilinear')
    larger = nn.functional.interpolate(squashed, size=(48, 48), mode='bilinear', align_corners=True)
    expected = sum(nn.functional.interpolate(model.decode_head(model.backbone(x)), size=(30, 50), mode='bilinear',
                                             align_corners=True) for x in (squashed, larger))
    torch.testing.assert_close(model.whole_inference(inputs, meta), expected)
    model.fusion = 'mean'
    torch.testing.assert_close(model.whole_inference(inputs, meta), expected / 2)


def without(key):
    data = samples()
    del data['data_samples'][1][key]
    return data


def with_tags(count):
    data = samples()
    for sample in data['data_samples']:
        sample.set_data(dict(gt_label=torch.ones(count)))
    return data


@pytest.mark.parametrize('data, error, match', [
    (lambda: without('gt_sem_seg'), DataError, 'no cues'),
    (lambda: without('gt_label'), ConfigError, 'gt_label'),
    (lambda: with_tags(CLASSES), ConfigError, 'tags of 4 classes')])
def test_samples_that_cannot_be_learned_from(data, error, match):
    with pytest.raises(error, match=match):
        run(build(), data())


def test_configs_that_cannot_learn():
    with pytest.raises(ConfigError, match='seed_losses is empty'):
        build(losses=())
    with pytest.raises(ConfigError, match='another loss gave already'):
        run(build(losses=[dict(type='wsss_mm.CueEntropy')] * 2), samples())
    model = build()
    model.decode_head = TwoMaps()
    with pytest.raises(ConfigError, match='one map of logits'):
        run(model, samples())
    for wrong in (dict(fusion='max'), dict(size=(0, 3)), dict(size=(321,))):
        with pytest.raises(ConfigError, match='test_cfg'):
            MODELS.build(dict(type='wsss_mm.MultiScaleSegmentor', backbone=dict(type='wsss_mm.StrideFour'),
                              decode_head=dict(num_classes=CLASSES, **HEADS['sum']), test_cfg=wrong))

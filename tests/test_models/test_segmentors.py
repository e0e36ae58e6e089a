"""Testing segmentors at several scales and with a CRF."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from wsss_mm.errors import ConfigError
from wsss_mm.registry import MODELS, TASK_UTILS

MEAN, STD = [120., 110., 100.], [57., 58., 59.]


@MODELS.register_module(name='TwoLayers')
class TwoLayers(nn.Module):
    """A backbone of stride 4."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU())

    def forward(self, x):
        return (self.layers(x),)


@TASK_UTILS.register_module(name='RecordingRefiner')
class RecordingRefiner:
    """Keeps what it is given; rolls the classes, so that its answer shows."""

    def __init__(self):
        self.calls = []

    def __call__(self, image, probabilities):
        self.calls.append((image, probabilities))
        return np.roll(probabilities, 1, axis=0)


def build(kind='wsss_mm.MultiScaleSegmentor', preprocessor=None, **test_cfg):
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(
        type=kind, backbone=dict(type='wsss_mm.TwoLayers'),
        data_preprocessor=dict(type='SegDataPreProcessor', mean=MEAN, std=STD, **(preprocessor or {})),
        decode_head=dict(type='wsss_mm.LargeFOVHead', in_channels=6, num_classes=4,
                         loss_decode=dict(type='wsss_mm.NoiseAwareLoss')),
        test_cfg=dict(mode='whole', **test_cfg)))
    nn.init.normal_(model.decode_head.conv_seg.weight)
    return model.eval()


def batch(n=2, size=(30, 37), ori_shape=None, **metainfo):
    g = torch.Generator().manual_seed(3)
    images = [torch.randint(0, 256, (3, *size), generator=g, dtype=torch.uint8) for _ in range(n)]
    metas = [dict(img_shape=size, pad_shape=size, ori_shape=ori_shape or size, **metainfo) for _ in range(n)]
    return dict(inputs=images, data_samples=[SegDataSample(metainfo=meta) for meta in metas])


@torch.no_grad()
def inference(model, inputs):
    size = tuple(inputs.shape[2:])
    return model.inference(inputs, [dict(img_shape=size, pad_shape=size, ori_shape=size)] * len(inputs))


@pytest.mark.parametrize('preprocessor', [None, dict(test_cfg=dict(size_divisor=16))])
def test_one_scale_is_the_plain_segmentor(preprocessor):
    ours, plain = build(preprocessor=preprocessor), build('EncoderDecoder', preprocessor)
    for found, expected in zip(ours.test_step(batch()), plain.test_step(batch()), strict=True):
        assert torch.equal(found.seg_logits.data, expected.seg_logits.data)
        assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)


@torch.no_grad()
def test_logits_are_averaged_over_scales_and_flips():
    model = build(scales=(.5, 1.5), flip=True)
    inputs = torch.randn(1, 3, 30, 37, generator=torch.Generator().manual_seed(5))
    expected = 0
    for size in ((15, 18), (45, 55)):
        scaled = F.interpolate(inputs, size=size, mode='bilinear', align_corners=True)
        for flip in (False, True):
            logits = model.decode_head(model.backbone(scaled.flip(-1) if flip else scaled))
            logits = F.interpolate(logits, size=(30, 37), mode='bilinear', align_corners=True)
            expected = expected + (logits.flip(-1) if flip else logits) / 4
    torch.testing.assert_close(inference(model, inputs), expected, rtol=1e-4, atol=1e-4)


def test_flipping_makes_the_answer_flip_with_the_image():
    inputs = torch.randn(1, 3, 30, 37, generator=torch.Generator().manual_seed(5))
    model = build(scales=(.5, 1, 1.5), flip=True)
    torch.testing.assert_close(inference(model, inputs.flip(-1)), inference(model, inputs).flip(-1),
                               rtol=1e-4, atol=1e-4)
    one_sided = build(scales=(.5, 1, 1.5))
    assert (inference(one_sided, inputs.flip(-1)) - inference(one_sided, inputs).flip(-1)).abs().max() > .1


def test_a_batch_gives_what_single_images_give():
    model, inputs = build(scales=(.5, 1), flip=True), torch.randn(2, 3, 30, 37)
    single = torch.cat([inference(model, image[None]) for image in inputs])
    torch.testing.assert_close(inference(model, inputs), single, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize('preprocessor', [
    dict(bgr_to_rgb=True), dict(bgr_to_rgb=False), dict(bgr_to_rgb=True, test_cfg=dict(size_divisor=16))])
def test_the_refiner_sees_the_true_image_and_the_softmax(preprocessor):
    model = build(preprocessor=preprocessor, scales=(1, 1.5), crf=dict(type='wsss_mm.RecordingRefiner'))
    data = batch()
    loaded = [image.clone() for image in data['inputs']]
    results = model.test_step(data)
    for result, bgr, (image, probabilities) in zip(results, loaded, model._refiner.calls, strict=True):
        assert image.dtype == np.uint8 and image.flags.c_contiguous
        np.testing.assert_array_equal(image, bgr.flip(0).permute(1, 2, 0).numpy())
        assert probabilities.dtype == np.float32 and probabilities.shape == (4, 30, 37)
        np.testing.assert_allclose(probabilities, result.seg_logits.data.softmax(dim=0).numpy(), atol=1e-6)
        rolled = (result.seg_logits.data.argmax(dim=0, keepdim=True) + 1) % 4
        assert torch.equal(result.pred_sem_seg.data, rolled)


def test_without_normalisation_and_without_samples_the_image_is_still_true():
    model = build(crf=dict(type='wsss_mm.RecordingRefiner'))
    model.data_preprocessor._enable_normalize = False
    images = torch.stack(batch()['inputs'])
    results = model.predict(images.float())
    assert results[1].pred_sem_seg.data.shape == (1, 30, 37)
    np.testing.assert_array_equal(model._refiner.calls[1][0], images[1].flip(0).permute(1, 2, 0).numpy())


@pytest.mark.parametrize('flip', [None, 'horizontal'])
def test_the_refiner_works_at_the_original_size(flip):
    model = build(crf=dict(type='wsss_mm.RecordingRefiner'))
    data = batch(1, ori_shape=(60, 74), flip=bool(flip), flip_direction=flip)
    ramp = torch.linspace(0, 255, 37).round().byte().expand(3, 30, 37)
    data['inputs'] = [ramp.flip(-1) if flip else ramp]
    result, = model.test_step(data)
    (image, probabilities), = model._refiner.calls
    assert image.shape == (60, 74, 3) and probabilities.shape == (4, 60, 74)
    assert result.pred_sem_seg.data.shape == (1, 60, 74)
    np.testing.assert_allclose(image[30, :, 0], np.linspace(0, 255, 74), atol=1.5)


def test_the_refiner_is_built_when_first_needed():
    model = build(crf=dict(type='wsss_mm.NoSuchRefiner'))
    inference(model, torch.randn(1, 3, 30, 37))
    with pytest.raises(KeyError, match='NoSuchRefiner'):
        model.test_step(batch(1))


@pytest.mark.parametrize(('test_cfg', 'words'), [
    (dict(scales=()), 'scales'), (dict(scales=(1, -.5)), 'scales'), (dict(scales='ms'), 'scales'),
    (dict(mode='slide', crop_size=(8, 8), stride=(4, 4)), 'slide')])
def test_impossible_test_settings_are_refused_at_build(test_cfg, words):
    with pytest.raises(ConfigError, match=words):
        build(**test_cfg) if 'mode' not in test_cfg else MODELS.build(ConfigDict(
            type='wsss_mm.MultiScaleSegmentor', backbone=dict(type='wsss_mm.TwoLayers'),
            decode_head=dict(type='wsss_mm.LargeFOVHead', in_channels=6, num_classes=4), test_cfg=test_cfg))


def test_training_goes_through_the_head():
    model = build(scales=(.5, 1), flip=True).train()
    data = batch()
    g = torch.Generator().manual_seed(4)
    for sample in data['data_samples']:
        for name in ('gt_sem_seg', 'gt_sem_seg_ret'):
            sample.set_data({name: PixelData(data=torch.randint(0, 4, (1, 30, 37), generator=g))})
    inputs = torch.stack(data['inputs']).float() / 255
    loss, log = model.parse_losses(model.loss(inputs, data['data_samples']))
    assert {'decode.loss_ce', 'decode.loss_wce', 'decode.unreliable_share', 'decode.mean_sigma',
            'decode.acc_seg', 'loss'} == set(log)
    torch.testing.assert_close(loss, log['decode.loss_ce'] + log['decode.loss_wce'])
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())

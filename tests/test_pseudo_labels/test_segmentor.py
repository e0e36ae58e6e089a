"""A segmentor's predictions as labels."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from wsss_mm.errors import ConfigError
from wsss_mm.pseudo_labels.segmentor import SegmentorLabels
from wsss_mm.structures import ImageSample

CRF = dict(type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=55, bilateral_rgb=3, gaussian_weight=3,
           gaussian_xy=3, backend='torch')


@pytest.fixture(scope='module')
def segmentor():
    torch.manual_seed(0)
    norm = dict(type='BN')
    return MODELS.build(dict(
        type='mmseg.EncoderDecoder', data_preprocessor=dict(type='mmseg.SegDataPreProcessor'),
        backbone=dict(type='mmseg.ResNetV1c', depth=18, norm_cfg=norm),
        decode_head=dict(type='mmseg.FCNHead', in_channels=512, channels=8, num_convs=1, num_classes=4,
                         norm_cfg=norm), test_cfg=ConfigDict(mode='whole'))).eval()


def make_sample(height=45, width=60):
    """The image, padded to 64 x 64 for the network."""
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    meta = dict(ori_shape=(height, width), img_shape=(64, 64), pad_shape=(64, 64),
                img_padding_size=(0, 64 - width, 0, 64 - height))
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
    return ImageSample('a', image, *none), SegDataSample(metainfo=meta)


@torch.no_grad()
def test_equals_the_segmentors_own_prediction(segmentor):
    sample, data_sample = make_sample()
    inputs, generator = torch.randn(1, 3, 64, 64), SegmentorLabels()
    features = generator.extract(segmentor, inputs, data_sample)
    assert features['labels'].dtype == torch.uint8
    labels = generator.label(sample, features, {}).labels['labels']
    assert 'pred_sem_seg' not in data_sample   # the caller's sample is left as it was
    wanted = segmentor.encode_decode(inputs, [data_sample.metainfo])[0, :, :45, :60].argmax(0)
    assert (labels == wanted.numpy()).all() and labels.dtype == np.uint8 and len(np.unique(labels)) > 1


@torch.no_grad()
def test_refiner_gets_the_probabilities(segmentor):
    sample, data_sample = make_sample()
    inputs = torch.randn(1, 3, 64, 64)
    unrefined = SegmentorLabels().extract(segmentor, inputs, data_sample)['labels'].numpy()
    idle = SegmentorLabels(dict(CRF, iterations=0))
    features = idle.extract(segmentor, inputs, data_sample)
    torch.testing.assert_close(features['probabilities'].sum(0), torch.ones(45, 60))
    assert (idle.label(sample, features, {}).labels['labels'] == unrefined).all()
    strong = SegmentorLabels(dict(CRF, gaussian_weight=30, gaussian_xy=10)).label(sample, features, {})
    edges = [(m[:, 1:] != m[:, :-1]).sum() for m in (strong.labels['labels'], unrefined)]
    assert edges[0] < edges[1]


@torch.no_grad()
def test_a_refiner_replaces_the_segmentors_own_crf():
    """The workers' CRF gives what the segmentor's gives in the network's process, and never runs on top of it."""
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='wsss_mm.MultiScaleSegmentor',
        data_preprocessor=dict(type='wsss_mm.WeakSegDataPreProcessor', mean=[110.] * 3, std=[60.] * 3, bgr_to_rgb=True),
        backbone=dict(type='wsss_mm.ToyNet'), decode_head=dict(type='wsss_mm.LargeFOVHead', in_channels=96,
                                                                in_index=-1, num_classes=4),
        test_cfg=ConfigDict(mode='whole', crf=CRF))).eval()
    image = torch.randint(0, 255, (3, 48, 64), dtype=torch.uint8)
    batch = model.data_preprocessor(dict(inputs=[image], data_samples=[
        SegDataSample(metainfo=dict(ori_shape=(48, 64), img_shape=(48, 64)))]), False)
    sample = ImageSample('a', image.flip(0).permute(1, 2, 0).numpy(), *[np.zeros(0)] * 3)
    found = []
    for generator in (SegmentorLabels(), SegmentorLabels(CRF), SegmentorLabels(dict(CRF, iterations=0))):
        features = generator.extract(model, batch['inputs'], batch['data_samples'][0])
        found.append(generator.label(sample, features, {}).labels['labels'])
    own, refined, plain = found
    assert (own == refined).all() and (own != plain).any()


@torch.no_grad()
def test_single_output_is_refused(segmentor):
    class Binary:
        def predict(self, inputs, data_samples):
            from mmengine.structures import PixelData
            return [SegDataSample(seg_logits=PixelData(data=torch.rand(1, 4, 4)))]
    with pytest.raises(ConfigError, match='one output channel'):
        SegmentorLabels().extract(Binary(), torch.rand(1, 3, 4, 4), SegDataSample())


@pytest.mark.parametrize('refiner', [None, dict(CRF, iterations=0)])
def test_among_the_tagged_classes_alone(refiner):
    logits = torch.randn(4, 45, 60, generator=torch.Generator().manual_seed(0))

    class Scores:
        def predict(self, inputs, data_samples):
            from mmengine.structures import PixelData
            return [SegDataSample(seg_logits=PixelData(data=logits))]
    sample, data_sample = make_sample()
    data_sample.set_data(dict(gt_label=torch.tensor([0., 1., 1.])))
    generator = SegmentorLabels(refiner, present_only=True)
    features = generator.extract(Scores(), torch.zeros(1, 3, 64, 64), data_sample)
    labels = generator.label(sample, features, {}).labels['labels']
    allowed = torch.where(torch.tensor([1, 0, 1, 1])[:, None, None] > 0, logits, -torch.inf)
    assert (labels == allowed.argmax(0).numpy()).all() and labels.dtype == np.uint8
    with pytest.raises(ConfigError, match='no `gt_label`'):
        generator.extract(Scores(), torch.zeros(1, 3, 64, 64), make_sample()[1])

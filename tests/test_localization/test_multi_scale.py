"""Multi-scale class maps: the published numbers, and what must change nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.localization import CAM, GradCAM, Localizer, MultiScale, Views, merge_maps
from wsss_mm.localization.multi_scale import resized
from wsss_mm.registry import MODELS, TASK_UTILS

close = torch.testing.assert_close
LOCALIZERS = [CAM(), GradCAM(), GradCAM('backbone.layer1')]


def picture(height, width, seed=0):
    """Smooth noise, as resizing needs it."""
    rough = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(rough, (height, width), mode='bilinear')[0]
    return (255 * smooth).byte().permute(1, 2, 0).contiguous().numpy()


# ---------------------------------------------------------------- the published numbers

@pytest.fixture
def irn(parity, classifier_of):
    """IRN's fixture, and its four convolutions in the place of the backbone."""
    data = parity('cam/multiscale_cam')

    class Trunk(nn.Sequential):
        def forward(self, x):
            return (super().forward(x),)

    layers = []
    for i in range(1, 5):
        weight = data[f'w{i}']
        layers += [nn.Conv2d(weight.shape[1], weight.shape[0], 3, 2, 1), nn.ReLU(inplace=True)]
        layers[-2].weight.data, layers[-2].bias.data = weight, data[f'b{i}']
    model = classifier_of()
    model.backbone = Trunk(*layers)
    model.head = MODELS.build(Config(dict(type='wsss_mm.GAPHead', num_classes=20, in_channels=24)))
    model.head.classifier.weight.data = data['wc'][:, :, None, None]
    return data, model.eval()


@pytest.mark.parametrize(('output', 'name'), [('full', 'high_res'), ('quarter', 'cam')])
def test_irn_fixture(irn, output, name):
    data, model = irn
    multi = TASK_UTILS.build(dict(type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), output=output))
    image, tags = data['image'].numpy(), data['label'][None] > 0
    found, = multi.class_maps(model, [image], tags, ['a'])
    np.testing.assert_allclose(found.maps, data[name], atol=1e-5)
    assert (found.class_ids == data['keys'].numpy() + 1).all()
    assert (found.image_id, found.height, found.width) == ('a', *image.shape[:2])
    for i, (scale, raw) in enumerate(zip(multi.scales, multi.raw_maps(model, [image], tags)[0], strict=True)):
        assert (resized(image, scale) == data[f'scale{i}_uint8'].numpy()).all()
        close(raw[:, 0].relu() + raw[:, 1].relu().flip(2), data[f'scale{i}_relu_flipsum'][data['keys']],
              rtol=1e-4, atol=1e-5)


def test_aeft_fixture(parity):
    data = parity('aeft/cam_msf')
    raw = [torch.stack([data[f'cam_s{s}_f{f}'][0] for f in (0, 1)], 1)[data['keys']] for s in range(4)]
    found = merge_maps(raw, int(data['H']), int(data['W']), relu='after', align16=False)
    close(found, data['norm_cam'], rtol=1e-4, atol=1e-5)
    assert not found[data['keys'].tolist().index(9)].any()     # negative everywhere


def test_merging_by_hand():
    raw = [torch.tensor([[[[1., -2.]], [[6., 4.]]]]), torch.tensor([[[[0., 5.]], [[1., 1.]]]])]

    def merged(**options):
        return merge_maps(raw, 1, 2, align16=False, eps=0, **options)[0, 0].tolist()

    assert merged(normalize='none') == [6., 12.]       # (1 + 4, 0 + 6) + (0 + 1, 5 + 1)
    assert merged() == [.5, 1.]
    assert merged(normalize='minmax') == [0., 1.]
    assert merged(normalize='none', flip_fusion='max') == [5., 11.]
    assert merged(normalize='none', scale_fusion='max') == [5., 6.]
    wide = [torch.tensor([[[[-4., 4.]]]])]
    for relu, expected in (('before', [0., 1., 3., 4.]), ('after', [0., 0., 2., 4.])):
        close(merge_maps(wide, 1, 4, relu=relu, align16=False, normalize='none')[0, 0], torch.tensor(expected))


# ---------------------------------------------------------------- what must change nothing

@pytest.mark.parametrize('localizer', LOCALIZERS, ids=['CAM', 'GradCAM', 'layer'])
@pytest.mark.parametrize('head', ['GAPHead', 'GPPHead'])
def test_a_batch_equals_one_by_one(classifier_of, tags_of, localizer, head):
    model, tags = classifier_of(head=head), tags_of((0, 5), (), (1, 2, 3))
    images = [picture(37, 50, i) for i in range(3)]
    multi = MultiScale(localizer, scales=(1., .5, 1.5))
    together = multi.class_maps(model, images, tags)
    for i, found in enumerate(together):
        alone, = multi.class_maps(model, images[i:i + 1], tags[i:i + 1])
        assert (found.class_ids == alone.class_ids).all() and found.maps.shape == (int(tags[i].sum()), 37, 50)
        np.testing.assert_allclose(found.maps, alone.maps, atol=1e-5)
    assert all(found.maps.max() > .9 for found in together[::2])


@pytest.mark.parametrize('backbone', ['toy', 'mobile', 'swin'])
@pytest.mark.parametrize('relu', ['before', 'after'])
def test_the_mirror_image_has_mirrored_maps(classifier_of, tags_of, backbone, relu):
    model, image, tags = classifier_of(backbone), picture(64, 96), tags_of((0, 3))
    for options in (dict(scales=(1.,)), dict(scales=(1., .5), flip_fusion='max', output='quarter')):
        multi = MultiScale(CAM(), relu=relu, align16=False, **options)
        maps, = multi.class_maps(model, [image], tags)
        mirrored, = multi.class_maps(model, [image[:, ::-1].copy()], tags)
        np.testing.assert_allclose(mirrored.maps, maps.maps[:, :, ::-1], atol=1e-4)
        assert np.abs(maps.maps - maps.maps[:, :, ::-1]).max() > .1


def test_classes_do_not_see_each_other(classifier_of, tags_of):
    model, image = classifier_of(), [picture(30, 41)]
    for localizer in LOCALIZERS:
        multi = MultiScale(localizer)
        three, = multi.class_maps(model, image, tags_of((1, 2, 4)))
        one, = multi.class_maps(model, image, tags_of((2,)))
        np.testing.assert_allclose(three.maps[1], one.maps[0], atol=1e-5)


@pytest.mark.parametrize(('height', 'width'), [(1, 40), (40, 1), (1, 1), (3, 5)])
@pytest.mark.parametrize('output', ['full', 'quarter'])
def test_tiny_images(classifier_of, tags_of, height, width, output):
    found, = MultiScale(CAM(), output=output).class_maps(classifier_of(), [picture(height, width)], tags_of((0, 1)))
    size = (height, width) if output == 'full' else (-(-height // 4), -(-width // 4))
    assert found.maps.shape == (2, *size) and np.isfinite(found.maps).all()
    assert found.maps.min() >= 0 and found.maps.max() <= 1


def test_maps_without_evidence_are_zero():
    for value in (0., -3.):
        raw = [torch.full((2, 2, 3, 4), value)]
        for options in (dict(), dict(relu='after'), dict(normalize='minmax'), dict(normalize='none')):
            assert not merge_maps(raw, 10, 12, **options).any()
    assert merge_maps([torch.zeros(0, 2, 3, 4)] * 2, 10, 12).shape == (0, 10, 12)


def test_images_of_rgb_are_normalised_by_the_models_own_numbers(classifier_of, tags_of):
    """What the localizer sees is what the classifier was trained on: the preprocessor's output for the BGR image."""
    model, image = classifier_of(), picture(20, 24)

    class Seen(CAM):
        def maps(self, model, inputs, tags, views):
            self.inputs = inputs
            assert views == Views(('0',), 1., True)
            return super().maps(model, inputs, tags)

    seen = Seen()
    MultiScale(seen, scales=(1.,)).class_maps(model, [image], tags_of((1,)))
    bgr = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)
    expected = model.data_preprocessor(dict(inputs=[bgr], data_samples=None), False)['inputs']
    close(seen.inputs, torch.cat([expected, expected.flip(3)]))


# ---------------------------------------------------------------- refusals

def test_what_is_refused(classifier_of, tags_of):
    model, image, tags = classifier_of(), picture(20, 24), tags_of((1,))
    for options, word in ((dict(relu='never'), 'relu'), (dict(flip_fusion='mean'), 'flip_fusion'),
                          (dict(output='half'), 'output'), (dict(normalize='l2'), 'normalize'),
                          (dict(scales=()), 'scales'), (dict(scales=(1., 0.)), 'scales')):
        with pytest.raises(ConfigError, match=word):
            MultiScale(CAM(), **options)
    multi = MultiScale(CAM())
    with pytest.raises(DataError, match='size by size'):
        multi.raw_maps(model, [image, image[:10]], tags_of((1,), (1,)))
    with pytest.raises(DataError, match='float64'):
        multi.raw_maps(model, [image / 255], tags)
    with pytest.raises(ConfigError, match='tags of 3 classes, the classifier has 6'):
        multi.raw_maps(model, [image], tags[:, :3])
    for preprocessor in (dict(type='SegDataPreProcessor', test_cfg=dict(size_divisor=32)),
                         dict(type='mmengine.BaseDataPreprocessor')):
        model.data_preprocessor = MODELS.build(Config(preprocessor))
        with pytest.raises(ConfigError, match='data preprocessor makes'):
            multi.raw_maps(model, [image], tags)


def test_a_trace_ends_with_the_maps_and_short_scales_wait(classifier_of, tags_of):
    class Steps(Localizer):
        def maps(self, model, inputs, tags, views):
            return list(self.trace(model, inputs, tags, views))[-1]

        def trace(self, model, inputs, tags, views):
            for step in range(3 if views.scale == 1 else 2):
                yield (step + 1) * CAM().maps(model, inputs, tags)

    model, image, tags = classifier_of(), picture(32, 40), tags_of((1, 4))
    multi = MultiScale(Steps(), scales=(1., .5))
    steps = list(multi.trace(model, image, tags[0]))
    once = MultiScale(CAM(), scales=(1., .5)).raw_maps(model, [image], tags)[0]
    assert len(steps) == 3
    for step, factors in zip(steps, [(1, 1), (2, 2), (3, 2)], strict=True):
        for maps, factor, single in zip(step, factors, once, strict=True):
            close(maps, factor * single)
    for maps, last in zip(multi.raw_maps(model, [image], tags)[0], steps[-1], strict=True):
        close(maps, last)
    assert len(list(MultiScale(CAM()).trace(model, image, tags[0]))) == 1

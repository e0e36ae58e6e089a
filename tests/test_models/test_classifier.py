"""CAMClassifier's modes, objectives, and the image-level heads."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmseg.structures import SegDataSample
from torch import nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads import GAPHead
from wsss_mm.registry import MODELS

TOY = dict(type='wsss_mm.ToyNet', channels=(8, 8, 12))
GAP = dict(type='wsss_mm.GAPHead', num_classes=3, in_channels=12)


def build(**options):
    torch.manual_seed(0)
    return MODELS.build(dict(type='wsss_mm.CAMClassifier', **dict(dict(backbone=TOY, head=GAP), **options)))


def tagged(*tags):
    samples = [SegDataSample() for _ in tags]
    for sample, tag in zip(samples, tags, strict=True):
        sample.set_data(dict(gt_label=torch.tensor(tag, dtype=torch.float32)))
    return samples


def test_image_logit_is_the_mean_of_the_class_map():
    model, images = build().eval(), torch.randn(2, 3, 32, 40)
    maps = model.class_maps(images)
    assert maps.shape == (2, 3, 8, 10)
    torch.testing.assert_close(model(images), maps.mean((2, 3)))
    torch.testing.assert_close(model(images)[1:], model(images[1:]))
    feature = model.extract_feat(images)[0]
    torch.testing.assert_close(maps[1, 2, 3, 4], feature[1, :, 3, 4] @ model.head.weight_matrix[2])


def test_multi_label_soft_margin_by_hand():
    head = GAPHead(num_classes=2, in_channels=1, loss_weight=.5)
    head.classifier.weight.data = torch.tensor([1., -2.]).view(2, 1, 1, 1)
    feature = torch.tensor([[0., 2.], [1., 1.]]).view(1, 1, 2, 2)  # mean 1, so the logits are 1 and -2
    expected = (torch.log1p(torch.exp(torch.tensor(-1.))) + torch.log1p(torch.exp(torch.tensor(-2.)))) / 2
    torch.testing.assert_close(head.loss((feature,), tagged([1, 0]))['loss_cls'], .5 * expected)
    (sample,) = head.predict((feature,), tagged([1, 0]))
    torch.testing.assert_close(sample.pred_label, torch.sigmoid(torch.tensor([1., -2.])))


def test_predict_without_samples_makes_them():
    results = build().eval()(torch.randn(2, 3, 32, 32), mode='predict')
    assert [r.pred_label.shape for r in results] == [(3,), (3,)]


def test_stacked_objectives_add_to_the_loss_and_can_run_the_classifier_again():
    @MODELS.register_module(force=True)
    class FlipConsistency(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def loss(self, classifier, inputs, feats, data_samples):
            flipped = classifier.class_maps(inputs.flip(3)).flip(3)
            difference = (classifier.head.class_maps(feats) - flipped).abs().mean()
            return {f'loss_{self.name}': difference, f'number_{self.name}': torch.tensor(float(len(data_samples)))}

    images, samples = torch.randn(2, 3, 32, 32), tagged([1, 0, 0], [0, 1, 1])
    objectives = [dict(type='wsss_mm.FlipConsistency', name=name) for name in 'ab']
    model = build(objectives=objectives).eval()
    losses = model(images, samples, mode='loss')
    assert list(losses) == ['loss_cls', 'loss_a', 'number_a', 'loss_b', 'number_b']
    assert losses['loss_a'] > 0 and losses['number_b'] == 2
    total, _ = model.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_cls'] + losses['loss_a'] + losses['loss_b'])
    with pytest.raises(ConfigError, match=r"FlipConsistency gives \['loss_a', 'number_a'\]"):
        build(objectives=[objectives[0]] * 2)(images, samples, mode='loss')


def test_neck_stands_between():
    class Double(nn.Module):
        def forward(self, feats):
            return tuple(2 * f for f in feats)

    MODELS.register_module(module=Double, force=True)
    plain, doubled, images = build().eval(), build(neck=dict(type='wsss_mm.Double')).eval(), torch.randn(1, 3, 32, 32)
    doubled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(doubled(images), 2 * plain(images))


def test_training_steps_learn_the_tags():
    model, images, samples = build(), torch.randn(4, 3, 32, 32), tagged([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0])
    optim = OptimWrapper(torch.optim.Adam(model.parameters(), 1e-2))
    first = model.train_step(dict(inputs=images, data_samples=samples), optim)['loss']
    for _ in range(20):
        last = model.train_step(dict(inputs=images, data_samples=samples), optim)['loss']
    assert last < .5 * first


def test_what_does_not_fit_is_named():
    images = torch.randn(1, 3, 32, 32)
    with pytest.raises(ConfigError, match='has 12 channels.*\n.*in_channels=12'):
        build(head=dict(GAP, in_channels=16))(images)
    with pytest.raises(ConfigError, match='gt_label'):
        build()(images, [SegDataSample()], mode='loss')
    with pytest.raises(ConfigError, match="mode='train'"):
        build()(images, mode='train')
    with pytest.raises(ConfigError, match="data_samples=NoneType"):
        build()(images, mode='loss')
    with pytest.raises(ConfigError, match='tuple of maps'):
        GAPHead(3, 12)(torch.randn(1, 12, 4, 4))

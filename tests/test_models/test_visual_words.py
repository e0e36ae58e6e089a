"""Visual words: parity with the published encoder and step, its options, and its company."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from mmseg.structures import SegDataSample
from torch import nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.data_preprocessor import WeakSegDataPreProcessor
from wsss_mm.models.objectives import VisualWords
from wsss_mm.models.objectives.visual_words import (
    decorrelation_loss,
    image_area,
    present_words,
    word_histogram,
    word_probabilities,
    word_similarity,
)
from wsss_mm.registry import MODELS

TAGS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]


def tagged(tags):
    samples = [SegDataSample() for _ in tags]
    for sample, tag in zip(samples, tags, strict=True):
        sample.set_data(dict(gt_label=torch.as_tensor(tag, dtype=torch.float32)))
    return samples


class PublishedNet(nn.Module):
    """The fixture's network, with its names; nothing before ``stage3`` is trained."""

    def __init__(self):
        super().__init__()
        self.stage1, self.stage2 = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.Conv2d(16, 16, 1, bias=False)
        self.stage3, self.stage4 = nn.Conv2d(16, 32, 3, 1, 1, bias=False), nn.Conv2d(32, 32, 3, 1, 1, bias=False)

    def forward(self, x):
        x = F.relu(self.stage2(F.relu(self.stage1(x)))).detach()
        return (F.relu(self.stage4(F.relu(self.stage3(x)))),)


def words(classes=3, channels=6, k=8, **options):
    torch.manual_seed(0)
    return VisualWords(classes, channels, k, **options)


def terms(objective, feature, tags, samples=None, inputs=None):
    inputs = torch.zeros(len(feature), 3, 32, 32) if inputs is None else inputs
    return objective.loss(None, inputs, (feature,), samples or tagged(tags))


def test_the_encoder_is_the_published_one(parity):
    f = parity('vwe/encoder_k64')
    feature, codebook = f['F'].requires_grad_(), f['C'].requires_grad_()
    similarity = word_similarity(feature.detach(), codebook)
    torch.testing.assert_close(similarity, f['S'], rtol=1e-4, atol=1e-6)
    probabilities = word_probabilities(similarity)
    torch.testing.assert_close(probabilities, f['P'], rtol=1e-4, atol=1e-6)
    assert (similarity.argmax(1) == f['Y']).all()
    assert (present_words(similarity) == f['y_word']).all()
    histogram = word_histogram(probabilities)
    torch.testing.assert_close(histogram, f['hist_sum'], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(word_histogram(probabilities, kind='mean'), f['f_word_mean'], rtol=1e-4, atol=1e-6)
    histogram.backward(f['g_hist'])
    torch.testing.assert_close(codebook.grad, f['grad_C'], rtol=1e-4, atol=1e-6 * f['grad_C'].abs().max().item())


def test_a_step_of_the_published_network(parity):
    f = parity('vwe/head_step')
    MODELS.register_module(name='PublishedWordNet', module=PublishedNet, force=True)
    model = MODELS.build(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.PublishedWordNet'),
        head=dict(type='wsss_mm.HSPPHead', num_classes=20, in_channels=32, remainder='official'),
        objectives=[dict(type='wsss_mm.VisualWords', num_classes=20, in_channels=32, num_words=48)]))
    objective = model.objectives[0]
    parameters = {f'stage{i}.0.weight': getattr(model.backbone, f'stage{i}').weight for i in (1, 2, 3, 4)}
    parameters.update({'classifier.weight': model.head.classifier.weight, 'VWE.centroid': objective.codebook,
                       'fc_a.weight': objective.word_to_image.weight, 'fc_b.weight': objective.words.weight})
    for name, parameter in parameters.items():
        parameter.data = f[f'param.{name}'].view(parameter.shape)
    assert len(parameters) == len(list(model.parameters()))

    losses = model(f['img'], tagged(f['label']), mode='loss')
    assert losses['active_words'].item() == pytest.approx(f['y_word'].sum(1).mean().item())
    for name, key in (('loss_cls', 'img'), ('loss_w2i', 'w2i'), ('loss_word', 'word')):
        torch.testing.assert_close(losses[name], torch.tensor(f[f'loss_{key}'].item()), rtol=1e-5, atol=1e-6)
        gradients = torch.autograd.grad(losses[name], list(parameters.values()), retain_graph=True, allow_unused=True)
        for parameter_name, gradient in zip(parameters, gradients, strict=True):
            expected = f.get(f'grad_{key}.{parameter_name}')
            if expected is None:
                assert gradient is None, (name, parameter_name)
            else:
                torch.testing.assert_close(gradient, expected.view(gradient.shape), rtol=1e-4,
                                           atol=1e-6 * expected.abs().max().item())
    assert model.parse_losses(losses)[0].item() == pytest.approx(f['loss_total'].item(), rel=1e-5)
    torch.testing.assert_close(model.class_maps(f['img']).relu(), f['cam_img_relu'], rtol=1e-4, atol=1e-5)


def test_logits_of_the_published_step(parity):
    f = parity('vwe/head_step')
    similarity = word_similarity(f['F'], f['param.VWE.centroid'].flatten(1))
    assert (present_words(similarity) == f['y_word']).all()
    histogram = word_histogram(word_probabilities(similarity))
    torch.testing.assert_close(F.linear(histogram, f['param.fc_a.weight'].flatten(1)), f['p_w2i'], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('hist, reduce', [('sum', torch.sum), ('mean', torch.mean)])
def test_the_words_class_maps_add_up_to_their_image_logit(hist, reduce):
    objective, feature = words(hist=hist, tau=.1), torch.rand(4, 6, 5, 7)
    logits = reduce(objective.class_maps((feature,)), (2, 3))
    loss = terms(objective, feature, TAGS)['loss_w2i']
    torch.testing.assert_close(loss, F.multilabel_soft_margin_loss(logits, torch.tensor(TAGS).float()))
    torch.testing.assert_close(objective.class_maps((feature.flip(3),)), objective.class_maps((feature,)).flip(3))
    torch.testing.assert_close(objective.class_maps((feature[1:2],)), objective.class_maps((feature,))[1:2])


def test_present_words_are_those_of_a_one_hot_map():
    similarity = torch.randn(3, 40, 4, 5)
    one_hot = F.one_hot(similarity.argmax(1), 40).amax((1, 2))
    assert (present_words(similarity) == one_hot).all()
    valid = torch.zeros(3, 4, 5, dtype=torch.bool)
    valid[:2, 1, 2] = True
    found = present_words(similarity, valid)
    assert found.sum(1).tolist() == [1, 1, 0] and found[0].argmax() == similarity[0, :, 1, 2].argmax()


def test_pixels_of_length_zero_are_word_0_unless_left_out():
    feature = torch.rand(2, 6, 3, 3) + .1
    feature[0, :, 0, 0] = 0
    feature[1] = 0
    similarity = word_similarity(feature, words().codebook)
    assert (similarity[1] == 0).all() and similarity.isfinite().all()
    assert present_words(similarity)[1].tolist() == [1] + [0] * 7
    plain, left_out = words(), words(ignore_zero=True)
    feature.requires_grad_()
    first, second = terms(plain, feature, TAGS[:2]), terms(left_out, feature, TAGS[:2])
    assert second['active_words'] < first['active_words']
    expected = F.linear(word_histogram(word_probabilities(similarity))[:1]
                        - word_probabilities(similarity)[:1, :, 0, 0], left_out.word_to_image.weight)
    expected = torch.cat([expected, torch.zeros(1, 3)])  # nothing is left of the second image
    expected = F.multilabel_soft_margin_loss(expected, torch.tensor(TAGS[:2]).float())
    torch.testing.assert_close(second['loss_w2i'], expected)
    (second['loss_w2i'] + second['loss_word']).backward()
    assert feature.grad.isfinite().all() and left_out.codebook.grad.isfinite().all()


def test_padding_is_left_out_as_the_preprocessor_made_it():
    images = [torch.rand(3, 16, 32) * 255, torch.rand(3, 32, 20) * 255]
    data = WeakSegDataPreProcessor(mean=[120.] * 3, std=[60.] * 3)(
        dict(inputs=images, data_samples=tagged(TAGS[:2])), training=True)
    area = image_area(data['data_samples'], data['inputs'], (8, 8))
    expected = torch.zeros(2, 8, 8, dtype=torch.bool)
    expected[0, :4], expected[1, :, :5] = True, True
    assert (area == expected).all()
    assert image_area(tagged(TAGS[:1]), data['inputs'], (2, 3)).all()
    assert (image_area([SegDataSample(metainfo=dict(padding_size=(16, 0, 8, 8)))], data['inputs'], (8, 4))[0]
            == torch.tensor([0, 0, 1, 1, 1, 1, 0, 0])[:, None].bool() & torch.tensor([0, 0, 1, 1]).bool()).all()

    feature = torch.rand(2, 6, 8, 8)
    other = torch.where(area[:, None], feature, torch.rand(2, 6, 8, 8))
    objective = words(ignore_padding=True, hist='mean')
    first, second = (terms(objective, x, None, data['data_samples'], data['inputs']) for x in (feature, other))
    torch.testing.assert_close(first['loss_w2i'], second['loss_w2i'])
    assert first['active_words'] == second['active_words']
    cropped = torch.cat([terms(objective, x, [t])['loss_w2i'][None] for x, t in
                         ((feature[:1, :, :4], TAGS[0]), (feature[1:, :, :, :5], TAGS[1]))])
    torch.testing.assert_close(first['loss_w2i'], cropped.mean())


def test_a_low_temperature_makes_the_assignment_hard():
    similarity = torch.randn(2, 5, 3, 3)
    hard = word_probabilities(similarity, tau=1e-4)
    torch.testing.assert_close(hard, F.one_hot(similarity.argmax(1), 5).permute(0, 3, 1, 2).float(), atol=1e-4, rtol=0)
    flat = word_probabilities(F.normalize(similarity, dim=1))
    assert (flat.amax(1) / flat.amin(1)).max() <= math.e ** 2 + 1e-4


def test_attached_features_are_trained_by_the_histogram():
    feature = torch.rand(4, 6, 5, 5, requires_grad=True)
    with pytest.raises(RuntimeError, match='not have been used|unused'):
        torch.autograd.grad(terms(words(), feature, TAGS)['loss_w2i'], feature)
    (gradient,) = torch.autograd.grad(terms(words(detach_features=False), feature, TAGS)['loss_w2i'], feature)
    assert gradient.abs().max() > 0


def test_gradients_in_float64():
    feature = torch.rand(2, 6, 3, 3, dtype=torch.float64, requires_grad=True)
    objective = words(detach_features=False, ignore_zero=True, decorrelation=1., hist='mean').double()

    def total(feature, codebook):
        objective.codebook.data = codebook.data
        similarity = word_similarity(feature, codebook)
        histogram = word_histogram(word_probabilities(similarity, .5), feature.detach().ne(0).any(1), 'mean')
        return objective.word_to_image(histogram).square().sum() + decorrelation_loss(codebook)

    codebook = objective.codebook.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(total, (feature, codebook))
    assert terms(objective, feature, TAGS[:2])['loss_w2i'].dtype == torch.float64


def test_decorrelation_by_hand():
    apart = torch.tensor([[1., -1., 0., 0.], [0., 0., 2., -2.]]) + torch.tensor([[3.], [-5.]])
    torch.testing.assert_close(decorrelation_loss(apart), torch.tensor(0.))
    same = torch.tensor([[1., -1.], [1., -1.]])  # Gram matrix of twos: norm 4, its diagonal's sqrt(8)
    torch.testing.assert_close(decorrelation_loss(same), torch.tensor((4 - 8 ** .5) / 2))
    losses = terms(words(decorrelation=2.), torch.rand(4, 6, 3, 3), TAGS)
    torch.testing.assert_close(losses['loss_decorrelation'], 2 * decorrelation_loss(words().codebook))
    assert 'loss_decorrelation' not in terms(words(), torch.rand(4, 6, 3, 3), TAGS)


def test_weights_and_the_codebook_s_initial_spread():
    feature = torch.rand(4, 6, 5, 5)
    plain, weighted = (terms(o, feature, TAGS) for o in (words(), words(w2i_weight=.5, word_weight=3.)))
    torch.testing.assert_close(weighted['loss_w2i'], .5 * plain['loss_w2i'])
    torch.testing.assert_close(weighted['loss_word'], 3 * plain['loss_word'])
    assert VisualWords(20, 2048).codebook.std().item() == pytest.approx(.0128, rel=.01)
    assert VisualWords(20, 2048).codebook.norm(dim=1).mean().item() == pytest.approx(.58, rel=.01)


def test_under_autocast_words_are_those_of_float32():
    objective, feature = words(k=32), torch.rand(4, 6, 8, 8)
    full = terms(objective, feature, TAGS)
    with torch.autocast('cpu', torch.bfloat16):
        half = terms(objective, feature, TAGS)
    for name in full:
        torch.testing.assert_close(half[name], full[name])
    with torch.autocast('cpu', torch.bfloat16):
        coarse = terms(objective, feature.bfloat16(), TAGS)
    assert coarse['loss_w2i'].dtype == coarse['loss_word'].dtype == torch.float32


def test_no_tags_and_one_word_are_no_special_case():
    losses = terms(words(k=1), torch.rand(2, 6, 3, 3), [[0, 0, 0]] * 2)
    assert losses['active_words'] == 1
    assert all(value.isfinite() for value in losses.values())


def test_gated_pyramid_words_and_attention_mining_train_together():
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='MobileNetV2', out_indices=(2, 4)),
        neck=dict(type='wsss_mm.EmbeddingNeck', in_channels=96, channels=24),
        head=dict(type='wsss_mm.GPPHead', num_classes=3, in_channels=24),
        objectives=[dict(type='wsss_mm.VisualWords', num_classes=3, in_channels=24, num_words=16),
                    dict(type='wsss_mm.AttentionMining'), dict(type='wsss_mm.ErasingTriplet', min_hard=0)]))
    model.init_weights()
    model.train()
    images, samples = torch.randn(4, 3, 48, 48), tagged(TAGS)
    losses = model(images, samples, mode='loss')
    assert {'loss_cls', 'loss_w2i', 'loss_word', 'loss_am', 'loss_attract', 'loss_repel'} <= set(losses)
    model.parse_losses(losses)[0].backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not [name for name in without if not name.startswith('backbone.layer')]  # layers after the last map used
    assert model.backbone.conv1.conv.weight.grad.abs().max() > 0
    optim = OptimWrapper(torch.optim.Adam(model.parameters(), 3e-3))
    logs = [model.train_step(dict(inputs=images, data_samples=samples), optim) for _ in range(12)]
    assert logs[-1]['loss_w2i'] < logs[0]['loss_w2i'] and logs[-1]['loss_cls'] < logs[0]['loss_cls']
    assert 1 <= logs[-1]['active_words'] <= 16
    assert model.objectives[0].class_maps(model.extract_feat(images)).shape == model.class_maps(images).shape


@pytest.mark.parametrize('options, message', [
    (dict(hist='max'), "hist='max'.*\n.*'sum' or 'mean'"), (dict(k=0), 'num_words=0'), (dict(tau=0.), 'tau=0.0')])
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        words(**options)


def test_what_does_not_fit_is_named():
    with pytest.raises(ConfigError, match='VisualWords: in_channels=6, but map -1 .* 7 channels'):
        words().class_maps((torch.rand(1, 7, 3, 3),))
    with pytest.raises(ConfigError, match='gt_label'):
        terms(words(), torch.rand(1, 6, 3, 3), None, [SegDataSample()])

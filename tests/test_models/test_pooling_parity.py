"""Pooling heads give the numbers and the gradients of the published codes."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample

from wsss_mm.models.heads import GPPHead, HSPPHead
from wsss_mm.models.heads import gated_pyramid_pooling as gpp
from wsss_mm.models.heads.hspp_head import hybrid_pyramid_pool
from wsss_mm.models.necks import EmbeddingNeck

close = torch.testing.assert_close


def tagged(tags):
    return [SegDataSample(gt_label=torch.as_tensor(tag, dtype=torch.float32)) for tag in tags]


def largest_relative(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture
def official_gpp(parity):
    """The fixture, and a head whose class maps are its features."""
    data = parity('aeft/gpp_20x20')
    head = GPPHead(20, 20)
    head.classifier.weight.data = torch.eye(20)[:, :, None, None]
    for i in range(3):
        head.alpha[i].data = data[f'w_alpha_{i + 1}'].clone()
        head.beta[i].data = data[f'w_beta_{i + 1}'].clone()
    return data, head


def test_gpp_matches_the_official_code(official_gpp):
    data, head = official_gpp
    class_maps = data['f']
    levels = gpp.pyramid(class_maps, head.bins)
    running = levels[0]
    for i, bins in enumerate((4, 8, 16)):
        close(levels[i + 1], data[f'P{bins}_up'], rtol=1e-5, atol=1e-6)
        running = gpp.gated_sum(running, levels[i + 1], head.alpha[i], head.beta[i])
        close(running, data[f'Phat{bins}'], rtol=1e-4, atol=1e-6)
    close(levels[0], data['P2_up'], rtol=1e-5, atol=1e-6)
    close(head.pooled_maps(class_maps), data['Phat16'], rtol=1e-4, atol=1e-6)
    close(head((class_maps,)), data['logits'], rtol=1e-4, atol=1e-6)


def test_gradients_of_gpp_match_the_official_code(official_gpp):
    data, head = official_gpp
    class_maps = data['f'].requires_grad_()
    loss = head.loss((class_maps,), tagged(data['label']))['loss_cls']
    close(loss.item(), float(data['bce']), rtol=1e-6, atol=0)
    loss.backward()
    assert largest_relative(class_maps.grad, data['grad_f']) < 1e-5
    for i in range(3):
        assert largest_relative(head.alpha[i].grad, data[f'grad_w_alpha_{i + 1}']) < 1e-5
        assert largest_relative(head.beta[i].grad, data[f'grad_w_beta_{i + 1}']) < 1e-5


def test_neck_and_head_give_the_logits_and_the_loss_of_the_official_step(parity):
    data = parity('aeft/aeft_step_stage2')
    neck, head = EmbeddingNeck(12, 16), GPPHead(20, 16, loss_images=8)
    neck.embedding.weight.data = data['param.fc8.weight']
    head.classifier.weight.data = data['param.fc9.weight']
    for i in range(3):
        head.alpha[i].data = data[f'param.gconv{i + 1}.att_p.0.weight']
        head.beta[i].data = data[f'param.gconv{i + 1}.att_n.0.weight']
    for name in ('', '_masked'):
        image = data['img'] * (data['mask_pos'] if name else 1)
        feats = neck((F.conv2d(image, data['param.conv1a.weight'], stride=2, padding=1).relu(),))
        close(head.pooled_maps(head.class_maps(feats)), data[f'gpp{name}'], rtol=1e-4, atol=1e-6)
        close(head(feats), data[f'logits{name}'], rtol=1e-4, atol=1e-6)
        if not name:
            close(head.class_maps(feats), data['cam'], rtol=1e-4, atol=1e-5)
            loss = head.loss(feats, tagged(data['label']))['loss_cls']
            close(loss.item(), float(data['loss_cls_weighted']), rtol=1e-6, atol=0)


@pytest.mark.parametrize('size', ['32x32', '16x16', '4x4', '33x35', '30x41', '7x9', '11x6', '5x4'])
def test_hspp_matches_the_official_code(parity, size):
    data = parity('vwe/hspp_gamma2')
    features = data[f'F_{size}'].requires_grad_()
    out = hybrid_pyramid_pool(features, remainder='official')
    close(out, data[f'out_{size}'].flatten(1), rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(out, features, data[f'gout_{size}'].flatten(1))
    close(gradient, data[f'gradF_{size}'], rtol=1e-5, atol=1e-7)
    adaptive = hybrid_pyramid_pool(features)
    if size in ('32x32', '16x16', '4x4'):
        assert torch.equal(adaptive, out)
        assert torch.equal(torch.autograd.grad(adaptive, features, data[f'gout_{size}'].flatten(1))[0], gradient)
    else:
        assert (adaptive - out).abs().max() > 1e-3


def test_hspp_head_gives_the_official_step(parity):
    """On 12 x 18, which 4 does not divide."""
    data = parity('vwe/head_step')
    head = HSPPHead(20, 32, remainder='official')
    head.classifier.weight.data = data['param.classifier.weight']
    features = data['F']
    close(head((features,)), data['p_img'], rtol=1e-4, atol=1e-6)
    loss = head.loss((features,), tagged(data['label']))['loss_cls']
    close(loss.item(), float(data['loss_img']), rtol=1e-6, atol=0)
    loss.backward()
    assert largest_relative(head.classifier.weight.grad, data['grad_img.classifier.weight']) < 1e-5
    close(head.class_maps((features,)).relu(), data['cam_img_relu'], rtol=1e-4, atol=1e-5)

"""IRNet: a frozen backbone with two branches, and the mean displacement that its hook sets."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from wsss_mm.engine import DisplacementMeanHook
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.models.affinity.irn import Projection, join
from wsss_mm.registry import MODELS

TOY_LEVELS = [dict(in_index=i, in_channels=width, stride=4, boundary_channels=8, displacement_channels=8,
                   displacement_groups=4) for i, width in enumerate((12, 16, 16))]
RESNET_LEVELS = [
    dict(in_index=i, in_channels=width, stride=stride, boundary_channels=8, displacement_channels=8,
         displacement_groups=4) for i, (width, stride) in enumerate(((64, 4), (64, 4), (128, 8), (256, 16), (512, 16)))]


def toy(**options):
    torch.manual_seed(0)
    return MODELS.build(dict(
        type='wsss_mm.IRNet', levels=TOY_LEVELS, channels=8, groups=4, radius=3, num_classes=3,
        backbone=dict(type='wsss_mm.ToyNet', channels=(8, 12, 16), out_indices=(0, 1, 2)),
        data_preprocessor=dict(type='SegDataPreProcessor', mean=[110.] * 3, std=[60.] * 3, bgr_to_rgb=True)) | options)


def resnet():
    torch.manual_seed(0)
    return MODELS.build(dict(
        type='wsss_mm.IRNet', levels=RESNET_LEVELS, channels=8, groups=4, radius=3,
        backbone=dict(type='wsss_mm.ResNetWithStem', depth=18, out_indices=(0, 1, 2, 3))))


def test_norm_comes_before_enlarging_and_relu_last():
    torch.manual_seed(0)
    project, x = Projection(6, 8, groups=4, factor=2), torch.randn(2, 6, 3, 5)
    torch.nn.init.uniform_(project.norm.weight)
    by_hand = torch.einsum('oc,nchw->nohw', project.conv.weight[:, :, 0, 0], x)
    grouped = by_hand.reshape(2, 4, -1)
    normed = (grouped - grouped.mean(2, keepdim=True)) / (grouped.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    normed = normed.view(by_hand.shape) * project.norm.weight[:, None, None]
    expected = F.interpolate(normed, (6, 10), mode='bilinear', align_corners=False).relu()
    torch.testing.assert_close(project(x), expected)


def test_joined_maps_are_cut_right_and_below():
    small, large = torch.rand(1, 1, 3, 4), torch.rand(1, 2, 4, 4)
    assert join([small, large])[:, 1:].equal(large[:, :, :3])
    with pytest.raises(ConfigError, match='a level of'):
        join([large, small])


@pytest.mark.parametrize('size', [(64, 64), (50, 71)])
def test_maps_of_the_stems_size_from_levels_of_three_strides(size):
    model = resnet().eval()
    found = model.predict(torch.randn(1, 3, *size))
    cells = [-(-side // 4) for side in size]
    assert found['boundary'].shape == (1, 1, *cells) and found['displacement'].shape == (1, 2, *cells)


def test_the_stem_comes_before_the_stages():
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type='wsss_mm.ResNetWithStem', depth=18, out_indices=(0, 3))).eval()
    plain = MODELS.build(dict(type='wsss_mm.ResNetCAM', depth=18, out_indices=(0, 3))).eval()
    plain.load_state_dict(backbone.state_dict())
    x = torch.randn(1, 3, 40, 48)
    stem, *stages = backbone(x)
    assert stem.shape == (1, 64, 10, 12)
    assert plain.layer1(stem).equal(stages[0])
    assert all(one.equal(other) for one, other in zip(stages, plain(x), strict=True))


def test_the_backbone_is_frozen_and_the_branches_learn():
    model = toy().train()
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    labels = torch.randint(0, 3, (2, 40, 48))
    losses = model.loss(torch.randn(2, 3, 40, 48), labels)
    assert set(losses) == {'loss_pos', 'loss_neg', 'loss_disp_fg', 'loss_disp_bg'}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith('backbone.')
        assert not parameter.requires_grad or parameter.grad.abs().sum() > 0, name
    assert not model.backbone.training and model.boundary.training
    assert all(v.equal(before[k]) for k, v in model.backbone.state_dict().items())


def test_losses_have_their_factor_of_a_half():
    from wsss_mm.models.affinity.irn_losses import irn_losses, nearest_labels
    model, inputs, labels = toy().eval(), torch.randn(1, 3, 40, 48), torch.randint(0, 3, (1, 40, 48))
    maps = model.predict(inputs)
    parts = irn_losses(maps['boundary'][:, 0].sigmoid(), maps['displacement'], nearest_labels(labels, (10, 12)),
                       radius=3, num_classes=3)
    assert {k: v.item() for k, v in model.loss(inputs, labels).items()} == \
        {f'loss_{k}': v.item() / 2 for k, v in parts.items()}


def test_images_of_a_batch_do_not_meet():
    model, inputs = toy().eval(), torch.randn(3, 3, 40, 48)
    together = model.predict(inputs)
    for i in range(3):
        alone = model.predict(inputs[i:i + 1])
        for name in alone:
            torch.testing.assert_close(together[name][i:i + 1], alone[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('levels', 'message'), [
    ([], 'levels is empty'), (RESNET_LEVELS[::-1], 'strides'),
    ([*TOY_LEVELS, dict(in_index=2, in_channels=16, stride=6)], 'strides')])
def test_levels_that_do_not_fit(levels, message):
    with pytest.raises(ConfigError, match=message):
        toy(levels=levels)


# ---------------------------------------------------------------- the mean displacement

class Images:
    """Images of several sizes, packed."""

    def __init__(self, count):
        generator = torch.Generator().manual_seed(0)
        self.images = [torch.randint(0, 256, (3, 40 + 8 * (i % 3), 44), dtype=torch.uint8, generator=generator)
                       for i in range(count)]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, idx):
        from mmseg.structures import SegDataSample
        size = tuple(self.images[idx].shape[1:])
        return dict(inputs=self.images[idx], data_samples=SegDataSample(metainfo=dict(ori_shape=size, img_shape=size)))


@pytest.fixture
def dataset(monkeypatch):
    """The hook's data set, without files."""
    def use(count):
        monkeypatch.setattr('wsss_mm.engine.irn_hook.DATASETS', SimpleNamespace(build=lambda config: Images(count)))
    return use


def test_the_mean_is_taken_off(dataset):
    dataset(5)
    model = toy().train()
    DisplacementMeanHook({}, crop_size=48, batch_size=2).after_train(SimpleNamespace(model=model))
    assert model.training and model.displacement_mean.abs().min() > 0
    model.eval()
    fields = []
    for i in range(5):   # cut above 48, padded behind the normalisation below
        image = (Images(5)[i]['inputs'].flip(0).float() - 110) / 60
        padded = torch.zeros(1, 3, 48, 48)
        padded[0, :, :min(48, image.shape[1]), :44] = image[:, :48]
        fields.append(model.predict(padded)['displacement'])
    torch.testing.assert_close(torch.cat(fields).mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-6)


def test_batches_and_few_images_do_not_matter(dataset):
    found = []
    for batch_size in (1, 2, 32):
        dataset(3)
        model = toy()
        DisplacementMeanHook({}, crop_size=(48, 48), batch_size=batch_size).after_train(SimpleNamespace(model=model))
        found.append(model.displacement_mean)
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


def test_what_the_hook_refuses(dataset):
    dataset(0)
    with pytest.raises(DataError, match='no image'):
        DisplacementMeanHook({}).after_train(SimpleNamespace(model=toy()))
    with pytest.raises(ConfigError, match='the model is a Linear'):
        DisplacementMeanHook({}).after_train(SimpleNamespace(model=torch.nn.Linear(1, 1)))

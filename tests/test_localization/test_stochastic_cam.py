"""FickleNet's localization: the fixture, aggregation, and masks that nothing but seed, image, view and pass decide."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from wsss_mm.errors import ConfigError
from wsss_mm.localization import MultiScale, StochasticCAM, Views
from wsss_mm.localization import stochastic_cam as module
from wsss_mm.localization.stochastic_cam import MaskWords, row_views, stochastic_grad_cam
from wsss_mm.models.heads import StochasticHead
from wsss_mm.models.heads.stochastic_head import seen_by_taps
from wsss_mm.pseudo_labels import ClassMapLabels
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.registry import MODELS
from wsss_mm.structures import ClassMaps, ImageSample

close = torch.testing.assert_close


def by_position(masks, size):
    """Masks of the expanded map ``(M, s·h, s·w)`` by the position that is seen: ``(M, h, w, s²)``."""
    windows = masks.unflatten(1, (-1, size)).unflatten(3, (-1, size))
    h, w, reach = windows.shape[1], windows.shape[3], size // 2
    padded = F.pad(windows.permute(0, 2, 4, 1, 3), [reach] * 4)      # (M, s, s, h + 2r, w + 2r)
    return torch.stack([padded[:, dy, dx, size - 1 - dy:, size - 1 - dx:][:, :h, :w]
                        for dy in range(size) for dx in range(size)], 3)


@pytest.fixture(params=['s3', 's5', 's9'])
def case(request, parity):
    """The fixture's numbers, a classifier that gives its feature map whatever the input, and masks by position."""
    data = {k[3:].replace('.', '_'): v for k, v in parity('ficklenet/ficklenet').items()
            if k.startswith(request.param + '_')}
    found = SimpleNamespace(size=int(request.param[1:]), **data)
    head = StochasticHead(len(found.W), found.x.shape[0], kernel_size=found.size, drop_prob=float(found.p)).double()
    head.classifier.weight.data.copy_(found.W)
    head.classifier.bias.data.copy_(found.b)
    found.model = SimpleNamespace(head=head.eval(), extract_feat=lambda x: (found.x[None].expand(len(x), -1, -1, -1),))
    found.kept = by_position(found.masks, found.size)
    found.tags = torch.ones(1, len(found.W), dtype=torch.bool)
    return found


@pytest.fixture
def fixed_masks(monkeypatch, case):
    """The fixture's masks in the place of drawn ones, three at a time."""
    monkeypatch.setattr(module, '_MASK_NUMBERS', 3 * case.kept[0].numel())

    def kept(self, passes, *_):
        start = vars(self).setdefault('start', 0)
        self.start += passes
        return case.kept[start:self.start]
    monkeypatch.setattr(MaskWords, 'kept', kept)


# ---------------------------------------------------------------- the fixture

@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_grad_cam_of_each_mask(case, dtype, tolerance):
    taps = case.model.head.to(dtype).tap_maps(case.x.to(dtype), torch.arange(len(case.W)))
    found = stochastic_grad_cam(taps, case.kept).transpose(0, 1)
    close(found.double(), case.gradcam_norm, rtol=0, atol=tolerance)
    raw = (case.kept[:, :, :, None].to(dtype) @ taps)[..., 0, :].relu().permute(0, 3, 1, 2)
    close(raw.double() / case.x[0].numel(), case.gradcam, rtol=tolerance, atol=tolerance)


def test_aggregates_of_the_fixture(case, fixed_masks):
    inputs = torch.zeros(1, 3, 1, 1)
    found = {a: StochasticCAM(6, a).maps(case.model, inputs, case.tags) for a in ('max', 'mean', 'count', 'paper')}
    close(found['max'], case.agg_max, rtol=0, atol=1e-9)
    close(found['mean'], case.agg_mean, rtol=0, atol=1e-9)
    close(found['count'], (case.gradcam_norm > .35).double().mean(0))
    close(found['paper'], torch.where(case.agg_max > .35, (1 + case.agg_mean) / 2, 0), rtol=0, atol=1e-9)
    steps = list(StochasticCAM(6, 'mean').trace(case.model, inputs, case.tags))
    close(torch.stack(steps), torch.stack([case.gradcam_norm[:n].mean(0) for n in range(1, 7)]), rtol=0, atol=1e-9)


@pytest.mark.parametrize('threshold', [0., .25, .49])
def test_labels_of_the_fixture(case, fixed_masks, threshold):
    """From the localizer through enlarging to the best class, at the map's own size."""
    generator = ClassMapLabels(dict(
        type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.StochasticCAM', passes=6, aggregate='paper'),
        scales=(1.,), flip=False, normalize='none', align16=False), threshold=threshold)
    maps = generator.localizer.localizer.maps(case.model, torch.zeros(1, 3, 1, 1), case.tags)
    height, width = maps.shape[1:]
    ids = np.arange(1, len(maps) + 1)
    sample = ImageSample('a', np.zeros((height, width, 3), np.uint8), np.zeros((0, 4), np.float32), ids[:0], ids)
    result = generator.label(sample, dict(scale0=maps[:, None].float()), {})
    assert (result.labels['labels'] == case.label_theta0_35.numpy()).all()
    assert len(np.unique(result.labels['labels'])) > 1
    if threshold == .25:      # of an image four times as large, the candidates keep their size
        big = ImageSample('a', np.zeros((4 * height, 4 * width, 3), np.uint8), sample.boxes, ids[:0], ids)
        enlarged = generator.label(big, dict(scale0=maps[:, None].float()), {}).labels['labels'] > 0
        cells = (case.label_theta0_35.numpy() > 0).repeat(4, 0).repeat(4, 1)
        assert np.abs(enlarged.mean() / cells.mean() - 1) < .25
        assert (enlarged[2::4, 2::4] == cells[2::4, 2::4]).mean() > .8


# ---------------------------------------------------------------- random numbers

def test_masks_are_the_words_of_their_seed():
    """They depend on everything that tells images and views apart, and not on how many are drawn at once."""
    together = MaskWords(3, 'a', 1., False).kept(5, 3, 4, 9, .9)
    words = MaskWords(3, 'a', 1, np.False_)
    assert torch.equal(torch.cat([words.kept(n, 3, 4, 9, .9) for n in (1, 3, 1)]), together)
    assert together.shape == (5, 3, 4, 9) and together.dtype == torch.bool and together[..., 4].all()
    others = [(4, 'a', 1., False), (3, 'b', 1., False), (3, 'a', .5, False), (3, 'a', 1., True)]
    assert not any(torch.equal(MaskWords(*key).kept(5, 3, 4, 9, .9), together) for key in others)
    many = MaskWords(0, 'a').kept(300, 7, 7, 25, .9)
    beside = torch.cat([many[..., :12], many[..., 13:]], 3).float()
    assert abs(beside.mean() - .1) < 4 * (.09 / beside.numel()) ** .5
    assert beside.mean((1, 2, 3)).std() > 0 and (beside.mean(0) - .1).abs().max() < .1
    assert MaskWords(0, 'a').kept(2, 3, 3, 9, 0.).all()
    assert MaskWords(0, 'a').kept(2, 3, 3, 9, 1.).sum() == 2 * 9


def test_masks_are_the_same_on_every_machine():
    kept = MaskWords(0, '2007_000032').kept(2, 2, 2, 9, .5)
    assert ''.join(str(int(v)) for v in kept.flatten()) == (
        '110011111110110111101110010001110011101110010000010010101110010101010101')


def test_views_of_rows():
    assert row_views(2, None) == [('0', 1., False), ('1', 1., False)]
    assert row_views(4, Views(('a', 'b'), .5, True)) == [
        ('a', .5, False), ('b', .5, False), ('a', .5, True), ('b', .5, True)]


@pytest.fixture
def stochastic(classifier_of):
    """A classifier of six classes that drops hidden units."""
    def build(size=5, **options):
        model = classifier_of()
        torch.manual_seed(1)
        model.head = StochasticHead(6, 16, kernel_size=size, **options)
        torch.nn.init.normal_(model.head.classifier.weight)
        return model.eval()
    return build


def test_a_batch_is_its_images_one_by_one(stochastic, tags_of):
    model, inputs, tags = stochastic(), torch.randn(3, 3, 32, 48), tags_of((0, 4), (), (2, 3, 5))
    both = torch.cat([inputs, inputs.flip(3)])
    views = Views(('a', 'b', 'c'), .5, True)
    found = StochasticCAM(20, 'mean').maps(model, both, tags.repeat(2, 1), views)
    images = [StochasticCAM(20, 'mean').maps(
        model, both[[i, i + 3]], tags[[i, i]], Views((views.image_ids[i],), .5, True)) for i in range(3)]
    close(found, torch.cat([m[:len(m) // 2] for m in images] + [m[len(m) // 2:] for m in images]))
    assert len(found) == 10 and 0 <= found.min() and found.max() <= 1 and not found.requires_grad
    other = StochasticCAM(20, 'mean').maps(model, both[3:], tags, Views(views.image_ids, 1., False))
    assert (other - found[5:]).abs().max() > .01      # not the masks of another view


def test_neither_global_random_numbers_nor_the_model_are_touched(stochastic, tags_of):
    model, inputs, tags = stochastic(), torch.randn(2, 3, 24, 24), tags_of((1,), (0, 3))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(5)
    np.random.seed(5)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    found = StochasticCAM(8).maps(model, inputs, tags)
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numpy_state).all()
    assert torch.is_grad_enabled() and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(StochasticCAM(8).maps(model, inputs, tags), found)
    assert not torch.equal(StochasticCAM(8, seed=1).maps(model, inputs, tags), found)


def test_neither_chunks_nor_later_passes_change_a_pass(stochastic, tags_of, monkeypatch):
    model, inputs, tags = stochastic(), torch.randn(2, 3, 24, 40), tags_of((1, 2), (0,))
    steps = list(StochasticCAM(12).trace(model, inputs, tags))
    monkeypatch.setattr(module, '_MASK_NUMBERS', 1)
    for passes in (1, 5, 12):
        close(StochasticCAM(passes).maps(model, inputs, tags), steps[passes - 1])
    assert all((after >= before).all() for before, after in zip(steps, steps[1:], strict=False))
    assert (steps[-1] > steps[0] + .1).any()


def test_memory_does_not_grow_with_passes(stochastic, tags_of, monkeypatch):
    """No more masks at a time for forty times the passes."""
    seen, kept = [], MaskWords.kept
    monkeypatch.setattr(module, '_MASK_NUMBERS', 5000)
    monkeypatch.setattr(MaskWords, 'kept', lambda self, *a: seen.append(kept(self, *a)) or seen[-1])
    for passes in (10, 400):
        StochasticCAM(passes).maps(stochastic(), torch.randn(1, 3, 24, 24), tags_of((1,)))
    assert max(m.numel() for m in seen) <= 5000 and sum(map(len, seen)) == 410


# ---------------------------------------------------------------- limits and odd input

def backward_maps(model, inputs, tags, passes, drop_prob):
    """As it is written: for each pass and class a forward under the mask, and a backward to the feature map."""
    features, head = model.extract_feat(inputs)[0].detach(), model.head
    size, found = features.shape[2:], []
    for row, present in enumerate(tags):
        kept = MaskWords(0, str(row)).kept(passes, *size, head.kernel_size ** 2, drop_prob)
        masks = kept & seen_by_taps(head.kernel_size, size)
        for label in present.nonzero().flatten():
            maps = []
            for mask in masks:
                x = features[row:row + 1].clone().requires_grad_()
                gradient, = torch.autograd.grad(head.logits(x, mask.float())[0, label], x)
                maps.append((x.detach() * gradient).sum(1)[0].relu())
            maps = torch.stack(maps)
            found.append(maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-30))
    return torch.stack(found)


@pytest.mark.parametrize('drop_prob', [0., .5, .9])
def test_maps_are_those_of_a_backward_for_each_pass(stochastic, tags_of, drop_prob):
    model, inputs, tags = stochastic(drop_prob=drop_prob), torch.randn(2, 3, 24, 40), tags_of((1, 4), (0,))
    expected = backward_maps(model, inputs, tags, 4, drop_prob)
    close(StochasticCAM(4, 'mean').maps(model, inputs, tags), expected.mean(1), rtol=1e-4, atol=1e-5)
    close(StochasticCAM(4, 'max', drop_prob=drop_prob).maps(stochastic(drop_prob=.7), inputs, tags), expected.amax(1),
          rtol=1e-4, atol=1e-5)
    assert expected.amax() > .99 and torch.equal(expected[:, 0], expected[:, 1]) == (drop_prob == 0)


def test_with_all_dropped_the_centre_is_left(stochastic, tags_of):
    model, inputs, tags = stochastic(drop_prob=1.), torch.randn(1, 3, 32, 24), tags_of((2, 5))
    centre = F.conv2d(model.extract_feat(inputs)[0], model.head.classifier.weight[[2, 5], :, 2:3, 2:3])[0].relu()
    close(StochasticCAM(4, 'mean').maps(model, inputs, tags), (centre / centre.amax((1, 2), keepdim=True)).detach())


def test_scaled_units(stochastic, tags_of):
    """Kept units times 1 / (1 - p) of the passes' own p; the centre weighs less beside them."""
    inputs, tags = torch.randn(1, 3, 24, 24), tags_of((2,))
    plain, scaled = stochastic(), stochastic(rescale='inverted', drop_prob=.5)
    boosted = stochastic()
    boosted.head.classifier.weight.data *= 5
    boosted.head.classifier.weight.data[:, :, 2, 2] /= 5
    found = StochasticCAM(6, drop_prob=.8).maps(scaled, inputs, tags)
    close(found, StochasticCAM(6, drop_prob=.8).maps(boosted, inputs, tags))
    assert (found - StochasticCAM(6, drop_prob=.8).maps(plain, inputs, tags)).abs().max() > .01
    with pytest.raises(ConfigError, match='divided by 0'):
        StochasticCAM(6, drop_prob=1.).maps(scaled, inputs, tags)


@pytest.mark.parametrize('size', [(1, 1), (1, 33), (4, 200)])
def test_images_of_one_row_and_below_the_kernel(stochastic, size):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    tags = torch.tensor([[True, False, True, False, False, False]])
    found, = MultiScale(StochasticCAM(5), (1., .5)).class_maps(stochastic(9), [image], tags)
    assert found.maps.shape == (2, *size) and np.isfinite(found.maps).all() and 0 <= found.maps.min()
    assert found.maps.max() > .99


def test_a_class_that_nothing_speaks_for_and_no_class(stochastic, tags_of):
    model, inputs = stochastic(), torch.randn(2, 3, 24, 24)
    model.head.classifier.weight.data[3] = -1
    for aggregate in ('max', 'count', 'mean', 'paper'):
        maps = StochasticCAM(5, aggregate).maps(model, inputs, tags_of((0, 3), ()))
        assert maps.isfinite().all() and maps[0].max() > 0 and (maps[1] == 0).all()
        assert StochasticCAM(5, aggregate).maps(model, inputs, tags_of((), ())).shape == (0, 6, 6)
    assert len(list(StochasticCAM(5).trace(model, inputs, tags_of((), ())))) == 5


def test_features_of_any_size(stochastic, tags_of):
    """Maps are relative to their maximum, also where that is far below the usual eps."""
    model, inputs, tags = stochastic(), torch.randn(1, 3, 24, 24), tags_of((0, 4))
    expected = StochasticCAM(5, 'mean').maps(model, inputs, tags)
    model.head.classifier.weight.data *= 1e-20
    close(StochasticCAM(5, 'mean').maps(model, inputs, tags), expected)


@pytest.mark.parametrize(('options', 'word'), [
    (dict(passes=0), 'passes=0'), (dict(aggregate='median'), 'max, count, mean, paper'), (dict(theta=1.), 'theta=1.0'),
    (dict(theta=-.1), 'theta'), (dict(drop_prob=1.5), 'drop_prob=1.5')])
def test_bad_settings(options, word):
    with pytest.raises(ConfigError) as caught:
        StochasticCAM(**options)
    assert word in str(caught.value)


def test_heads_that_drop_nothing(classifier_of, tags_of):
    with pytest.raises(ConfigError, match='GAPHead, drops nothing') as caught:
        StochasticCAM(5).maps(classifier_of(), torch.randn(1, 3, 24, 24), tags_of((0,)))
    assert 'StochasticHead' in str(caught.value)


# ---------------------------------------------------------------- the labelling run

@pytest.fixture
def label(tmp_path, write_config, toy_root, tmp_path_factory):
    """Runs that label the small toy VOC with random maps, each into a folder of its own."""
    config = write_config(tmp_path / 'classifier.py', 'cam/classifier_toy.py', f"""
prerequisites = []
work_dir = '{tmp_path}/classifier'
model = dict(
    backbone=dict(channels=(8, 12, 16), init_cfg=None),
    head=dict(_delete_=True, type='wsss_mm.StochasticHead', num_classes=6, in_channels=16, kernel_size=5))
pseudo_labels = dict(
    num_workers=0, batch_size=3, dataset=dict(data_root='{toy_root}', ann_file='ImageSets/Segmentation/train.txt'),
    generator=dict(threshold=.4, localizer=dict(
        localizer=dict(_delete_=True, type='wsss_mm.StochasticCAM', passes=6), scales=(1., .5))))
""")
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    model.init_weights()
    torch.nn.init.normal_(model.head.classifier.weight)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'final.pth')

    def run(out):
        cfg = Config.fromfile(config)
        cfg.pseudo_labels.out_dir = str(tmp_path / out)
        return LabellingRun(cfg, tmp_path / 'final.pth')
    return run


def test_sharing_and_resume_change_no_byte(label, contents, at_once):
    whole = label('whole')
    assert whole.run() == dict(complete=True, labelled=12, skipped=0, failures={})
    files = contents(whole.folder.root)
    maps = [ClassMaps.load(p).maps for p in sorted(whole.folder.root.glob('maps/*.npz'))]
    assert len(maps) == 12 and all(m.max() > .9 for m in maps if len(m))

    at_once(*[lambda: label('shared').run()] * 3)
    assert contents(whole.folder.root.with_name('shared')) == files

    for number in (1, 2, 7):
        (whole.folder.root / f'labels/train_{number:05d}.png').unlink()
    assert label('whole').run() == dict(complete=True, labelled=3, skipped=9, failures={})
    assert contents(whole.folder.root) == files

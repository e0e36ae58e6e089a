"""The information bottleneck on digits: regions, gradient maps, ratios, and the script as a user calls it."""

import importlib.util
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_mm.localization.rib import rib_loss

SCRIPT = Path(__file__).resolve().parents[1] / 'examples/information_bottleneck_digits.py'


@pytest.fixture(scope='module')
def example():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location('information_bottleneck_digits', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up there
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope='module')
def scenes(example):
    """All 351 digits, every second one with a shape."""
    digits, labels = example.load_digits()
    assert digits.shape == (351, 8, 8) and labels.sum() == 174 and digits.max() == 1
    return example.draw_scenes(digits, labels, torch.arange(351) % 2 == 0, torch.Generator().manual_seed(0))


def test_every_pixel_is_in_one_region_and_the_image_says_which(scenes):
    assert (scenes.regions.sum(0) == 1).all()
    digit, shape, background = scenes.regions
    image = scenes.images[:, 0]
    assert (image[background] == 0).all() and (image[shape] == 1).all() and (image[digit] > .25).all()
    # a circle of diameter 5 is the square without its corners
    assert (shape.sum((1, 2))[::2] == torch.where(scenes.labels[::2] == 1, 25, 21)).all()
    assert not shape[1::2].any() and digit.flatten(1).any(1).all()


def test_shapes_keep_a_distance_and_lie_anywhere(scenes):
    shape, digit = scenes.shape[::2].float()[:, None], scenes.digit[::2].float()[:, None]
    near = torch.nn.functional.max_pool2d(shape, 3, 1, 1)
    assert not (near * digit).any()
    # digits fill the height of their square, but not its width
    assert scenes.digit.any(0).any(1).all() and scenes.shape.any(0).any(0).all() and scenes.shape.any(0).any(1).all()


def test_ratio_by_hand(example):
    gradients = torch.tensor([[[[10., 3.1], [3., 0.]], [[.2, .1], [.05, .2]]]])        # one image, two maps
    regions = torch.tensor([[[1, 1], [0, 0]], [[0, 0], [0, 1]], [[0, 0], [1, 0]]]).bool()[:, None]
    # of 10: above 3 are 10 and 3.1; of .2: .2, .1 and .2, not .05
    assert example.high_gradient_ratio(gradients, regions)[:, 0].tolist() == [[1, 1], [0, 1], [0, 0]]
    assert example.high_gradient_ratio(gradients * 7, regions)[0, 0].tolist() == [1, 1]
    half = torch.tensor([[[1, 0], [1, 0]]]).bool()[None]
    assert example.high_gradient_ratio(gradients, half)[0, 0].tolist() == [.5, .5]


def test_gradient_maps_are_those_of_each_image_alone(example, scenes):
    torch.manual_seed(0)
    net = example.DigitNet()
    images, labels = scenes.images[:4], torch.tensor([0, 1, 1, 0])
    found = example.gradient_maps(net, images, labels)
    assert found.shape == (4, 6, 32, 32)
    for i, label in enumerate(labels):
        for layer in range(6):
            def end(x, i=i, label=label, layer=layer):
                return net(x)[0, label] if layer == 5 else net.features(x)[layer].sum()
            expected = torch.autograd.functional.jacobian(end, images[i:i + 1])[0, 0].abs()
            torch.testing.assert_close(found[i, layer], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', ['rib', 'bce'])
def test_adaptation_is_gradient_descent_and_leaves_the_classifier_alone(example, scenes, name):
    loss = partial(rib_loss, margin=600.) if name == 'rib' else example.bce_loss
    torch.manual_seed(0)
    net = example.DigitNet()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    image, tags = scenes.images[:1], scenes.tags[:1]
    found = example.adapt(net, scenes, image, tags, 1, .01, loss, torch.Generator().manual_seed(3))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    labels = scenes.labels[:1]
    torch.testing.assert_close(found[0], example.gradient_maps(net, image, labels)[0, 5])
    others = torch.randint(351, (19,), generator=torch.Generator().manual_seed(3))
    logits = net(torch.cat([image, scenes.images[others]]))
    targets = torch.cat([tags, scenes.tags[others]])
    by_hand = -logits[targets > 0].sum() if name == 'rib' else -(
        targets * logits.sigmoid().log() + (1 - targets) * (1 - logits.sigmoid()).log()).sum()
    for parameter, gradient in zip(net.parameters(), torch.autograd.grad(by_hand, list(net.parameters())), strict=True):
        parameter.data -= .01 * gradient
    torch.testing.assert_close(found[1], example.gradient_maps(net, image, labels)[0, 5], rtol=1e-3, atol=1e-6)


def test_script(tmp_path, example, capsys):
    def call(folder):
        example.main(['--seeds', '2', '--images', '3', '--iterations', '2', '--steps', '2', '--out', str(folder)])
        return json.loads((folder / f'{SCRIPT.stem}.json').read_text())

    found = call(tmp_path / 'one')
    assert np.shape(found['layers']) == (2, 3, 6) and np.shape(found['rib']) == np.shape(found['bce']) == (2, 3, 3)
    assert found == call(tmp_path / 'two') and found['layers'][0] != found['layers'][1]
    # before the first step, both kinds of adaptation are the classifier itself
    assert np.array_equal(np.array(found['rib'])[:, :, 0], np.array(found['layers'])[:, :, 5])
    assert np.array_equal(np.array(found['bce'])[:, :, 0], np.array(found['layers'])[:, :, 5])
    text = (tmp_path / f'one/{SCRIPT.stem}.md').read_text()
    rows = {cells[0]: cells[1:] for line in text.splitlines() if line
            for cells in [[c.strip() for c in line.strip('|').split('|')]]}
    for name, curve, region in (('shape', 'layers', 1), ('L_RIB, digit', 'rib', 0), ('L_BCE, background', 'bce', 2)):
        values = np.array(found[curve])[:, region]
        assert rows[name] == [f'{m:.1f} ± {s:.1f}' for m, s in zip(values.mean(0), values.std(0), strict=True)]
    for name in ('layers', 'rib'):
        with Image.open(tmp_path / f'one/{SCRIPT.stem}_{name}.png') as picture:
            assert min(picture.size) > 800 and len(picture.convert('RGB').getcolors(10 ** 6)) > 99
    with pytest.raises(SystemExit):
        example.main(['--digit-size', '24'])
    assert 'does not fit beside every digit of 24' in capsys.readouterr().err


def test_committed_table_says_what_the_committed_figures_say(example):
    folder = SCRIPT.parent / 'results'
    found = json.loads((folder / f'{SCRIPT.stem}.json').read_text())
    assert (folder / f'{SCRIPT.stem}.md').read_text() == example.table(found) + '\n'
    assert found['settings'] == dict(seed=0, seeds=5, images=100, iterations=500, steps=10, rate=1e-4, digit_size=20,
                                     shape_size=5)

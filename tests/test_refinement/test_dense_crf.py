"""Dense CRF: the official posterior, pydensecrf's answer, the lattice's definition, bad input."""

import pickle
import sys
from itertools import product

import numpy as np
import pytest
import torch

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.refinement import CRF_PRESETS, DenseCRF, PermutohedralLattice
from wsss_mm.registry import TASK_UTILS

LABELS_V1 = (4, 55, 3, 3, 3)


def scene(height: int, width: int, classes: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A textured image with pixel noise, and smooth class probabilities that ignore its edges."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    texture = np.stack([127 + 80 * np.sin(x / 37 + c) * np.cos(y / 29 - c) for c in range(3)], -1)
    checks = 60 * ((x // 60 + y // 45) % 2)[..., None] - 30
    image = np.clip(texture + checks + rng.normal(0, noise, texture.shape), 0, 255).astype(np.uint8)
    logits = torch.from_numpy(rng.normal(0, 2, (1, classes, 6, 8)))
    logits = torch.nn.functional.interpolate(logits, (height, width), mode='bilinear', align_corners=False)
    return image, logits[0].softmax(0).float().numpy()


def plain_filter(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Adams et al., section 3, point by point with a dictionary, in float64."""
    d = features.shape[1]
    simplices, table = [], {}
    for feature, value in zip(features, values, strict=True):
        scaled = [f * np.sqrt(2 / 3) * (d + 1) / np.sqrt((i + 1) * (i + 2)) for i, f in enumerate(feature)]
        elevated = np.array([sum(scaled[j:]) - (j * scaled[j - 1] if j else 0) for j in range(d + 1)])
        closest = np.round(elevated / (d + 1)).astype(int)
        by_offset = np.argsort(-(elevated / (d + 1) - closest), kind='stable')
        surplus = closest.sum()
        closest[by_offset[d + 1 - surplus:] if surplus > 0 else by_offset[:-surplus]] -= np.sign(surplus)
        offset = elevated / (d + 1) - closest
        by_offset = np.argsort(-offset, kind='stable')
        corners = []
        for k in range(d + 1):
            corner = closest * (d + 1) + k
            corner[by_offset[d + 1 - k:]] -= d + 1
            weight = offset[by_offset[d - k]] - (offset[by_offset[d + 1 - k]] if k else offset[by_offset[0]] - 1)
            corners.append((tuple(corner), weight))
            table[tuple(corner)] = table.get(tuple(corner), 0) + weight * value
        simplices.append(corners)
    for axis in range(d + 1):
        step = np.ones(d + 1, int)
        step[axis] -= d + 1
        table = {key: value + sum(table.get(tuple(np.array(key) + sign * step), 0) for sign in (1, -1)) / 2
                 for key, value in table.items()}
    return np.array([sum(w * table[key] for key, w in corners) for corners in simplices]) / (1 + 2.0**-d)


@pytest.mark.parametrize('backend', ['torch', 'pydensecrf'])
@pytest.mark.parametrize('name', ['stage2', 'deeplab_v1', 'deeplab_v2'])
def test_official_posterior(parity, backend, name):
    if backend == 'pydensecrf':
        pytest.importorskip('pydensecrf')
    data = parity('bana/crf')
    crf = DenseCRF(*data[f'params_{name}'].tolist(), backend=backend)
    posterior = crf(data['image_rgb'], data['prob'])
    assert posterior.dtype == np.float32
    np.testing.assert_allclose(posterior, data[f'Q_{name}'], rtol=0, atol=2e-6)


@pytest.mark.parametrize('classes, noise', [(21, 0), (3, 12)])
def test_torch_equals_pydensecrf_on_a_voc_sized_image(classes, noise):
    pytest.importorskip('pydensecrf')
    image, probabilities = scene(375, 500, classes, noise)
    ours, theirs = (DenseCRF(*LABELS_V1, backend=b)(image, probabilities) for b in ('torch', 'pydensecrf'))
    assert np.abs(theirs - probabilities).max() > 0.5  # the CRF has something to say here
    assert np.abs(ours - theirs).max() <= 1e-4
    assert (ours.argmax(0) == theirs.argmax(0)).mean() >= 0.9999


@pytest.mark.parametrize('backend', ['torch', 'pydensecrf'])
def test_prepared_gives_what_a_fresh_run_gives(backend):
    if backend == 'pydensecrf':
        pytest.importorskip('pydensecrf')
    crf = DenseCRF(*LABELS_V1, backend=backend)
    image, three = scene(41, 60, 3, 8)
    prepared = crf.prepare(image)
    for probabilities in (three, scene(41, 60, 3, 8, seed=1)[1], scene(41, 60, 5, 8)[1], three):
        unary = -np.log(np.clip(probabilities, 1e-5, 1))
        np.testing.assert_array_equal(prepared.infer(unary), crf(image, probabilities))


def test_torch_tensors_views_and_float64_are_welcome():
    crf = DenseCRF(*LABELS_V1, backend='torch')
    image, probabilities = scene(30, 44, 3, 8)
    expected = crf(np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(probabilities[..., ::-1]))
    np.testing.assert_array_equal(crf(image[:, ::-1], probabilities[..., ::-1].astype(np.float64)), expected)
    tensors = torch.from_numpy(image).flip(1), torch.from_numpy(probabilities).flip(2).requires_grad_()
    np.testing.assert_array_equal(crf(*tensors), expected)


def test_mean_field_equals_a_plain_loop():
    """Algorithm 1 with dense kernel matrices, taken from the lattices column by column."""
    height, width, iterations = 9, 12, 4
    image, probabilities = scene(height, width, 3, 8)
    crf = DenseCRF(3, 6, 20, 2, 1.5, iterations=iterations, backend='torch')
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    position = np.stack([x, y], 1)
    messages = 0
    for weight, features in ((3, np.hstack([position / 6, image.reshape(-1, 3) / 20])), (2, position / 1.5)):
        kernel = PermutohedralLattice(torch.from_numpy(features)).filter(torch.eye(height * width)).double().numpy()
        norm = 1 / np.sqrt(kernel.sum(1))
        messages = messages + weight * norm[:, None] * kernel * norm
    logits = np.log(np.clip(probabilities.reshape(3, -1), 1e-5, 1)).astype(np.float64)
    q = np.exp(logits) / np.exp(logits).sum(0)
    for _ in range(iterations):
        e = np.exp(logits + q @ messages.T)
        q = e / e.sum(0)
    np.testing.assert_allclose(crf(image, probabilities).reshape(3, -1), q, atol=2e-5)


@pytest.mark.parametrize('backend', ['torch', 'pydensecrf'])
@pytest.mark.parametrize('size', [(1, 1), (1, 17), (23, 1), (2, 2)])
def test_tiny_images_give_a_posterior(backend, size):
    if backend == 'pydensecrf':
        pytest.importorskip('pydensecrf')
    image, probabilities = scene(*size, 3, 20)
    crf = DenseCRF(*LABELS_V1, backend=backend)
    posterior = crf(image, probabilities)
    np.testing.assert_allclose(posterior.sum(0), 1, atol=1e-6)
    assert (posterior >= 0).all()
    np.testing.assert_array_equal(crf(image, probabilities[:1]), np.ones((1, *size), np.float32))


def test_labels_snap_to_the_edge_of_the_image():
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, 20:] = 200
    blurred = np.clip((np.arange(48) - 14) / 20, 0.05, 0.95).repeat(32).reshape(48, 32).T  # half-way at column 24
    posterior = DenseCRF(4, 55, 3, 3, 3, backend='torch')(image, np.stack([1 - blurred, blurred]))
    assert (posterior[1, :, :20] < 0.5).all() and (posterior[1, :, 20:] > 0.5).all()


def test_pickle_and_registry():
    crf = TASK_UTILS.build(dict(type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=55, bilateral_rgb=3,
                                gaussian_weight=3, gaussian_xy=3, backend='torch'))
    image, probabilities = scene(20, 31, 2, 8)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(crf))(image, probabilities), crf(image, probabilities))


def test_auto_backend(monkeypatch):
    assert DenseCRF(*LABELS_V1, backend='auto', device='cuda').backend == 'torch'
    monkeypatch.setitem(sys.modules, 'pydensecrf', None)
    monkeypatch.setitem(sys.modules, 'pydensecrf.densecrf', None)
    assert DenseCRF(*LABELS_V1, backend='auto').backend == 'torch'
    with pytest.raises(ConfigError, match=r'pip install "wsss_mm\[crf\]"'):
        DenseCRF(*LABELS_V1, backend='pydensecrf')


def test_auto_prefers_pydensecrf():
    pytest.importorskip('pydensecrf')
    assert DenseCRF(*LABELS_V1, backend='auto').backend == 'pydensecrf'


def test_default_backend_does_not_depend_on_what_is_installed():
    assert DenseCRF(*LABELS_V1).backend == 'torch'


@pytest.mark.parametrize('changed, message', [
    (dict(backend='cpp'), "backend='cpp'"),
    (dict(backend='pydensecrf', device='cuda:0'), "device='cuda:0'"),
    (dict(bilateral_rgb=0), 'bilateral_rgb=0'),
    (dict(gaussian_xy=float('nan')), 'gaussian_xy=nan'),
    (dict(iterations=-1), 'iterations=-1'),
])
def test_bad_settings(changed, message):
    names = 'bilateral_weight', 'bilateral_xy', 'bilateral_rgb', 'gaussian_weight', 'gaussian_xy'
    with pytest.raises(ConfigError, match=message):
        DenseCRF(**{**dict(zip(names, LABELS_V1, strict=True)), **changed})


def test_a_preset_is_its_numbers():
    named, written = DenseCRF(preset='irn'), DenseCRF(10, 50, 5, 3, 3)
    assert {k: v for k, v in vars(named).items()} == {k: v for k, v in vars(written).items()}
    image, probabilities = scene(20, 24, 3, 0)
    np.testing.assert_array_equal(named(image, probabilities), written(image, probabilities))
    changed = DenseCRF(preset='aeft', iterations=1, gaussian_weight=0)
    assert (changed.iterations, changed.gaussian_weight, changed.bilateral_xy) == (1, 0, 80)


def test_presets_fit_the_published_maps(parity):
    """The numbers of BANA's three files, as its code was run with them, and a twelfth of SEC's at training time."""
    data = parity('bana/crf')
    for name, published in dict(bana='stage2', deeplabv1='deeplab_v1', deeplabv2='deeplab_v2').items():
        assert CRF_PRESETS[name] == tuple(data[f'params_{published}'].tolist())
    full, small = CRF_PRESETS['sec'], CRF_PRESETS['sec_train']
    assert np.divide(full, small).tolist() == pytest.approx([1, 12, 1, 1, 12])


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match="preset='foo'(.|\n)*bana, deeplabv1(.|\n)*bbam"):
        DenseCRF(preset='foo')
    with pytest.raises(ConfigError, match='without bilateral_rgb, gaussian_weight, gaussian_xy'):
        DenseCRF(4, 55)


def test_bad_input():
    crf = DenseCRF(*LABELS_V1, backend='torch')
    image, probabilities = scene(8, 9, 2, 8)
    for bad in (image / 255, image[..., 0], image.transpose(2, 0, 1), image[:0]):
        with pytest.raises(DataError, match='an image of shape'):
            crf(bad, probabilities)
    for bad in (probabilities.transpose(0, 2, 1), probabilities[0], probabilities[:0], probabilities[..., :5]):
        with pytest.raises(DataError, match='probabilities of shape'):
            crf(image, bad)
    for value in (np.nan, np.inf):
        bad = probabilities.copy()
        bad[0, 3, 4] = value
        with pytest.raises(DataError, match='1 values of NaN or infinity'):
            crf(image, bad)
        with pytest.raises(DataError, match='unary energies with 1 values'):
            crf.prepare(image).infer(bad)


def clustered(n: int, d: int, seed: int = 0, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Points around three centres, so that lattice points are shared, and two channels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, spread, (3, d))
    return (centres[rng.integers(0, 3, n)] + rng.normal(0, 0.7, (n, d))).astype(np.float32), rng.random((n, 2))


@pytest.mark.parametrize('d', [1, 2, 3, 5, 8])
def test_lattice_equals_its_definition(d):
    features, values = clustered(60, d)
    ours = PermutohedralLattice(torch.from_numpy(features)).filter(torch.from_numpy(values).float())
    np.testing.assert_allclose(ours.numpy(), plain_filter(features, values), rtol=1e-4, atol=1e-5)


def test_lattice_beyond_what_64_bits_pack():
    features, values = clustered(60, 9, spread=2000)
    ours = PermutohedralLattice(torch.from_numpy(features)).filter(torch.from_numpy(values).float())
    # so far from the origin float32 leaves some 1e-3 of a simplex
    np.testing.assert_allclose(ours.numpy(), plain_filter(features, values), rtol=0.02, atol=0.01)


def test_lattice_by_hand():
    """d = 1: all weight on one of two points; blurred twice it is 1 + 1/4; the slice's factor is 2/3."""
    lattice = PermutohedralLattice(torch.tensor([[0.0], [1000.0 * np.sqrt(3)]]))
    torch.testing.assert_close(lattice.filter(torch.tensor([[1.0], [0.0]])), torch.tensor([[5 / 6], [0.0]]))


def test_lattice_approximates_the_gaussian_sum():
    y, x = np.mgrid[:24, :30].reshape(2, -1) / 4.0
    features = torch.from_numpy(np.stack([x, y], 1))
    values = torch.from_numpy(np.random.default_rng(0).random((len(x), 1))).float()
    exact = torch.exp(-torch.cdist(features, features)**2 / 2).float()
    lattice = PermutohedralLattice(features)
    ours = lattice.filter(values) / lattice.filter(torch.ones_like(values))
    exact = exact @ values / exact.sum(1, keepdim=True)
    assert (values - 0.5).std() > 0.25 and (exact - 0.5).std() > 0.01
    assert np.corrcoef(ours[:, 0], exact[:, 0])[0, 1] > 0.97
    assert (ours - exact).abs().max() < 0.02


@pytest.mark.parametrize('noise', [0, 25])
def test_lattice_is_linear_and_sees_channels_apart(noise):
    image, _ = scene(40, 50, 2, noise)
    y, x = np.mgrid[:40, :50].reshape(2, -1)
    lattice = PermutohedralLattice(torch.from_numpy(np.hstack([np.stack([x, y], 1) / 20, image.reshape(-1, 3) / 10])))
    a, b = torch.rand(2, 2000, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lattice.filter(2 * a - b), 2 * lattice.filter(a) - lattice.filter(b), rtol=1e-4,
                               atol=1e-4)
    one_by_one = torch.cat([lattice.filter(c) for c in a.split(1, 1)], 1)
    torch.testing.assert_close(lattice.filter(a), one_by_one, rtol=1e-6, atol=1e-6)


def test_lattice_is_symmetric_inside():
    y, x = np.mgrid[:60, :60].reshape(2, -1)
    lattice = PermutohedralLattice(torch.from_numpy(np.stack([x, y], 1) / 3))
    inside = torch.zeros(60, 60)
    inside[20:40, 20:40] = 1
    a, b = torch.randn(2, 3600, 4, generator=torch.Generator().manual_seed(0)) * inside.view(-1, 1)
    ours, mirrored = (a * lattice.filter(b)).sum(0), (lattice.filter(a) * b).sum(0)
    assert ours.abs().min() > 1
    torch.testing.assert_close(ours, mirrored, rtol=1e-4, atol=1e-3)


def test_many_channels_are_filtered_in_groups(monkeypatch):
    from wsss_mm.refinement import permutohedral
    lattice = PermutohedralLattice(torch.from_numpy(clustered(50, 3)[0]))
    values = torch.rand(50, 11)
    whole = lattice.filter(values)
    for floats in (1, 4 * (lattice.size + 1)):
        monkeypatch.setattr(permutohedral, '_HEAP_FLOATS', floats)
        torch.testing.assert_close(lattice.filter(values), whole, rtol=1e-6, atol=1e-6)


def test_lattice_does_not_depend_on_the_order_of_points():
    features, values = (torch.from_numpy(v).float() for v in clustered(200, 5))
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(PermutohedralLattice(features[order]).filter(values[order]),
                               PermutohedralLattice(features).filter(values)[order])


@pytest.mark.parametrize('bad', [*product([0, 3], [0]), (4,), (2, 3, 2)])
def test_lattice_refuses_shapes(bad):
    with pytest.raises(ValueError, match='expected'):
        PermutohedralLattice(torch.zeros(*bad))


@pytest.mark.parametrize('value', [np.nan, np.inf, 1e7])
def test_lattice_refuses_numbers_it_cannot_place(value):
    with pytest.raises(ValueError, match='not finite'):
        PermutohedralLattice(torch.tensor([[0.0, value]]))

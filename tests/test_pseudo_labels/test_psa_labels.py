"""PSA's labels: sure areas by two CRFs, class maps after the walk."""

import io
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_mm.errors import ConfigError
from wsss_mm.models.affinity import AffinityNet, neighbour_offsets
from wsss_mm.pseudo_labels import PSAConfidentAreas, PSALabels
from wsss_mm.pseudo_labels.class_map_labels import background_scores
from wsss_mm.pseudo_labels.psa_labels import walk_scores
from wsss_mm.refinement import DenseCRF, random_walk
from wsss_mm.structures import ClassMaps, ImageSample

CRF = dict(type='wsss_mm.DenseCRF', bilateral_weight=2, bilateral_xy=16, bilateral_rgb=6, gaussian_weight=1,
           gaussian_xy=2, iterations=3)
OFFSETS = neighbour_offsets(5)
SIZE = (21, 30)


def draw(folder, ids, tags=None, size=SIZE):
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((max(len(ids), 1), 4, 5), np.float32))
    maps = F.interpolate(coarse[None], size, mode='bilinear')[0].numpy()[:len(ids)]
    folder.mkdir(exist_ok=True)
    (folder / 'a.npz').write_bytes(ClassMaps('a', np.array(ids, np.int64), maps, *size).to_bytes())
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    tags = np.array(ids if tags is None else tags, np.int64)
    return maps.astype(np.float16).astype(np.float32), ImageSample(
        'a', image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), tags)


@pytest.mark.parametrize('power', [4, 16, 24, 32])
def test_background_is_the_published_one(parity, power):
    found = parity('psa/psa')
    assert torch.allclose(background_scores(found['bg_alpha_x'][None, None], background='power', alpha=power)[0],
                          found[f'bg_alpha_{power}'], rtol=0, atol=1e-12)


# ---- sure areas

def test_sure_areas(tmp_path):
    maps, sample = draw(tmp_path / 'maps', [3, 5])
    generator = pickle.loads(pickle.dumps(PSAConfidentAreas(str(tmp_path / 'maps'), crf=CRF)))
    result = generator.label(sample, {}, {})
    assert result.files.keys() == {'scores/a.npz'}
    with np.load(io.BytesIO(result.files['scores/a.npz'])) as file:
        found = {k: file[k] for k in file.files}
    crf = DenseCRF(**{k: v for k, v in CRF.items() if k != 'type'})
    expected = {}
    for name, alpha in (('low', 4), ('high', 32)):
        background = (1 - maps.max(0, keepdims=True)) ** alpha
        expected[name] = crf(sample.image, np.concatenate([background, maps]))
        assert found[name].dtype == np.uint8
        assert np.abs(found[name] / 255 - expected[name]).max() <= .5 / 255 + 1e-4
    low, high = (found[k].argmax(0) for k in ('low', 'high'))
    labels = np.where(high == 0, 0, np.array([255, 3, 5])[low])
    assert np.array_equal(result.labels['labels'], labels) and found['class_ids'].tolist() == [3, 5]
    assert ((found['low'][0] >= found['high'][0]).mean()) > .95   # more background with the smaller power


def test_sure_areas_of_no_class(tmp_path):
    _, sample = draw(tmp_path / 'maps', [3], tags=[])
    result = PSAConfidentAreas(str(tmp_path / 'maps'), crf=CRF).label(sample, {}, {})
    assert not result.labels['labels'].any() and result.notes == ['no tags: all background']
    with np.load(io.BytesIO(result.files['scores/a.npz'])) as file:
        assert file['low'].shape == (1, *SIZE) and (file['high'] == 255).all() and not len(file['class_ids'])


@pytest.mark.parametrize('powers', [dict(alpha_low=32, alpha_high=4), dict(alpha_low=0)])
def test_powers_in_order(tmp_path, powers):
    with pytest.raises(ConfigError, match='alpha_low'):
        PSAConfidentAreas(str(tmp_path), crf=CRF, **powers)


# ---- the walk

def test_walk_of_the_published_maps(parity):
    """One pixel a cell: pooling and enlarging change nothing, so the fixture's walk comes out."""
    found = parity('psa/psa')
    maps, matrix = found['sq14_cam_low'], found['sq14_W'].double()
    side = maps.shape[1]
    cell = torch.arange(side * side).view(side, side)
    affinity = torch.zeros(34, side, side, dtype=torch.float64)
    for p, (dy, dx) in enumerate(OFFSETS.tolist()):
        first = cell[:side - dy, max(-dx, 0):side - max(dx, 0)]
        affinity[p, :side - dy, max(-dx, 0):side - max(dx, 0)] = matrix[first, first + dy * side + dx]
    assert torch.allclose(walk_scores(maps, affinity, OFFSETS, 1, 8, 256), found['sq14_rw'], rtol=0, atol=1e-5)


def test_labels_after_the_walk(tmp_path):
    maps, sample = draw(tmp_path / 'maps', [3, 5], tags=[3, 5])
    torch.manual_seed(0)
    affinity = torch.rand(34, 6, 8)
    generator = pickle.loads(pickle.dumps(PSALabels(str(tmp_path / 'maps'), beta=8, steps=16, alpha=16)))
    result = generator.label(sample, dict(affinity=affinity), dict(offsets=OFFSETS.float(), stride=torch.tensor(4.)))
    scores = torch.cat([(1 - torch.from_numpy(maps).amax(0)).pow(16)[None], torch.from_numpy(maps)])
    padded = torch.zeros(3, 24, 32)
    padded[:, :21, :30] = scores
    cells = padded.view(3, 6, 4, 8, 4).mean((2, 4))
    walked = random_walk(cells, affinity, OFFSETS, 8, 16)
    large = F.interpolate(walked[None], (24, 32), mode='bilinear', align_corners=False)[0][:, :21, :30]
    expected = np.array([0, 3, 5])[large.argmax(0).numpy()]
    assert (result.labels['labels'] == expected).mean() > .998
    kept = result.maps
    assert kept.class_ids.tolist() == [3, 5] and kept.maps.min() >= 0 and kept.maps.max() <= 1
    # above .5 exactly where the class beats the background
    assert np.array_equal(kept.maps.max(0) > .5, result.labels['labels'] > 0)
    assert PSALabels(str(tmp_path / 'maps'), save_maps=False).label(
        sample, dict(affinity=affinity), dict(offsets=OFFSETS, stride=torch.tensor(4))).maps is None


def test_no_affinity_leaves_the_pooled_maps(tmp_path):
    """Cells that belong to nobody keep what they have."""
    _, sample = draw(tmp_path / 'maps', [3])
    generator = PSALabels(str(tmp_path / 'maps'))
    constants = dict(offsets=OFFSETS, stride=torch.tensor(4))
    still = generator.label(sample, dict(affinity=torch.zeros(34, 6, 8)), constants)
    moved = generator.label(sample, dict(affinity=torch.ones(34, 6, 8)), constants)
    generator.steps = 0
    none = generator.label(sample, dict(affinity=torch.ones(34, 6, 8)), constants)
    assert np.allclose(still.maps.maps, none.maps.maps, atol=1e-6)
    assert moved.maps.maps[..., :20, :28].std() < .2 * none.maps.maps[..., :20, :28].std()


def test_refiner_comes_last(tmp_path):
    _, sample = draw(tmp_path / 'maps', [3, 5])
    features, constants = dict(affinity=torch.rand(34, 6, 8)), dict(offsets=OFFSETS, stride=torch.tensor(4))
    plain = PSALabels(str(tmp_path / 'maps'), steps=4)
    refined = PSALabels(str(tmp_path / 'maps'), steps=4, refiner=dict(CRF, iterations=1))
    maps = torch.from_numpy(plain.saved.load(sample).full_size().maps)
    scores = torch.cat([background_scores(maps, background='power', alpha=16)[None], maps])
    walked = walk_scores(scores, features['affinity'], OFFSETS, 4, 8, 4)
    posterior = refined.refiner(sample.image, walked.numpy())
    result = refined.label(sample, features, constants)
    assert np.array_equal(result.labels['labels'], np.array([0, 3, 5])[posterior.argmax(0)])


def test_no_tags_and_wrong_models(tmp_path):
    _, sample = draw(tmp_path / 'maps', [3], tags=[])
    result = PSALabels(str(tmp_path / 'maps')).label(sample, dict(affinity=torch.rand(34, 6, 8)), {})
    assert not result.labels['labels'].any() and result.notes and result.maps.maps.shape == (0, *SIZE)
    with pytest.raises(ConfigError, match='SimpleNamespace'):
        PSALabels(str(tmp_path)).constants(SimpleNamespace())


def test_features_of_the_network(tmp_path):
    torch.manual_seed(0)
    model = AffinityNet(dict(type='wsss_mm.ToyNet', channels=(8, 8, 8)),
                        [dict(in_index=0, in_channels=8, channels=4)], stride=4).eval()
    generator = PSALabels(str(tmp_path))
    constants = generator.constants(model)
    assert torch.equal(constants['offsets'].long(), OFFSETS) and int(constants['stride']) == 4
    with torch.no_grad():
        features = generator.extract(model, torch.randn(1, 3, *SIZE), None)
    assert features['affinity'].shape == (34, 6, 8) and features['affinity'].dtype == torch.float32

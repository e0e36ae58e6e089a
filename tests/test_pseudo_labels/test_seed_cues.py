"""Cues for SEC, DSRG and GAIN, by hand."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample
from PIL import Image

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.pseudo_labels.seed_cues import SeedCues, resolve_conflicts
from wsss_mm.registry import MODELS
from wsss_mm.structures import ClassMaps, ImageSample

LAST = 255


def sample_of(tags, height=4, width=6, image_id='a'):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return ImageSample(image_id, image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.array(tags, np.int64))


@pytest.fixture
def saved(tmp_path):
    """Label one image from saved maps."""

    def label(maps, tags, **options):
        maps = np.asarray(maps, np.float32)
        folder = tmp_path / 'maps'
        folder.mkdir(exist_ok=True)
        height, width = maps.shape[1:]
        (folder / 'a.npz').write_bytes(ClassMaps('a', np.array(tags, np.int64), maps, height, width).to_bytes())
        generator = SeedCues(map_dir=str(folder), **options)
        assert not generator.needs_model and len(generator.fingerprint()['maps']) == 16
        result = generator.label(sample_of(tags, height, width), {}, {})
        assert result.maps is None
        return result
    return label


def test_above_a_fifth_of_the_maximum(saved):
    """Strictly above, of the map's own maximum; below .05 everywhere is background, between the two no cue."""
    result = saved([[[.5, .125, .1, .0625, .03125, 0.]]], [3], foreground=.25, background=dict(kind='maps', below=.05))
    assert result.labels['labels'].tolist() == [[3, LAST, LAST, LAST, 0, 0]]
    assert result.labels['labels'].dtype == np.uint8 and not result.notes


def test_the_smaller_class_wins(saved):
    maps = [[[1, 1, 1, 0, 0, 0]], [[0, 1, 1, 1, 1, 0]]]
    assert saved(maps, [2, 5]).labels['labels'].tolist() == [[2, 2, 2, 5, 5, 0]]
    assert saved(maps[::-1], [2, 5]).labels['labels'].tolist() == [[5, 5, 5, 2, 2, 0]]


def test_or_the_higher_map(saved):
    maps = [[[.6, .9, .5, 0, 0, 0]], [[0, .8, .6, 1, 1, 0]]]
    labels = saved(maps, [2, 5], conflicts='best', background=dict(kind='maps', below=.55)).labels['labels']
    assert labels.tolist() == [[2, 2, 5, 5, 5, 0]]


def test_conflicts_pixel_by_pixel():
    """Against a plain loop, classes of equal size among them."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        claims, scores = rng.random((4, 5, 6)) < .4, rng.random((4, 5, 6))
        ids, sizes = np.array([0, 2, 3, 7]), claims.sum((1, 2))
        for given, key in ((None, lambda k, y, x, sizes=sizes: (sizes[k], k)),
                           (scores, lambda k, y, x, scores=scores: (-scores[k, y, x], k))):
            found = resolve_conflicts(claims, ids, given)
            for y, x in np.ndindex(5, 6):
                own = [k for k in range(4) if claims[k, y, x]]
                assert found[y, x] == (ids[min(own, key=lambda k: key(k, y, x))] if own else LAST)  # noqa: B023
    assert (resolve_conflicts(np.zeros((0, 2, 3), bool), np.zeros(0, int)) == LAST).all()


def test_no_cue_where_a_map_is_empty(saved):
    result = saved(np.zeros((1, 2, 3)), [4])
    assert (result.labels['labels'] == 0).all() and result.notes == ['no cue of class 4']
    assert (saved(np.zeros((0, 2, 3)), []).labels['labels'] == 0).all()


def test_background_from_saliency(saved, tmp_path):
    """Grey levels of 255; 15 / 255 is just below .06, 16 just above. The rarer class, here background, wins."""
    folder = tmp_path / 'saliency'
    folder.mkdir()
    Image.fromarray(np.array([[0, 15, 16, 255, 255, 255]], np.uint8)).save(folder / 'a.png')
    maps, background = [[[1, 0, 0, 1, 1, 0]]], dict(kind='prior', folder=str(folder))
    assert saved(maps, [3], background=background).labels['labels'].tolist() == [[0, 0, LAST, 3, 3, LAST]]
    best = saved(maps, [3], background=background, conflicts='best').labels['labels']
    assert best.tolist() == [[3, 0, LAST, 3, 3, LAST]]
    generator = SeedCues(map_dir=str(tmp_path / 'maps'), background=background)
    before = generator.fingerprint()
    Image.fromarray(np.zeros((2, 6), np.uint8)).save(folder / 'a.png')
    assert generator.fingerprint()['prior'] != before['prior'] and generator.fingerprint()['maps'] == before['maps']
    with pytest.raises(DataError, match='prior of 2 x 6'):
        saved(maps, [3], background=background)


@pytest.fixture
def classifier_model():
    torch.manual_seed(0)
    model = MODELS.build(Config(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ToyNet', channels=(8, 12, 16)),
        head=dict(type='wsss_mm.GAPHead', num_classes=6, in_channels=16),
        data_preprocessor=dict(type='SegDataPreProcessor', mean=[110.] * 3, std=[60.] * 3, bgr_to_rgb=True))))
    torch.nn.init.normal_(model.head.classifier.weight, .3)
    return model.eval()


@torch.no_grad()
def test_from_the_classifier_alone(classifier_model, tmp_path):
    """Maps and background of one model; the same cues from its saved maps."""
    sample = sample_of([2, 4], 40, 48)
    data = SegDataSample(metainfo=dict(img_id='a'))
    data.set_data(dict(gt_label=torch.tensor([0., 1., 0., 1., 0., 0.])))
    inputs = torch.zeros(1, 3, 40, 48)   # not looked at
    background = dict(kind='gradient', layer='backbone.layer1', share=.2)
    generator = SeedCues(dict(type='wsss_mm.CAM'), background=background)
    features, = generator.extract_batch(classifier_model, [sample.image], inputs, [data])
    result = generator.label(sample, features, {})
    labels = result.labels['labels']
    assert set(np.unique(labels)) == {0, 2, 4, LAST} and labels.shape == (40, 48)
    assert result.maps.class_ids.tolist() == [2, 4]
    sizes = (result.maps.maps > .2 * result.maps.maps.max((1, 2), keepdims=True)).sum((1, 2))
    if sizes.min() > .2 * labels.size:   # else a class may take from the background
        assert (labels == 0).mean() == pytest.approx(.2, abs=.01)
    (tmp_path / 'a.npz').write_bytes(result.maps.to_bytes())
    again = SeedCues(map_dir=str(tmp_path), background=background)
    assert again.needs_model
    features, = again.extract_batch(classifier_model, [sample.image], inputs, [data])
    assert set(features) == {'saliency'}
    assert (again.label(sample, features, {}).labels['labels'] == labels).mean() > .99   # maps are float16
    del data.gt_label
    with pytest.raises(ConfigError, match='no `gt_label`'):
        generator.extract_batch(classifier_model, [sample.image], inputs, [data])


@pytest.mark.parametrize('wrong, match', [
    (dict(map_dir=None), 'localizer and map_dir'), (dict(localizer=dict(type='wsss_mm.CAM')), 'localizer and map_dir'),
    (dict(conflicts='larger'), 'conflicts'), (dict(foreground=1.), 'foreground'),
    (dict(background=dict(kind='saliency')), 'background is'), (dict(background=dict(below=.1)), 'background is'),
    (dict(background=dict(kind='gradient')), 'without layer'), (dict(background=dict(kind='prior')), 'without folder'),
    (dict(background=dict(kind='maps', share=.1)), "with \\['share'\\]")])
def test_settings_that_make_no_sense(wrong, match):
    with pytest.raises(ConfigError, match=match):
        SeedCues(**{'map_dir': 'maps', **wrong})

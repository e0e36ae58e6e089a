"""Share of a class map's mass on the context that comes with the class."""

import numpy as np
import pytest
from PIL import Image

from wsss_mm.datasets.toy_voc import TOY_CLASSES, draw_toy_voc
from wsss_mm.errors import DataError
from wsss_mm.evaluation import context_share, evaluate_context
from wsss_mm.structures import ClassMaps

BOAT, TRAIN = TOY_CLASSES.index('boat'), TOY_CLASSES.index('train')


def test_shares_by_hand():
    context = np.array([[False, True], [False, True]])
    maps = np.array([[[1, 3], [0, 0]], [[0, 0], [0, 0]], [[0, .5], [0, .5]], [[2, 0], [1, 0]]], np.float32)
    assert context_share(maps, context) == pytest.approx([.75, np.nan, 1, 0], nan_ok=True)
    assert context_share(7 * maps[:1], context) == pytest.approx([.75])
    assert context_share(maps, ~context)[0] == pytest.approx(.25)
    assert context_share(maps[:0], context).shape == (0,)


def test_no_overflow_in_half_precision():
    maps = np.ones((1, 400, 400), np.float16)
    context = np.zeros((400, 400), bool)
    context[:100] = True
    assert context_share(maps, context) == pytest.approx([.25])


@pytest.mark.parametrize('maps, context', [
    (np.ones((1, 2, 3)), np.ones((3, 2), bool)), (-np.ones((1, 2, 2)), np.ones((2, 2), bool))])
def test_bad_input(maps, context):
    with pytest.raises(ValueError):
        context_share(maps, context)


def save(folder, image_id, ids, maps, size):
    folder.mkdir(exist_ok=True)
    found = ClassMaps(image_id, np.array(ids), maps.astype(np.float32), *size)
    (folder / f'{image_id}.npz').write_bytes(found.to_bytes())


@pytest.fixture
def tree(tmp_path):
    """Three images of 4 x 4: context on the right half, none, on the upper half."""
    (tmp_path / 'context').mkdir()
    for name, rows, left in (('a', 4, 2), ('b', 0, 0), ('c', 2, 0)):
        mask = np.zeros((4, 4), np.uint8)
        mask[:rows, left:] = 255
        Image.fromarray(mask).save(tmp_path / f'context/{name}.png')
    left = np.zeros((4, 4))
    left[:, :2] = 1
    save(tmp_path / 'maps', 'a', [1, BOAT], np.stack([np.ones((4, 4)), left]), (4, 4))
    save(tmp_path / 'maps', 'b', [BOAT], np.ones((1, 4, 4)), (4, 4))
    save(tmp_path / 'maps', 'c', [TRAIN, BOAT], np.ones((2, 2, 2)), (4, 4))
    return tmp_path


def test_mean_over_images_that_show_both(tree):
    found = evaluate_context(tree / 'maps', tree / 'context', 'abc', dict(boat=BOAT, train=TRAIN, cow=3))
    assert found['boat'] == dict(share=pytest.approx(25.), images=2)   # 0 and 50; b has no context
    assert found['train'] == dict(share=pytest.approx(50.), images=1)
    assert found['cow'] == dict(share=None, images=0)


def test_errors_name_the_file(tree):
    with pytest.raises(DataError, match='no image ids'):
        evaluate_context(tree / 'maps', tree / 'context', [], dict(boat=BOAT))
    with pytest.raises(DataError, match='d.npz'):
        evaluate_context(tree / 'maps', tree / 'context', ['d'], dict(boat=BOAT))
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tree / 'context/a.png')
    with pytest.raises(DataError, match='maps of'):
        evaluate_context(tree / 'maps', tree / 'context', ['a'], dict(boat=BOAT))


def test_on_toy_voc_truth_is_never_context(tmp_path):
    """The masks that the toy is drawn with; a map of all pixels has the context's share of the image."""
    draw_toy_voc(tmp_path, 'tags', 0, dict(train=14, val=0, test=0, test_decor=0, ood=0, ood_test=0), workers=1)
    ids = (tmp_path / 'ImageSets/Segmentation/train.txt').read_text().split()
    areas = []
    for image_id in ids:
        truth = np.array(Image.open(tmp_path / f'SegmentationClass/{image_id}.png'))
        present = np.setdiff1d(np.unique(truth), [0, 255])
        save(tmp_path / 'truth', image_id, present, np.stack([truth == c for c in present]), truth.shape)
        save(tmp_path / 'all', image_id, present, np.ones((len(present), *truth.shape)), truth.shape)
        area = (np.array(Image.open(tmp_path / f'ToyExtra/Context/{image_id}.png')) > 0).mean()
        areas += [100 * area] if area and BOAT in present else []
    classes = dict(boat=BOAT, train=TRAIN)
    found = evaluate_context(tmp_path / 'truth', tmp_path / 'ToyExtra/Context', ids, classes)
    assert found['boat'] == dict(share=0, images=len(areas)) and areas
    found = evaluate_context(tmp_path / 'all', tmp_path / 'ToyExtra/Context', ids, classes)
    assert found['boat']['share'] == pytest.approx(np.mean(areas))

"""Class maps made elsewhere: every form gives the same maps; what cannot be right is refused by name."""

import pickle
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.pseudo_labels import ImportedMaps
from wsss_mm.pseudo_labels.foreign_maps import ForeignMaps, fits, spellings
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.structures import ClassMaps, ImageSample

CLASSES = ('background', 'cat', 'dog', 'cow')
ID, SIZE = '2007_000032', (12, 18)
RNG = np.random.default_rng(0)
# Multiples of 1 / 255, so that 8-bit pictures hold them too; maps of all classes and of the background.
ALL = (RNG.integers(0, 256, (4, 6, 9)) / 255).astype(np.float32)


def sample(tags=(1, 3), image_id=ID, size=SIZE):
    none = np.zeros((0, 4), np.float32)
    labels = none[:, 0].astype(np.int64)
    return ImageSample(image_id, np.zeros((*size, 3), np.uint8), none, labels, np.array(tags, np.int64))


def save_pickle(path, content):
    path.write_bytes(pickle.dumps(content))


def save_grey(path, values, top=255):
    path.parent.mkdir(exist_ok=True)
    kind = np.uint8 if top == 255 else np.uint16
    Image.fromarray((values * top).round().astype(kind)).save(path)


def named_maps(folder):
    for i in (1, 2):
        save_grey(folder / f'{ID}_{CLASSES[i]}.png', ALL[i])
    save_grey(folder / f'{ID}_3.png', ALL[3], 65535)


def folder_maps(folder):
    for i in (0, 1, 3):
        save_grey(folder / ID / f'{CLASSES[i]}.png', ALL[i])
    save_grey(folder / ID / '2.png', ALL[2])


FORMS = {
    'own': lambda f: (f / f'{ID}.npz').write_bytes(ClassMaps(ID, np.array([1, 3]), ALL[[1, 3]], *SIZE).to_bytes()),
    'npz pairs': lambda f: np.savez(f / f'{ID}.npz', class_ids=[3, 1], maps=ALL[[3, 1]]),
    'npz pairs, background': lambda f: np.savez(f / f'{ID}.npz', class_ids=[1, 3], maps=ALL[[0, 1, 3]]),
    'npz names': lambda f: np.savez(f / f'{ID}.npz', cat=ALL[1], dog=ALL[2], cow=ALL[3], background=ALL[0]),
    'npz indices': lambda f: np.savez(f / f'{ID}.npz', **{'0': ALL[1], '2': ALL[3]}),
    'npz stack': lambda f: np.savez(f / f'{ID}.npz', ALL[1:]),
    'IRN': lambda f: np.save(f / f'{ID}.npy', dict(
        keys=torch.tensor([0, 2]), cam=torch.rand(2, 3, 5), high_res=ALL[[1, 3]]), allow_pickle=True),
    'AdvCAM on the device': lambda f: np.save(f / f'{ID}.npy', dict(
        keys=np.array([0, 2]), attributions=list(torch.from_numpy(ALL)[[1, 3]].numpy()))),
    'IRN with background': lambda f: np.save(f / f'{ID}.npy', dict(keys=[0, 2], cam=torch.from_numpy(ALL)[[0, 1, 3]])),
    'PSA': lambda f: np.save(f / f'{ID}.npy', {0: ALL[1], 2: ALL[3]}),
    'PSA pickle': lambda f: save_pickle(f / f'{ID}.pickle', {0: ALL[1], 2: ALL[3].astype(np.float64)}),
    'pickle of names': lambda f: save_pickle(f / f'{ID}.pkl', {'cow': ALL[3], 'cat': torch.from_numpy(ALL[1])}),
    'stack': lambda f: np.save(f / f'{ID}.npy', ALL[1:]),
    'stack with background': lambda f: np.save(f / f'{ID}.npy', ALL),
    'pictures': named_maps, 'pictures in a folder': folder_maps,
    'named by number': lambda f: np.save(f / '2007000032.npy', ALL[1:])}


@pytest.mark.parametrize('form', FORMS)
def test_every_form_gives_the_same_maps(form, tmp_path):
    FORMS[form](tmp_path)
    found, notes = ForeignMaps(tmp_path, CLASSES).read(sample())
    assert notes == [] and found.class_ids.tolist() == [1, 3] and (found.height, found.width) == SIZE
    np.testing.assert_allclose(found.maps, ALL[[1, 3]], atol=5e-4 if form == 'own' else 1e-5)
    assert found.maps.dtype == np.float32
    with_background = form in ('npz pairs, background', 'npz names', 'IRN with background', 'stack with background',
                               'pictures in a folder')
    assert (found.background is not None) == with_background
    if with_background:
        np.testing.assert_allclose(found.background, ALL[0], atol=1e-6)


def test_label_maps_become_maps_of_0_and_1(tmp_path):
    labels = RNG.integers(0, 4, SIZE).astype(np.uint8)
    labels[:2] = 255
    Image.fromarray(labels).save(tmp_path / f'{ID}.png')
    found, _ = ForeignMaps(tmp_path, CLASSES).read(sample())
    np.testing.assert_array_equal(found.maps, np.stack([labels == 1, labels == 3]))


def test_an_image_without_tags(tmp_path):
    FORMS['stack'](tmp_path)
    found, _ = ForeignMaps(tmp_path, CLASSES).read(sample(()))
    assert found.maps.shape == (0, *SIZE) and len(found.class_ids) == 0


def test_offset_and_name_of_the_maps(tmp_path):
    np.save(tmp_path / f'{ID}.npy', dict(keys=[1, 3], refined=ALL[[1, 3]], cam=ALL[[0, 0]]))
    found, _ = ForeignMaps(tmp_path, CLASSES, keys='refined', class_offset=0).read(sample())
    np.testing.assert_array_equal(found.maps, ALL[[1, 3]])
    with pytest.raises(DataError, match='has keys, but no sharp'):
        ForeignMaps(tmp_path, CLASSES, keys='sharp').read(sample())


@pytest.mark.parametrize('normalize, expected', [
    ('max', [[0, 0, .5, 1], [0, 0, 0, 0]]), ('minmax', [[0, 1 / 3, 2 / 3, 1], [0, 1, 1, 1]])])
def test_normalising(normalize, expected, tmp_path):
    np.savez(tmp_path / f'{ID}.npz', class_ids=[1, 3], maps=np.array([[[-2, 0, 2, 4]], [[-3, -1, -1, -1]]]))
    found, _ = ForeignMaps(tmp_path, CLASSES, normalize=normalize).read(sample(size=(1, 4)))
    np.testing.assert_allclose(found.maps[:, 0], expected, rtol=1e-6)


def test_missing_maps_as_zeros(tmp_path):
    np.savez(tmp_path / f'{ID}.npz', cat=ALL[1])
    found, notes = ForeignMaps(tmp_path, CLASSES, missing='zeros').read(sample())
    np.testing.assert_array_equal(found.maps, [ALL[1], 0 * ALL[1]])
    assert notes == ['no map of 3 (cow): zeros']
    np.savez(tmp_path / f'{ID}.npz', dog=ALL[1])
    found, _ = ForeignMaps(tmp_path, CLASSES, missing='zeros').read(sample())
    assert not found.maps.any() and len(found.maps) == 2


NAN = ALL.copy()
NAN[3, 2, 1] = np.nan


@pytest.mark.parametrize('content, message', [
    (dict(class_ids=[1, 3], maps=ALL), 'maps of shape .4, 6, 9. for 2 classes'),
    (dict(class_ids=[1, 3], maps=ALL[0]), 'maps of shape .6, 9. for 2 classes'),
    (dict(class_ids=[[1, 3]], maps=ALL[:2]), r'classes of shape \(1, 2\)'),
    (dict(class_ids=[1., 3.], maps=ALL[:2]), 'type float64'),
    (dict(class_ids=[3, 3], maps=ALL[:2]), 'named twice'),
    (dict(class_ids=[1, 3, 4], maps=ALL[:3]), r'class ids \[4\] are outside the set'),
    (dict(class_ids=[1, -3], maps=ALL[:2]), r'class ids \[-3\] are outside the set'),
    (dict(cat=ALL[1], mouse=ALL[2]), "'mouse' is no class"),
    (dict(cat=ALL[1]), r'no map of 3 \(cow\), which the image is tagged with; there are maps of 1 \(cat\)'),
    (dict(cat=ALL[1], cow=NAN[3]), r'the map of 3 \(cow\) holds 1 values of NaN'),
    (dict(cat=ALL[1], cow=3 * ALL[3]), 'has values from'),
    (dict(cat=ALL[1] - .5, cow=ALL[3]), 'has values from -0.4'),
    (dict(cat=(ALL[1] * 255).astype(np.uint8), cow=ALL[3]), r'the map of 1 \(cat\) is uint8'),
    (dict(cat=ALL[1].astype(complex), cow=ALL[3]), 'of the type complex128'),
    (dict(cat=ALL[1].T, cow=ALL[3]), 'has 9 x 6 pixels .height x width., the image 12 x 18'),
    (dict(cat=np.ones((24, 36)), cow=ALL[3]), 'has 24 x 36 pixels'),
    (dict(cat=ALL[1][:4, :6], cow=ALL[3]), 'maps of the sizes'),
    (dict(cat=ALL[1][None, None], cow=ALL[3]), 'has the shape'),
    (dict(arr_0=ALL[:2]), 'an array of shape'),
    (dict(class_ids=[1, 3], maps=ALL[[1, 3]], size=[18, 12]), 'maps of an image of .18, 12. pixels')])
def test_wrong_content_is_refused(content, message, tmp_path):
    np.savez(tmp_path / f'{ID}.npz', **content)
    with pytest.raises(DataError, match=message) as refused:
        ForeignMaps(tmp_path, CLASSES).read(sample())
    assert str(tmp_path / f'{ID}.npz') in str(refused.value)


def test_other_refusals(tmp_path):
    maps = ForeignMaps(tmp_path, CLASSES)
    with pytest.raises(DataError, match='no maps here'):
        maps.fingerprint()
    with pytest.raises(DataError, match=f'no maps of the image {ID}'):
        maps.read(sample())
    with pytest.raises(DataError, match='no maps here'):
        ForeignMaps(tmp_path / 'none', CLASSES).fingerprint()
    FORMS['stack'](tmp_path)
    FORMS['own'](tmp_path)
    with pytest.raises(DataError, match='several maps of this image'):
        maps.read(sample())
    assert ForeignMaps(tmp_path, CLASSES, format='npy').read(sample())[0].maps.shape == (2, 6, 9)
    with pytest.raises(DataError, match="no maps of format 'png'"):
        ForeignMaps(tmp_path, CLASSES, format='png').read(sample())
    with pytest.raises(ConfigError, match='tagged with class 4, but classes names 4'):
        maps.read(sample([4]))
    Image.new('RGB', SIZE[::-1]).save(tmp_path / 'b_cat.png')
    with pytest.raises(DataError, match="pixel type is 'RGB'"):
        maps.read(sample([1], 'b'))
    Image.fromarray(np.full(SIZE, 9, np.uint8)).save(tmp_path / 'c.png')
    with pytest.raises(DataError, match=r'class ids \[9\] are outside the set'):
        maps.read(sample([1], 'c'))
    save_pickle(tmp_path / 'd.pkl', [1, 2])
    with pytest.raises(DataError, match='holds a list'):
        maps.read(sample([1], 'd'))
    for wrong in (dict(format='jpg'), dict(normalize='l2'), dict(missing='skip'), dict(aspect='free')):
        with pytest.raises(ConfigError, match=re.escape(f'{next(iter(wrong))}=')):
            ImportedMaps(str(tmp_path), CLASSES, **wrong)
    with pytest.raises(ConfigError, match="classes='mmseg.None'"):
        ImportedMaps(str(tmp_path), 'mmseg.None')


@pytest.mark.parametrize('shape, squashed, right', [
    ((375, 500), 0, 1), ((94, 125), 0, 1), ((24, 32), 0, 1), ((23, 31), 0, 1), ((47, 63), 0, 1), ((1, 1), 0, 1),
    ((6, 8), 0, 1),     ((32, 24), 0, 0), ((41, 41), 0, 0), ((24, 24), 0, 0), ((376, 500), 0, 0), ((94, 130), 0, 0),
    ((41, 41), 1, 1), ((376, 500), 1, 0)])
def test_plausible_sizes(shape, squashed, right):
    assert fits(shape, (375, 500), bool(squashed)) == bool(right)


def test_spellings():
    assert spellings('2007_000032') == ['2007_000032', '2007000032']
    assert spellings('COCO_train2014_000000000009')[:2] == ['COCO_train2014_000000000009', '000000000009']
    assert '9' in spellings('000000000009') and spellings('cat 9') == ['cat 9']


def test_the_fingerprint_follows_every_byte_and_name(tmp_path):
    folder_maps(tmp_path)
    maps = ForeignMaps(tmp_path, CLASSES)
    found = [maps.fingerprint()['maps']]
    (tmp_path / ID / 'cat.png').rename(tmp_path / ID / 'dog.png')
    found.append(maps.fingerprint()['maps'])
    save_grey(tmp_path / ID / 'dog.png', ALL[0])
    found.append(maps.fingerprint()['maps'])
    assert len(set(found)) == 3 and maps.fingerprint()['maps'] == found[-1]


@pytest.fixture
def imported(tmp_path, toy_root, write_config):
    """A run of the shipped config on the small toy VOC, its maps written as IRN writes them; all but one image's."""
    from wsss_mm.registry import DATASETS
    cfg = Config.fromfile(write_config(tmp_path / 'maps.py', 'imported/maps_toy.py', f"""
pseudo_labels = dict(out_dir='{tmp_path}/labels', num_workers=0, dataset=dict(data_root='{toy_root}'),
                     generator=dict(map_dir='{tmp_path}/foreign'))"""))
    (tmp_path / 'foreign').mkdir()
    dataset, rng, written = DATASETS.build(cfg.pseudo_labels.dataset), np.random.default_rng(0), {}
    for i in range(len(dataset)):
        data = dataset[i]['data_samples']
        tags = data.gt_label.nonzero().flatten()
        written[data.img_id] = rng.random((len(tags), 24, 24), np.float32)
        np.save(tmp_path / f'foreign/{data.img_id}.npy', dict(keys=tags, cam=torch.from_numpy(written[data.img_id])))
    return cfg, written, tmp_path


def test_import_is_a_labelling_run(imported):
    """Maps and labels with manifest and failures; a bad file stops nothing, is named, and is made up for by a rerun."""
    cfg, written, root = imported
    first, *rest = sorted(written)
    whole = (root / f'foreign/{first}.npy').read_bytes()
    (root / f'foreign/{first}.npy').write_bytes(whole[:-30])
    done = LabellingRun(cfg).run()
    assert not done['complete'] and list(done['failures']) == [first] and 'not readable' in done['failures'][first]
    (root / f'foreign/{first}.npy').write_bytes(whole)
    # other bytes below the same names are other inputs
    with pytest.raises(ConfigError, match='changed: maps'):
        LabellingRun(cfg)
    cfg.pseudo_labels.out_dir = f'{root}/again'
    assert LabellingRun(cfg).run()['complete']
    for image_id in rest:
        found = ClassMaps.load(root / f'again/maps/{image_id}.npz')
        np.testing.assert_allclose(found.maps, written[image_id], atol=5e-4)
        full = ClassMaps(image_id, found.class_ids, written[image_id], 96, 96).full_size().maps
        expected = np.where(full.max(0) > .25, found.class_ids[full.argmax(0)], 0)
        np.testing.assert_array_equal(np.asarray(Image.open(root / f'again/labels/{image_id}.png')), expected)

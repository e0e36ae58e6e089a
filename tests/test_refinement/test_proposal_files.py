"""Proposals from files: every form gives the masks that were written, broken and hostile ones are refused by name."""

import json
import pickle

import numpy as np
import pytest
from pycocotools import mask as coco
from scipy.io import savemat

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.refinement import MaskProposals, Proposals
from wsss_mm.registry import TASK_UTILS
from wsss_mm.run_lengths import decode_mask

HEIGHT, WIDTH, COUNT = 11, 7, 5
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
SUPERPIXELS = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 9
TABLE = np.random.default_rng(0).random((COUNT, SUPERPIXELS.max() + 1)) < .4
TABLE[3] = np.arange(SUPERPIXELS.max() + 1) == 2
MASKS = TABLE[:, SUPERPIXELS]
SCORES = np.linspace(1, 0, COUNT)


def cell():
    labels = np.empty((COUNT, 1), object)
    for k, row in enumerate(TABLE):
        labels[k, 0] = np.flatnonzero(row)[None] + 1.
    return labels


def mcg(path):
    savemat(path, dict(superpixels=SUPERPIXELS + 1, labels=cell(), scores=SCORES[:, None], extra='x'))


def mcg_compressed(path):
    savemat(path, dict(superpixels=(SUPERPIXELS + 1).astype(np.uint16), labels=cell().T, scores=SCORES[:, None]),
            do_compression=True)


def mat_masks(path):
    savemat(path, dict(masks=MASKS.transpose(1, 2, 0), scores=SCORES))


def mcg_hdf5(path):
    h5py = pytest.importorskip('h5py')
    with h5py.File(path, 'w', userblock_size=512) as file:
        file['superpixels'] = (SUPERPIXELS + 1.).T
        file['scores'] = SCORES[None]
        references = file.create_dataset('labels', (1, COUNT), h5py.ref_dtype)
        for k, row in enumerate(TABLE):
            file[f'#refs#/{k}'] = np.flatnonzero(row)[:, None] + 1.
            references[0, k] = file[f'#refs#/{k}'].ref
    with open(path, 'r+b') as stream:
        stream.write(b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM')


def hdf5_masks(path):
    h5py = pytest.importorskip('h5py')
    with h5py.File(path, 'w') as file:
        file['masks'], file['scores'] = MASKS.transpose(0, 2, 1).astype(np.uint8), SCORES[None]


def superpixel_npz(path):
    k, index = TABLE.nonzero()
    path.write_bytes(Proposals(SUPERPIXELS, np.searchsorted(k, range(COUNT + 1)), index, SCORES).to_bytes())


def mask_npz(path):
    np.savez(path, masks=MASKS, scores=SCORES)


def packed_npz(path):
    np.savez(path, packed=np.packbits(MASKS.reshape(COUNT, -1), axis=1), shape=[HEIGHT, WIDTH], scores=SCORES)


def runs(mask):
    """Uncompressed run lengths, as COCO has them."""
    flat = np.concatenate([[False], mask.T.ravel(), [not mask[-1, -1]]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return dict(size=[*mask.shape], counts=np.diff([0, *ends]).tolist())


def compressed(mask):
    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(found, counts=found['counts'].decode())


def records(encode, image_id='a'):
    return [dict(image_id=image_id, segmentation=encode(m), score=s) for m, s in zip(MASKS, SCORES, strict=True)]


def rle_json(path):
    path.write_text(json.dumps(records(compressed)))


def rle_lines(path):
    path.write_text('\n'.join(map(json.dumps, records(runs))) + '\n\n')


FORMS = [(mcg, '.mat', 'mcg'), (mcg_compressed, '.mat', 'auto'), (mat_masks, '.mat', 'auto'), (mcg_hdf5, '.mat', 'mcg'),
         (hdf5_masks, '.mat', 'auto'), (superpixel_npz, '.npz', 'numpy'), (mask_npz, '.npz', 'auto'),
         (packed_npz, '.npz', 'auto'), (rle_json, '.json', 'coco'), (rle_lines, '.jsonl', 'auto')]


@pytest.mark.parametrize('write, suffix, kind', FORMS, ids=[f[0].__name__ for f in FORMS])
def test_every_form_gives_the_masks_that_were_written(tmp_path, write, suffix, kind):
    write(tmp_path / f'a{suffix}')
    reader = TASK_UTILS.build(dict(type='wsss_mm.MaskProposals', folder=str(tmp_path), format=kind))
    found = reader('a', IMAGE)
    assert np.array_equal(found.masks(range(COUNT)), MASKS)
    np.testing.assert_allclose(found.scores, SCORES)
    with pytest.raises(DataError, match='11') as caught:   # another image, with both sizes
        reader('a', IMAGE[:, 1:])
    assert str(tmp_path / f'a{suffix}') in str(caught.value) and '6' in caught.value.problem


def test_plain_npy_without_scores(tmp_path):
    np.save(tmp_path / 'x_a.npy', MASKS.astype(np.uint8))
    found = MaskProposals(str(tmp_path), pattern='x_{id}')('a', IMAGE)
    assert np.array_equal(found.masks(range(COUNT)), MASKS) and found.scores is None


@pytest.mark.parametrize('name, image_id', [
    ('2007_000032', '2007_000032'), ('000032', '2007_000032'), ('COCO_train2014_000000000139', '000000000139'),
    ('COCO_val2014_000000000139', '000000000139'), ('000000000139', 'COCO_train2014_000000000139')])
def test_names_of_the_packs(tmp_path, name, image_id):
    (tmp_path / 'b').mkdir()
    mask_npz(tmp_path / 'b' / f'{name}.npz')
    reader = MaskProposals([str(tmp_path), str(tmp_path / 'b')])
    assert len(reader(image_id, IMAGE)) == COUNT
    with pytest.raises(DataError, match='no proposals of 2008_000032'):
        reader('2008_000032', IMAGE)


def test_one_file_of_all_images(tmp_path):
    path = tmp_path / 'all.json'
    own = records(compressed, 139) + records(runs, '2007_000032')[:2]
    path.write_text(json.dumps(dict(annotations=own)))
    reader = MaskProposals(str(path))
    assert np.array_equal(reader('000000000139', IMAGE).masks(range(COUNT)), MASKS)
    assert len(reader('2007_000032', IMAGE)) == 2
    with pytest.raises(DataError, match='no proposals of b'):
        reader('b', IMAGE)


def test_run_lengths_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    for share in (0, .02, .5, 1):
        for _ in range(20):
            mask = np.kron(rng.random(rng.integers(1, 30, 2)) < share, np.ones(rng.integers(1, 20, 2))).astype(bool)
            for segmentation in (compressed(mask), runs(mask)):
                assert np.array_equal(decode_mask(segmentation, *mask.shape), mask)


@pytest.mark.parametrize('segmentation, words', [
    ([[1, 2, 3, 4]], 'of the type list'), (dict(size=[11, 7]), 'of the type dict'),
    (dict(size=[7, 11], counts=[77]), r'\[7, 11\], the image has \[11, 7\]'), (dict(size=3, counts=[77]), 'size 3'),
    (dict(size=[11, 7], counts=[70]), 'do not add up'), (dict(size=[11, 7], counts=[-1, 78]), 'do not add up'),
    (dict(size=[11, 7], counts=[2**62, 2**62, 2**62, 2**62, 77]), 'do not add up'),
    (dict(size=[11, 7], counts=[2**70]), 'no list of whole'), (dict(size=[11, 7], counts=[[77]]), 'no list of whole'),
    (dict(size=[11, 7], counts=[7.5]), 'no list of whole'), (dict(size=[11, 7], counts=[]), 'whole|add up'),
    (dict(size=[11, 7], counts=''), 'cut short'), (dict(size=[11, 7], counts='ü'), 'no compressed'),
    (dict(size=[11, 7], counts='P'), 'cut short'), (dict(size=[11, 7], counts='o' * 40 + '0'), '50 bits'),
    (dict(size=[11, 7], counts='oooooooo?'), 'do not add up')])
def test_hostile_run_lengths_are_refused(tmp_path, segmentation, words):
    (tmp_path / 'a.json').write_text(json.dumps([dict(image_id='a', segmentation=segmentation)]))
    with pytest.raises(DataError, match=words) as caught:
        MaskProposals(str(tmp_path))('a', IMAGE)
    assert 'a.json' in str(caught.value)


@pytest.mark.parametrize('write, suffix, kind', FORMS, ids=[f[0].__name__ for f in FORMS])
def test_cut_files_are_refused(tmp_path, write, suffix, kind):
    path = tmp_path / f'a{suffix}'
    write(path)
    whole = path.read_bytes()
    for length in (0, 1, 100, 130, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        if kind == 'auto' and suffix == '.jsonl' and length == 0:
            continue
        with pytest.raises(DataError, match='a' + suffix):
            MaskProposals(str(tmp_path))('a', IMAGE)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.mark.parametrize('suffix', ['.npy', '.npz', '.mat'])
def test_nothing_is_unpickled(tmp_path, suffix):
    objects = np.array([Bomb(tmp_path / 'ran')], object)
    if suffix == '.npz':
        np.savez(tmp_path / 'a.npz', superpixels=SUPERPIXELS, indptr=objects, indices=objects)
    elif suffix == '.npy':
        np.save(tmp_path / 'a.npy', objects, allow_pickle=True)
    else:
        (tmp_path / 'a.mat').write_bytes(pickle.dumps(objects))
    with pytest.raises(DataError, match='not readable'):
        MaskProposals(str(tmp_path))('a', IMAGE)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('content, words', [
    (dict(bboxes=np.ones((3, 4))), 'bboxes alone'), (dict(other=np.ones(3)), 'neither masks nor superpixels'),
    (dict(superpixels=SUPERPIXELS, labels=cell()), 'number below 1'),
    (dict(superpixels=SUPERPIXELS + .5, labels=cell()), 'number below 1'),
    (dict(superpixels=np.full((HEIGHT, WIDTH), 10**9), labels=cell()), '1000000000 of them'),
    (dict(superpixels=SUPERPIXELS + 1, labels=np.array([[99.]])), 'indices 98'),
    (dict(superpixels=SUPERPIXELS + 1, labels='text'), 'labels of'),
    (dict(superpixels=SUPERPIXELS + 1, labels=cell(), scores=[1]), r'scores \(1,\) for 5')])
def test_mat_files_of_something_else_are_refused(tmp_path, content, words):
    savemat(tmp_path / 'a.mat', content)
    with pytest.raises(DataError, match=words) as caught:
        MaskProposals(str(tmp_path))('a', IMAGE)
    assert 'a.mat' in str(caught.value)


def test_links_out_of_an_hdf5_file_are_refused(tmp_path):
    h5py = pytest.importorskip('h5py')
    hdf5_masks(tmp_path / 'other.mat')
    with h5py.File(tmp_path / 'a.mat', 'w') as file:
        file['masks'] = h5py.ExternalLink(str(tmp_path / 'other.mat'), 'masks')
    with pytest.raises(DataError, match='masks leads out of the file'):
        MaskProposals(str(tmp_path))('a', IMAGE)
    (tmp_path / 'raw').write_bytes(bytes(HEIGHT * WIDTH))
    with h5py.File(tmp_path / 'a.mat', 'w') as file:
        file.create_dataset('masks', (1, WIDTH, HEIGHT), np.uint8,
                            external=[(str(tmp_path / 'raw'), 0, HEIGHT * WIDTH)])
    with pytest.raises(DataError, match='no array in the file itself'):
        MaskProposals(str(tmp_path))('a', IMAGE)


@pytest.mark.parametrize('arrays, words', [
    (dict(masks=MASKS[0]), r'masks \(11, 7\)'), (dict(masks=MASKS * 2), 'values 0 to 2'), (dict(x=MASKS), 'arrays x'),
    (dict(packed=MASKS, shape=[HEIGHT, WIDTH]), r'expected: \(K, 10\) uint8'),
    (dict(packed=MASKS, shape=[-1, WIDTH]), 'shape'), (dict(superpixels=SUPERPIXELS), 'missing: indices, indptr')])
def test_arrays_of_something_else_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / 'a.npz', **arrays)
    with pytest.raises(DataError, match=words) as caught:
        MaskProposals(str(tmp_path))('a', IMAGE)
    assert 'a.npz' in str(caught.value)


@pytest.mark.parametrize('text', ['', '[', '3', '[3]', '{"annotations": 3}', '[' * 100_000])
def test_json_of_something_else_is_refused(tmp_path, text):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(DataError, match='a.json'):
        MaskProposals(str(tmp_path))('a', IMAGE)


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="format='sam'"):
        MaskProposals('x', format='sam')
    with pytest.raises(ConfigError, match="pattern='a'"):
        MaskProposals('x', pattern='a')


def test_fingerprint_tells_other_proposals_apart(tmp_path):
    folder = tmp_path / 'proposals'
    folder.mkdir()
    reader = MaskProposals(str(folder))
    with pytest.raises(DataError, match='no proposals here'):
        reader.fingerprint()
    mask_npz(folder / 'a.npz')
    before = reader.fingerprint()
    mask_npz(folder / 'b.npz')
    assert set(before) == {'proposals'} and reader.fingerprint() != before
    (tmp_path / 'run.json').write_text('{"complete": false, "hash": "x"}')
    with pytest.raises(DataError, match='not complete'):
        reader.fingerprint()
    (tmp_path / 'run.json').write_text('{"complete": true, "hash": "x"}')
    made = reader.fingerprint()
    (folder / 'b.npz').unlink()
    assert reader.fingerprint() == made

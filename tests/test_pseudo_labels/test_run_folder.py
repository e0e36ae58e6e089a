"""Resume, verification and refusal of a labelling run's folder."""

import json

import numpy as np
import pytest
from PIL import Image

from wsss_mm.errors import ConfigError
from wsss_mm.files import label_png, write_atomic
from wsss_mm.pseudo_labels.run_folder import RunFolder, write_files

DESCRIPTION = dict(hash='h', settings=dict(model='m', pseudo_labels='p'))


def fill(root, ids, rank=0, world_size=1):
    folder = RunFolder(root, DESCRIPTION, rank, world_size)
    for i in ids:
        if i not in folder.done():
            folder.add(i, write_files(folder.root, {f'Y/{i}.png': i.encode()}, folder.rank), [])
    return folder


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob('*')) if p.is_file()}


def test_interrupted_run_ends_as_an_unbroken_one(tmp_path):
    ids = list('abcdef')
    fill(tmp_path / 'whole', ids).finish(ids, {})
    cut = tmp_path / 'cut'
    fill(cut, 'dba')                                       # another order, never finished
    with open(cut / 'manifest.jsonl', 'ab') as stream:     # killed while writing a line …
        stream.write(b'{"id": "c", "fil')
    (cut / 'Y' / '.c.png.tmp-0-123').write_bytes(b'half')  # … and a file
    assert fill(cut, ids).finish(ids, {})
    assert contents(cut) == contents(tmp_path / 'whole')


def test_changed_or_missing_files_are_made_again(tmp_path):
    fill(tmp_path, 'abc').finish('abc', {})
    (tmp_path / 'Y/a.png').write_bytes(b'tampered')
    (tmp_path / 'Y/b.png').unlink()
    assert RunFolder(tmp_path, DESCRIPTION).done() == {'c'}


def test_other_settings_are_refused_by_name(tmp_path):
    fill(tmp_path, 'a').finish('a', {})
    other = dict(hash='x', settings=dict(model='m', pseudo_labels='other'))
    with pytest.raises(ConfigError, match='changed: pseudo_labels') as caught:
        RunFolder(tmp_path, other)
    assert f'rm -r {tmp_path}' in str(caught.value)
    assert json.loads((tmp_path / 'run.json').read_text())['hash'] == 'h'


def test_shards_together_equal_one_run(tmp_path):
    ids = list('abcdefg')
    fill(tmp_path / 'one', ids).finish(ids, {})
    first, second = fill(tmp_path / 'two', ids[::2], 0, 2), fill(tmp_path / 'two', ids[1::2], 1, 2)
    assert not RunFolder(tmp_path / 'other', DESCRIPTION, 0, 2).finish(ids, {})
    assert second.finish(ids, {}) and first.finish(ids, {})
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


def test_files_of_the_whole_run_are_made_from_all_shards_and_only_at_the_end(tmp_path):
    def gather(root, ids):
        assert not json.loads((root / 'run.json').read_text())['complete']
        return {'all.txt': b''.join((root / f'Y/{i}.png').read_bytes() for i in ids)}

    assert not fill(tmp_path, 'ca', 0, 2).finish('cab', {}, gather)
    assert not (tmp_path / 'all.txt').exists()
    assert not fill(tmp_path, '', 1, 2).finish('cab', {'b': 'broken'}, gather)
    assert not (tmp_path / 'all.txt').exists()
    assert fill(tmp_path, 'b', 1, 2).finish('cab', {}, gather)
    assert (tmp_path / 'all.txt').read_bytes() == b'abc'
    (tmp_path / 'all.txt').unlink()
    assert fill(tmp_path, 'abc').finish('cab', {}, gather)
    assert (tmp_path / 'all.txt').read_bytes() == b'abc'


def test_failures_keep_the_run_open(tmp_path):
    folder = fill(tmp_path, 'ab')
    assert not folder.finish('abc', {'c': 'truncated file'})
    assert json.loads((tmp_path / 'failures.json').read_text()) == {'c': 'truncated file'}
    assert json.loads((tmp_path / 'run.json').read_text())['complete'] is False
    assert fill(tmp_path, 'abc').finish('abc', {})
    assert not (tmp_path / 'failures.json').exists()


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    write_atomic(tmp_path / 'x', b'old')

    def full(*_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(OSError, match='No space'):
        write_atomic(tmp_path / 'x', b'new')
    assert contents(tmp_path) == {'x': b'old'}


def test_label_png_is_a_palette_png_of_the_ids(tmp_path):
    label = np.array([[0, 1, 255], [2, 2, 0]], np.uint8)
    (tmp_path / 'x.png').write_bytes(label_png(label, [[0, 0, 0], [128, 0, 0], [0, 128, 0]]))
    with Image.open(tmp_path / 'x.png') as picture:
        assert picture.mode == 'P' and (np.asarray(picture) == label).all()
        assert np.asarray(picture.convert('RGB'))[1, 0].tolist() == [0, 128, 0]

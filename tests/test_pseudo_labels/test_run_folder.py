"""Resume, verification and refusal of a labelling run's folder."""

import json

import numpy as np
import pytest
from PIL import Image

from wsss_mm.errors import ConfigError, WSSSError
from wsss_mm.files import label_png, write_atomic
from wsss_mm.pseudo_labels.run_folder import RunFolder, write_files
from wsss_mm.pseudo_labels.sharing import SharingEnded

DESCRIPTION = dict(hash='h', settings=dict(model='m', pseudo_labels='p'))


def nothing(root, ids):
    return {}


def label(root, ids, until=None, failing=(), gather=nothing):
    """Label a list as a run does, one id a share; ``until`` so many are done, and leave then without a word.

    Returns whether the run is complete (None if it was left), and the ids labelled.
    """
    folder, done = RunFolder(root, DESCRIPTION, stale_after=.5), []
    if folder.begin(ids):
        return True, done
    with folder:
        for share in folder.claimed([[i] for i in ids]):
            if len(done) == until:
                return None, done
            if ids[share] in failing:
                folder.fail(ids[share], 'truncated file')
                continue
            folder.add(ids[share], write_files(folder.root, {f'Y/{ids[share]}.png': ids[share].encode()},
                                               folder.sharing.token), [])
            done.append(ids[share])
        return folder.finish(gather), done


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob('*')) if p.is_file()}


def test_a_flipped_bit_in_a_manifest_is_mended(tmp_path):
    """What the line stood for is made again, and the manifest is what it was."""
    ids = list('abc')
    label(tmp_path, ids)
    whole, manifest = contents(tmp_path), tmp_path / 'manifest.jsonl'
    for position in range(0, 8 * len(whole['manifest.jsonl']), 13):   # every byte or two, all eight bits in turn
        damaged = bytearray(whole['manifest.jsonl'])
        damaged[position // 8] ^= 1 << position % 8
        manifest.write_bytes(damaged)
        assert label(tmp_path, ids)[0] and manifest.read_bytes() == whole['manifest.jsonl'], bytes(damaged)
    assert contents(tmp_path) == whole


def test_interrupted_run_ends_as_an_unbroken_one(tmp_path):
    ids = list('abcdef')
    assert label(tmp_path / 'whole', ids) == (True, ids)
    assert sorted(contents(tmp_path / 'whole')) == [*(f'Y/{i}.png' for i in ids), 'manifest.jsonl', 'run.json']
    cut = tmp_path / 'cut'
    assert label(cut, list('dbaecf'), until=3) == (None, list('dba'))   # another order, never finished
    stream, = cut.glob('sharing/*.jsonl')
    with open(stream, 'ab') as file:                       # killed while writing a line …
        file.write(b'{"id": "c", "fil')
    (cut / 'Y' / '.c.png.tmp-0-123').write_bytes(b'half')  # … and a file
    complete, made = label(cut, ids)
    assert complete and sorted(made) == ['c', 'e', 'f']
    assert contents(cut) == contents(tmp_path / 'whole')
    stamps = {p: p.stat().st_mtime_ns for p in cut.rglob('*')}
    assert label(cut, ids) == (True, []) and stamps == {p: p.stat().st_mtime_ns for p in cut.rglob('*')}


def test_changed_or_missing_files_are_made_again(tmp_path):
    ids = list('abc')
    label(tmp_path, ids)
    whole = contents(tmp_path)
    (tmp_path / 'Y/a.png').write_bytes(b'tampered')
    (tmp_path / 'Y/b.png').unlink()
    folder = RunFolder(tmp_path, DESCRIPTION)
    assert not folder.begin(ids) and folder.open_ids == {'a', 'b'}
    assert label(tmp_path, ids) == (True, ['a', 'b']) and contents(tmp_path) == whole


def test_what_a_dead_process_wrote_is_hashed_too(tmp_path):
    label(tmp_path, list('abcd'), until=3)
    (tmp_path / 'Y/b.png').write_bytes(b'tampered')
    assert label(tmp_path, list('abcd')) == (True, ['b', 'd'])


def test_other_settings_are_refused_by_name(tmp_path):
    label(tmp_path, ['a'])
    other = dict(hash='x', settings=dict(model='m', pseudo_labels='other'))
    with pytest.raises(ConfigError, match='changed: pseudo_labels') as caught:
        RunFolder(tmp_path, other)
    assert f'rm -r {tmp_path}' in str(caught.value)
    assert json.loads((tmp_path / 'run.json').read_text())['hash'] == 'h'


def test_files_of_the_whole_run_are_made_once_and_only_at_the_end(tmp_path):
    calls = []

    def gather(root, ids):
        calls.append(ids)
        assert not json.loads((root / 'run.json').read_text())['complete']
        return {'all.txt': b''.join((root / f'Y/{i}.png').read_bytes() for i in ids)}

    assert label(tmp_path, list('cab'), until=2, gather=gather)[0] is None
    assert label(tmp_path, list('cab'), failing='b', gather=gather) == (False, [])
    assert not (tmp_path / 'all.txt').exists() and not calls
    assert label(tmp_path, list('cab'), gather=gather) == (True, ['b'])
    assert (tmp_path / 'all.txt').read_bytes() == b'abc' and calls == [list('abc')]
    (tmp_path / 'all.txt').unlink()
    assert label(tmp_path, list('cab'), gather=gather) == (True, [])
    assert (tmp_path / 'all.txt').read_bytes() == b'abc'


def test_a_gathering_that_breaks_off_is_done_by_the_next(tmp_path):
    def gather(root, ids):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        label(tmp_path, list('ab'), gather=gather)
    assert not json.loads((tmp_path / 'run.json').read_text())['complete']
    assert label(tmp_path, list('ab')) == (True, []) and not (tmp_path / 'sharing').exists()


@pytest.mark.parametrize('moved', [False, True])
def test_what_a_process_left_that_was_killed_at_its_very_end_is_cleared_away(tmp_path, monkeypatch, moved):
    def killed(*_, **__):
        raise KeyboardInterrupt
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('shutil.rmtree' if moved else 'wsss_mm.pseudo_labels.sharing.SharedWork.end', killed)
        label(tmp_path, list('ab'))
    if not moved:
        (tmp_path / 'Y/.a.png.tmp-0-1').write_bytes(b'half')
    assert json.loads((tmp_path / 'run.json').read_text())['complete'] and len(list(tmp_path.glob('*sharing*'))) == 1
    assert label(tmp_path, list('ab')) == (True, [])
    assert sorted(contents(tmp_path)) == ['Y/a.png', 'Y/b.png', 'manifest.jsonl', 'run.json']
    assert not list(tmp_path.glob('*sharing*'))


def test_failures_keep_the_run_open(tmp_path):
    assert label(tmp_path, list('abc'), failing='c') == (False, ['a', 'b'])
    assert json.loads((tmp_path / 'failures.json').read_text()) == {'c': 'truncated file'}
    assert json.loads((tmp_path / 'run.json').read_text())['complete'] is False
    assert not (tmp_path / 'sharing').exists()
    assert label(tmp_path, list('abc')) == (True, ['c'])
    assert not (tmp_path / 'failures.json').exists()


def both(root, ids):
    folders = [RunFolder(root, DESCRIPTION, stale_after=.5) for _ in range(2)]
    for folder in folders:
        assert not folder.begin(ids)
        folder.__enter__()
    return folders


def add(folder, image_id):
    folder.add(image_id, write_files(folder.root, {f'Y/{image_id}.png': image_id.encode()}, folder.sharing.token), [])


def test_one_ends_the_run_for_both_and_a_failure_is_put_down_once(tmp_path):
    label(tmp_path / 'one', list('abc'), failing='b')
    first, second = both(tmp_path / 'two', list('abc'))
    add(first, 'a')
    second.fail('b', 'truncated file')
    assert second.open_ids == {'a', 'c'}
    second.wait()
    assert second.open_ids == {'c'}
    add(second, 'c')
    first.wait()
    assert not first.open_ids and first.failures == second.failures == {'b': 'truncated file'}
    assert first.finish() is second.finish() is False
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')
    second.add('c', {}, [])      # taken for dead and awake again: nobody listens, nothing breaks


def test_who_has_not_seen_the_end_reads_it_from_what_was_joined(tmp_path):
    first, second = both(tmp_path, list('abc'))
    for i in 'ac':
        add(first, i)
    first.fail('b', 'truncated file')
    assert not first.finish() and not (tmp_path / 'sharing').exists()
    second.wait()
    assert not second.open_ids and second.failures == {'b': 'truncated file'} and second.finish() is False
    with pytest.raises(SharingEnded):
        next(second.sharing.claimed(1, lambda share: True))


def test_who_comes_when_all_is_done_changes_nothing(tmp_path):
    """Between its look at the files and its part in the run, another one ended it."""
    late = RunFolder(tmp_path, DESCRIPTION)
    assert not late.begin(list('ab'))
    label(tmp_path, list('ab'))
    whole = contents(tmp_path)
    with pytest.raises(SharingEnded), late:
        pass
    assert late.begin(list('ab')) and contents(tmp_path) == whole


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    write_atomic(tmp_path / 'x', b'old')

    def full(*_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(OSError, match='No space'):
        write_atomic(tmp_path / 'x', b'new')
    assert contents(tmp_path) == {'x': b'old'}


def test_a_record_that_cannot_be_written_is_the_runs_error(tmp_path, monkeypatch):
    first, _ = both(tmp_path, list('ab'))

    def full(*_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(WSSSError, match='cannot write the records.*No space') as caught:
        first.fail('a', 'x')
    assert 'make room' in str(caught.value)


def test_label_png_is_a_palette_png_of_the_ids(tmp_path):
    label = np.array([[0, 1, 255], [2, 2, 0]], np.uint8)
    (tmp_path / 'x.png').write_bytes(label_png(label, [[0, 0, 0], [128, 0, 0], [0, 128, 0]]))
    with Image.open(tmp_path / 'x.png') as picture:
        assert picture.mode == 'P' and (np.asarray(picture) == label).all()
        assert np.asarray(picture.convert('RGB'))[1, 0].tolist() == [0, 128, 0]

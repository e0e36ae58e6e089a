"""The check of a run's folder: ``tools/generate.py --verify``."""

import json
import shutil

from PIL import Image


def test_a_whole_run_is_found_whole(masks_copy, call_tool):
    done = call_tool('generate', masks_copy, '--verify')
    assert done.code == 0 and '25 files checked, no problems' in done.out


def test_what_is_broken_is_listed(masks_copy, call_tool, tmp_path, contents):
    root = tmp_path / 'masks'
    labels, instances = sorted((root / 'labels').iterdir()), sorted((root / 'instances').iterdir())
    labels[0].unlink()
    labels[1].write_bytes(labels[1].read_bytes() + b' ')
    made = json.loads((root / 'instances.json').read_text())
    gone = made['annotations'].pop(0)
    made['annotations'][0]['id'] = 999
    (root / 'instances.json').write_text(json.dumps(made))
    lines = (root / 'manifest.jsonl').read_bytes().splitlines(True)
    (root / 'manifest.jsonl').write_bytes(b''.join(lines[:-2] + lines[-3:-2] + lines[-1:]))
    before = contents(root)
    done = call_tool('generate', masks_copy, '--verify')
    assert done.code == 1 and contents(root) == before
    for words in (f'{labels[0]}: missing', f'{labels[1]}: changed', 'instances.json: changed', 'is there 2 times',
                  f'the image {instances[-2].stem} is missing', f'the annotation {gone["id"]} of',
                  'the annotation 999 is none of'):
        assert words in done.out, words


def test_pictures_of_another_size_are_listed(masks_copy, call_tool, explained_objects):
    """The hash fits, the size does not: another image lies in the place of the one that was labelled."""
    picture = sorted((explained_objects / 'toy/JPEGImages').glob('train_*.jpg'))[0]
    kept = picture.read_bytes()
    try:
        Image.open(picture).resize((50, 40)).save(picture)
        done = call_tool('generate', masks_copy, '--verify')
    finally:
        picture.write_bytes(kept)
    assert done.code == 1 and '(96, 96) (height, width)' in done.out and 'has (40, 50)' in done.out


def test_runs_that_are_not_there_or_not_whole_are_listed(masks_config, call_tool, tmp_path):
    assert 'no run has begun' in call_tool('generate', masks_config(tmp_path), '--verify').out
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'masks/run.json').write_text('{"complete": false}')
    done = call_tool('generate', masks_config(tmp_path), '--verify')
    assert done.code == 1 and 'not complete' in done.out


def test_other_runs_are_checked_too(unbroken, call_tool, tmp_path):
    """Labels of a classifier: no instances there."""
    shutil.copytree(unbroken[0].parent / 'labels', tmp_path / 'labels')
    done = call_tool('generate', unbroken[0], '--out-dir', tmp_path / 'labels', '--verify')
    assert done.code == 0 and '48 files checked' in done.out
    next((tmp_path / 'labels/Y_ret').iterdir()).write_bytes(b'')
    assert call_tool('generate', unbroken[0], '--out-dir', tmp_path / 'labels', '--verify').code == 1

"""The readers on damaged files: a value or a ``WSSSError``. ``benchmarks/fuzz_readers.py`` goes on for an hour."""

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

from wsss_mm.array_files import npz_bytes, read_arrays
from wsss_mm.datasets.coco_boxes import read_coco_boxes
from wsss_mm.datasets.label_readers import read_tags
from wsss_mm.datasets.own_data.boxes import read_class_names
from wsss_mm.datasets.own_data.tables import read_json_file
from wsss_mm.datasets.prepare_coco import CATEGORIES, read_instances
from wsss_mm.errors import CheckpointError, ConfigError, DataError
from wsss_mm.evaluation.coco_files import read_truth
from wsss_mm.files import read_json, read_run
from wsss_mm.pseudo_labels.run_folder import RunFolder, read_manifest
from wsss_mm.refinement import Proposals
from wsss_mm.safe_loading import load_checkpoint_file
from wsss_mm.safe_pickle import load_npz
from wsss_mm.structures import ClassMaps, ObjectMaps

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'benchmarks'))
import fuzz_readers  # noqa: E402

READERS = (
    'read_voc_xml', 'read_image', 'read_label_map', 'read_id_list', 'read_tags', 'SBD masks', 'SBD instances',
    'CocoBoxDataset', 'COCO 2014, 2017', 'COCO truth', 'ClassMaps', 'ObjectMaps', 'maps made elsewhere', 'safe_pickle',
    'safe_pickle, numpy', 'proposals, MCG', 'proposals, MCG masks', 'proposals, MATLAB 7.3', 'proposals, numpy',
    'proposals, packed', 'proposals, COCO', 'checkpoint', 'MXNet parameters', 'own tags, CSV', 'own tags, JSON',
    'own boxes, CSV', 'own boxes, COCO', 'own boxes, XML', 'own boxes, YOLO', 'own class names', 'own masks',
    'run folder', 'read_json')


@pytest.fixture(scope='module')
def readers(tmp_path_factory):
    found = fuzz_readers.all_readers(tmp_path_factory.mktemp('beside'))
    assert tuple(found) == READERS
    return found


@pytest.mark.parametrize('name', READERS)
def test_damaged_files_are_read_or_refused(name, readers, tmp_path):
    trial = fuzz_readers.Trial(readers[name], tmp_path / 'tried')   # reads the seeds themselves first

    @settings(max_examples=100, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(trial.examples())
    def attempt(example):
        trial.try_one(*example)
    attempt()
    assert trial.counts['read'] + trial.counts['refused'] > 90


def test_a_reader_that_misbehaves_is_found(tmp_path):
    def try_reader(read):
        trial = fuzz_readers.Trial(fuzz_readers.Reader({'a.txt': b'x'}, lambda path: None), tmp_path / 'tried')
        trial.reader = fuzz_readers.Reader({'a.txt': b'x'}, read)
        trial.try_one('a.txt', b'y')

    def writes(path):
        with pytest.raises(ZeroDivisionError), open(path.with_name('b'), 'w'):
            raise ZeroDivisionError

    def hangs(path):
        while True:
            pass
    with pytest.raises(KeyError):
        try_reader(lambda path: {}[path])
    with pytest.raises(fuzz_readers.NotAllowed, match='open'):
        try_reader(writes)
    seconds, fuzz_readers.SECONDS = fuzz_readers.SECONDS, .2
    try:
        with pytest.raises(fuzz_readers.TooSlow):
            try_reader(hangs)
    finally:
        fuzz_readers.SECONDS = seconds


# ---- what fell out
DEEP = '[' * 100_000


def test_json_nested_without_end_is_refused(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(DEEP)
    for read in (read_tags, read_json_file):
        with pytest.raises(DataError, match='not readable'):
            read(path)
    path.write_text('{"images": ' + DEEP)
    for read in (read_coco_boxes, read_instances, read_truth):
        with pytest.raises(DataError, match='not readable'):
            read(path)
    assert read_json(path) is None
    (tmp_path / 'a.yaml').write_text('names: ' + DEEP)
    with pytest.raises(DataError, match='YAML'):
        read_class_names(tmp_path / 'a.yaml')


def test_json_that_is_no_object_or_no_text_is_no_record(tmp_path):
    for content in (b'[1]', b'"x"', b'\xff\xfe', b'{"a": 1'):
        (tmp_path / 'a.json').write_bytes(content)
        assert read_json(tmp_path / 'a.json') is None


def changed(saved: bytes, **arrays) -> bytes:
    with np.load(io.BytesIO(saved)) as found:
        return npz_bytes({**found, **arrays})


def test_arrays_of_other_types_and_shapes_are_refused(tmp_path):
    path = tmp_path / 'a.npz'
    maps = ClassMaps('a', np.array([1]), np.ones((1, 2, 3), np.float32), 2, 3).to_bytes()
    one = np.ones(1)
    objects = ObjectMaps('a', 2, 3, (2, 3), one, np.ones((1, 4)), one, [np.ones((2, 3))], ['ok'], *[one] * 6).to_bytes()
    for kind, saved, arrays, message in (
            (ClassMaps, maps, dict(size=np.array(3)), r'size is int64 of the shape \(\)'),
            (ClassMaps, maps, dict(size=np.array([2, 3, 4])), 'size is'),
            (ClassMaps, maps, dict(size=np.array([0, 3])), '0 x 3'),
            (ClassMaps, maps, dict(size=np.array([2**40, 2**40])), 'at most'),
            (ClassMaps, maps, dict(maps=np.array([[['a']]])), 'maps is <U1'),
            (ClassMaps, maps, dict(class_ids=np.array(['cat'])), 'class_ids is <U3'),
            (ClassMaps, maps, dict(maps=np.ones((1, 0, 3))), 'above 0'),
            (ClassMaps, maps, dict(background=np.ones((3, 2))), 'both of one size'),
            (ObjectMaps, objects, dict(ids=np.array(1)), 'ids is'),
            (ObjectMaps, objects, dict(shapes=np.array([[2**62, 4]])), 'fit together'),
            (ObjectMaps, objects, dict(shapes=np.array([[-2, -3]])), 'fit together'),
            (ObjectMaps, objects, dict(size=np.array([0, 3, 2, 3])), '0 x 3')):
        path.write_bytes(changed(saved, **arrays))
        with pytest.raises(DataError) as found:
            kind.load(path)
        assert found.match(message)


def test_an_archive_with_a_member_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / 'a.npz'
    # numpy hands such a member over as bytes
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('maps.npy', b'no array')
    with pytest.raises(DataError, match='maps is no array'):
        read_arrays(path, 'maps')
    buffer = io.BytesIO()
    np.save(buffer, np.ones(2))
    with zipfile.ZipFile(path, 'w') as archive:   # a header of which Python's tokenizer finds no end
        archive.writestr('maps.npy', buffer.getvalue().replace(b'(2,)', b'((((', 1))
    with pytest.raises(DataError, match='not readable'):
        read_arrays(path, 'maps')
    with pytest.raises(DataError, match='not readable'):
        load_npz(path)


def test_scores_of_proposals_are_numbers():
    with pytest.raises(DataError, match='scores of'):
        Proposals(np.zeros((2, 2), int), np.array([0, 1]), np.array([0]), np.array(['high']))


def coco(**changes):
    found = dict(images=[dict(id=1, file_name='a.jpg', height=4, width=4)], categories=[dict(id=1, name='cat')],
                 annotations=[dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 2, 2], area=4)])
    for place, value in changes.items():
        kind, _, field = place.partition('__')
        found[kind][0][field] = value
    return found


@pytest.mark.parametrize('changes', [
    dict(images__width='4'), dict(images__height=0), dict(images__file_name=7), dict(categories__id=float('inf')),
    dict(images__id=[1]), dict(annotations__image_id=[1]), dict(annotations__category_id={})])
def test_coco_files_with_odd_fields_are_refused(changes, tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(coco(**changes)))
    with pytest.raises(DataError):
        read_coco_boxes(path)
    if not {'images__width', 'images__height', 'images__file_name', 'categories__id'} & changes.keys():
        with pytest.raises(DataError):
            read_truth(path)


def test_an_annotation_of_none_of_cocos_categories_is_refused(tmp_path):
    found = coco(annotations__category_id=12)   # a number that COCO leaves out
    found['categories'] = [dict(id=i, name=name) for i, name in CATEGORIES.items()]
    (tmp_path / 'instances_val2017.json').write_text(json.dumps(found))
    with pytest.raises(DataError, match='category 12'):
        read_instances(tmp_path / 'instances_val2017.json')


def test_checkpoints_that_are_broken_inside_are_refused(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(weight=torch.zeros(2)), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(CheckpointError):
        load_checkpoint_file(path)
    path.write_bytes(b'\x80\x02a.')   # a list that nobody began
    with pytest.raises(CheckpointError):
        load_checkpoint_file(path)


DESCRIPTION = dict(hash='h', settings=dict(generator='CAM'))


def test_a_damaged_record_of_a_run_is_no_licence_to_take_its_labels(tmp_path):
    (tmp_path / 'manifest.jsonl').write_text('')
    with pytest.raises(DataError, match='no run.json'):
        RunFolder(tmp_path, DESCRIPTION)
    for content in ('{"hash": "h", "sett', '[]', '{"hash": "h", "settings": []}', '{"complete": true}'):
        (tmp_path / 'run.json').write_text(content)
        with pytest.raises(DataError, match='not readable as the record'):
            read_run(tmp_path)
        with pytest.raises(DataError, match='not readable as the record'):
            RunFolder(tmp_path, DESCRIPTION)
    (tmp_path / 'run.json').write_text(json.dumps(DESCRIPTION))
    assert RunFolder(tmp_path, DESCRIPTION).begin([]) is False
    (tmp_path / 'run.json').write_text(json.dumps(dict(DESCRIPTION, hash='other')))
    with pytest.raises(ConfigError, match='other settings'):
        RunFolder(tmp_path, DESCRIPTION)


def test_lines_of_a_manifest_that_are_no_records_are_left_out(tmp_path):
    good = dict(id='a', files={}, notes=[])
    lines = [json.dumps(x) for x in (7, [], {'id': 3, 'files': {}}, {'id': 'b', 'files': 'x'}, {'id': 'c'}, good)]
    (tmp_path / 'manifest.jsonl').write_bytes('\n'.join([*lines, DEEP]).encode() + b'\n\xff\n{"id": "d"')
    assert read_manifest(tmp_path / 'manifest.jsonl') == [good]
    (tmp_path / 'run.json').write_text(json.dumps(DESCRIPTION))
    (tmp_path / 'manifest.jsonl').write_text(json.dumps(dict(good, files={'x' * 300: 'ab', '\0': 'ab'})) + '\n')
    folder = RunFolder(tmp_path, DESCRIPTION)
    folder.begin(['a'])
    assert folder.open_ids == {'a'}


@pytest.mark.parametrize('zipped', [True, False])
def test_checkpoints_with_endless_names_are_refused_at_once(tmp_path, zipped):
    """Torch looks for advice on a refused name with a pattern that takes minutes for these."""
    path, names = tmp_path / 'a.pth', b'ctorch._utils\n' + b'{"a":' * 20000 + b'\n.'
    torch.save(dict(w=torch.zeros(2)), path, _use_new_zipfile_serialization=zipped)
    if zipped:
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, 'w') as archive:
            for name, data in content.items():
                archive.writestr(name, b'\x80\x02' + names if name.endswith('data.pkl') else data)
    else:
        data = path.read_bytes()
        first = data.index(b'ccollections') if b'ccollections' in data else data.index(b'ctorch._utils')
        path.write_bytes(data[:first] + names)
    with pytest.raises(CheckpointError, match='a name of 1000.. characters'):
        load_checkpoint_file(path)

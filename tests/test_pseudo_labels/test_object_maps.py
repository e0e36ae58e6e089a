"""The run that explains boxes: the same files however it was interrupted or shared, and refusals."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

pytest.importorskip('mmdet')
from mmengine.config import Config  # noqa: E402

from wsss_mm.datasets.prepare_instances import write_instances  # noqa: E402
from wsss_mm.errors import DataError  # noqa: E402
from wsss_mm.pseudo_labels import SavedObjectMaps  # noqa: E402
from wsss_mm.pseudo_labels.run import LabellingRun, load_model  # noqa: E402
from wsss_mm.registry import MODELS  # noqa: E402
from wsss_mm.structures import ImageSample, ObjectMaps  # noqa: E402


@pytest.fixture(autouse=True)
def mmdet_scope(mmseg_scope):
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def config(tmp_path_factory, toy_root, write_config):
    """A detector of random weights that takes nothing for background, and scenes to explain it on."""
    root = tmp_path_factory.mktemp('explained')
    shutil.copytree(toy_root, root / 'toy')
    write_instances(root / 'toy')
    path = write_config(root / 'detector.py', 'bbam/faster-rcnn_toy.py', f"""
model = dict(backbone=dict(channels=(8, 8, 8), init_cfg=None), neck=dict(in_channels=[8, 8]))
pseudo_labels = dict(
    num_workers=0, batch_size=3, dataset=dict(data_root='{root}/toy'),
    generator=dict(explainer=dict(iterations=3, n_jitter=60, iou_ladder=(.2, 0.), max_positives=8)))""")
    cfg = Config.fromfile(path)
    cfg.work_dir = str(root)
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        model = MODELS.build(copy.deepcopy(cfg.model))
        model.init_weights()
        torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=.5)
        model.roi_head.bbox_head.fc_cls.bias.data[-1] = -50
    torch.save(dict(state_dict=model.state_dict()), root / 'final.pth')
    return cfg


def run(config, folder):
    cfg = copy.deepcopy(config)
    cfg.pseudo_labels.out_dir = str(folder)
    return LabellingRun(cfg).run()


@pytest.fixture(scope='module')
def unbroken(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('unbroken')
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert run(config, folder)['complete']
    return folder


def test_all_objects_are_explained_or_say_why_not(config, unbroken):
    boxes = json.loads((unbroken.parent / config.pseudo_labels.dataset.data_root / config.pseudo_labels.dataset.ann_file
                        ).read_text())
    stems = {i['id']: i['file_name'][:-4] for i in boxes['images']}
    maps = {stem: ObjectMaps.load(unbroken / f'objects/{stem}.npz') for stem in stems.values()}
    for stem in stems.values():
        assert maps[stem].ids.tolist() == [a['id'] for a in boxes['annotations'] if stems[a['image_id']] == stem]
    found = [s for m in maps.values() for s in m.statuses]
    assert {'ok', 'no_positive'} <= set(found) <= {'ok', 'tiny', 'no_positive'}
    for one in maps.values():
        for grid, status, steps in zip(one.grids, one.statuses, one.iterations, strict=True):
            assert (grid.any(), steps) == ((True, 3) if status != 'no_positive' else (False, 0))


def test_a_resumed_run_is_the_unbroken_one(config, unbroken, tmp_path, contents):
    shutil.copytree(unbroken, tmp_path / 'broken')
    lines = (tmp_path / 'broken/manifest.jsonl').read_bytes().splitlines(keepends=True)
    # killed while it wrote a line, with a file cut short and one gone
    (tmp_path / 'broken/manifest.jsonl').write_bytes(b''.join(lines[:7]) + lines[7][:20])
    ids = [json.loads(line)['id'] for line in lines]
    (tmp_path / f'broken/objects/{ids[1]}.npz').write_bytes(b'PK')
    (tmp_path / f'broken/objects/{ids[4]}.npz').unlink()
    done = json.loads((tmp_path / 'broken/run.json').read_text())
    (tmp_path / 'broken/run.json').write_text(json.dumps({**done, 'complete': False}))
    result = run(config, tmp_path / 'broken')
    assert result['complete'] and result['labelled'] == len(lines) - 5
    assert contents(tmp_path / 'broken') == contents(unbroken)


def test_sharing_changes_no_byte(config, unbroken, tmp_path, contents, at_once):
    at_once(*[lambda: run(config, tmp_path / 'shared')] * 2)
    assert contents(tmp_path / 'shared') == contents(unbroken)


def test_maps_of_other_boxes_are_refused(config, unbroken):
    saved = SavedObjectMaps(unbroken / 'objects')
    path = sorted((unbroken / 'objects').glob('*.npz'))[0]
    maps = ObjectMaps.load(path)
    sample = ImageSample(path.stem, np.zeros((96, 96, 3), np.uint8), maps.boxes, maps.labels, np.unique(maps.labels),
                         [dict(id=int(i)) for i in maps.ids])
    assert saved.load(sample).ids.tolist() == maps.ids.tolist()
    sample.annotations = [dict(id=int(i) + 1) for i in maps.ids]
    with pytest.raises(DataError, match='explain anew'):
        saved.load(sample)
    sample.image = np.zeros((95, 96, 3), np.uint8)
    with pytest.raises(DataError, match='96 x 96'):
        saved.load(sample)


def test_a_run_that_is_not_complete_gives_no_fingerprint(unbroken, tmp_path):
    with pytest.raises(DataError, match='no maps of objects yet'):
        SavedObjectMaps(tmp_path / 'objects').fingerprint()
    (tmp_path / 'run.json').write_text(json.dumps(dict(complete=False, hash='x')))
    with pytest.raises(DataError, match='not complete'):
        SavedObjectMaps(tmp_path / 'objects').fingerprint()
    assert set(SavedObjectMaps(unbroken / 'objects').fingerprint()) == {'maps'}


@pytest.mark.parametrize('damage', [lambda b: b[:100], lambda b: b'not a zip', lambda b: b''])
def test_half_a_file_of_maps_is_named(unbroken, tmp_path, damage):
    source = sorted((unbroken / 'objects').glob('*.npz'))[0]
    (tmp_path / 'a.npz').write_bytes(damage(source.read_bytes()))
    with pytest.raises(DataError, match='a.npz'):
        ObjectMaps.load(tmp_path / 'a.npz')


def test_the_config_is_not_written_into(config):
    """mmdet's detectors write into the config that they are built of."""
    before = config.pretty_text
    load_model(config, f'{config.work_dir}/final.pth')
    assert config.pretty_text == before

"""tools/explain.py on a tiny detector."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from wsss_mm.structures import ObjectMaps


@pytest.fixture
def detector_config(detector):
    return detector.__globals__['detector_config']


@pytest.fixture
def place(detector, detector_config, scenes, tmp_path, monkeypatch):
    """A config, its checkpoint and an image, in the working directory."""
    monkeypatch.chdir(tmp_path)
    Config(dict(default_scope='mmdet', model=detector_config('fpn'), test_dataloader=dict(dataset=dict(
        type='CocoDataset', metainfo=dict(classes=('cat', 'dog', 'car')),
        pipeline=[dict(type='Resize', scale=(96, 64), keep_ratio=True)])))).dump('tiny.py')
    torch.save(dict(state_dict=detector('fpn').state_dict()), 'tiny.pth')
    Image.fromarray(scenes['images'][0]).save('scene.png')
    with DefaultScope.overwrite_default_scope('mmdet'):   # in this process mmseg's is the current one
        yield tmp_path


LINE = ['tiny.py', '--checkpoint', 'tiny.pth', '--image', 'scene.png', '--out', 'made']
FEW = ['--options', 'n_jitter=50', 'stride=4.', 'iou_ladder=[.01]']


@pytest.mark.parametrize('kind', ['bbam', 'gradcam', 'simplegrad'])
def test_given_boxes(kind, place, call_tool):
    few = [*FEW, 'iterations=2'] if kind == 'bbam' else FEW
    said = call_tool('explain', *LINE, '--explainer', kind, *few, '--boxes', '25,20,60,50,dog', '5,5,25,30,car')
    assert said.code == 0 and '2 objects: made/scene.png' in said.out, said.err
    assert {p.name for p in (place / 'made').iterdir()} == {
        'scene.png', 'scene.npz', 'scene.json', 'scene_1.png', 'scene_2.png'}
    maps, found = ObjectMaps.load('made/scene.npz'), json.loads((place / 'made/scene.json').read_text())
    assert maps.labels.tolist() == [2, 3] and maps.boxes.tolist() == [[25, 20, 60, 50], [5, 5, 25, 30]]
    assert [x['category'] for x in found['objects']] == ['dog', 'car'] and found['explainer']['scale'] == [96, 64]
    assert all(x['segmentation']['size'] == [64, 96] for x in found['objects'])
    assert np.asarray(Image.open('made/scene_1.png')).shape == (64, 96, 3)


def test_its_own_detections_without_masks(place, call_tool):
    said = call_tool('explain', *LINE, '--explainer', 'gradcam', '--score-thr', 0, '--no-masks')
    found = json.loads((place / 'made/scene.json').read_text())['objects']
    assert said.code == 0 and found and 'segmentation' not in found[0]
    scores = [x['score'] for x in found]
    assert scores == sorted(scores, reverse=True) and all(x['proposals'] == 1 for x in found)


@pytest.mark.parametrize(('line', 'words'), [
    (['--image', 'none.png'], 'none.png: no such image'),
    (['--boxes', '25,20,60,50,dgo'], 'did you mean dog?'),
    (['--boxes', '25,20,60,dog'], 'x1,y1,x2,y2,class'),
    (['--boxes', '100,20,160,50,dog'], 'no pixel in an image of 96 x 64'),
    (['--boxes', '60,20,25,50,dog'], 'x1 < x2'),
    (['--score-thr', '1.1'], 'lower --score-thr'),
    (['--explainer', 'gradcam', '--options', 'iterations=3'], "has no 'iterations'"),
    (['--masks', 'tiny.py'], 'has no builder'),
    (['--checkpoint', 'none.pth'], 'no such checkpoint'),
])
def test_what_cannot_work_is_one_message(line, words, place, call_tool):
    said = call_tool('explain', *LINE, *line)
    assert said.code == 2 and said.err.count('error: ') == 1 and words in said.err and 'Traceback' not in said.err
    assert not (place / 'made').exists()


def test_a_detector_that_cannot_be_explained(place, detector, detector_config, call_tool):
    Config(dict(default_scope='mmdet', model=detector_config('sabl'))).dump('tiny.py')
    torch.save(dict(state_dict=detector('sabl').state_dict()), 'tiny.pth')
    said = call_tool('explain', *LINE)
    assert said.code == 2 and 'cannot be explained' in said.err and 'Mask R-CNN' in said.err


def test_help_shows_an_example(call_tool):
    assert 'python tools/explain.py my_faster_rcnn.py' in call_tool('explain', '--help').out


def test_classes_are_named_as_the_checkpoint_says(place, detector, call_tool):
    torch.save(dict(state_dict=detector('fpn').state_dict(), meta=dict(dataset_meta=dict(
        classes=('disc', 'ring', 'star')))), 'tiny.pth')
    said = call_tool('explain', *LINE, '--explainer', 'gradcam', *FEW, '--no-masks', '--boxes', '25,20,60,50,ring')
    assert said.code == 0, said.err
    assert json.loads((place / 'made/scene.json').read_text())['objects'][0]['category'] == 'ring'
    assert np.array(Image.open(place / 'made/scene_1.png')).shape == np.array(Image.open(place / 'scene.png')).shape

"""COCO files of boxes and true masks from VOC's layout: the toy's exact masks, VOC's contours, SBD, the stage."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from wsss_mm.datasets.prepare_instances import match, tight_boxes, write_instances
from wsss_mm.datasets.toy_voc import TOY_CLASSES
from wsss_mm.engine import stages
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.run_lengths import decode_mask

from .conftest import write_ids, write_png, write_xml


def read(root, kind, split):
    return json.loads((root / f'annotations/{kind}_{split}.json').read_text())


@pytest.fixture
def toy(toy_root, tmp_path):
    return shutil.copytree(toy_root, tmp_path / 'toy')


def test_toy_masks_are_exact(toy):
    """Every object has its mask; all masks together are the map of objects, and each fills its box's borders."""
    counts = write_instances(toy)
    assert counts['train']['images'] == 12 and counts['train']['boxes'] == counts['train']['masks'] > 12
    boxes, truth = read(toy, 'boxes', 'train'), read(toy, 'instances', 'train')
    assert [c['name'] for c in truth['categories']] == list(TOY_CLASSES[1:]) and truth['images'] == boxes['images']
    assert [a['id'] for a in truth['annotations']] == list(range(1, counts['train']['boxes'] + 1))
    assert not any('segmentation' in a for a in boxes['annotations'])
    for image in truth['images']:
        stem = image['file_name'].removesuffix('.jpg')
        numbers = np.array(Image.open(toy / f'SegmentationObject/{stem}.png'))
        classes = np.array(Image.open(toy / f'SegmentationClass/{stem}.png'))
        seen = np.zeros_like(numbers, bool)
        for item in truth['annotations']:
            if item['image_id'] != image['id']:
                continue
            mask = decode_mask(item['segmentation'], *numbers.shape)
            assert len(np.unique(numbers[mask])) == 1 and (classes[mask] == item['category_id']).all()
            assert item['area'] == mask.sum() and not (seen & mask).any()
            x, y, w, h = item['bbox']
            np.testing.assert_array_equal(tight_boxes(np.where(mask, 1, 0))[0], [[x, y, x + w, y + h]])
            seen |= mask
        np.testing.assert_array_equal(seen, (numbers > 0) & (numbers < 255))
    of_box = {a['id']: a for a in boxes['annotations']}
    assert all(of_box[a['id']]['bbox'] == a['bbox'] for a in truth['annotations'])
    assert all(a['area'] == a['bbox'][2] * a['bbox'][3] for a in boxes['annotations'])


def test_same_bytes_again_and_nothing_done_twice(toy, contents):
    seen = []
    counts = write_instances(toy, progress=lambda *step: seen.append(step))
    assert seen[-1] == (16, 16)
    first = contents(toy / 'annotations')
    assert write_instances(toy, progress=lambda *step: seen.append(step)) == counts and len(seen) == 16
    (toy / 'annotations/prepared.json').unlink()
    write_instances(toy)
    assert contents(toy / 'annotations') == first
    write_instances(toy, box_convention='official')
    assert contents(toy / 'annotations') != first


@pytest.fixture
def voc(tiny_voc):
    """Images a and b segmented as VOC does it: contours of 255, difficult objects without a mask."""
    root = tiny_voc.root
    numbers, classes = np.zeros(tiny_voc.sizes['a'], np.uint8), np.zeros(tiny_voc.sizes['a'], np.uint8)
    numbers[4:30, 2:20] = classes[4:30, 2:20] = 255
    numbers[6:28, 4:18], classes[6:28, 4:18] = 1, 8
    write_png(root / 'SegmentationObject/a.png', numbers)
    write_png(root / 'SegmentationClass/a.png', classes)
    size = tiny_voc.sizes['b']
    write_xml(root / 'Annotations/b.xml', size, [('dog', 1, 1, 31, 12), ('person', 10, 10, 25, 40)], difficult=1)
    numbers, classes = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    numbers[9:40, 9:25], classes[9:40, 9:25] = 2, 15
    write_png(root / 'SegmentationObject/b.png', numbers)
    write_png(root / 'SegmentationClass/b.png', classes)
    write_png(root / 'SegmentationObject/empty.png', np.zeros(tiny_voc.sizes['empty']))
    return root


def test_voc(voc):
    counts = write_instances(voc)
    assert counts == dict(train=dict(images=3, boxes=3, masks=2), val=dict(images=1, boxes=1))
    assert not (voc / 'annotations/instances_val.json').exists()   # image full is not segmented
    boxes, truth = read(voc, 'boxes', 'train'), read(voc, 'instances', 'train')
    # 1-based pixels with both ends: columns 3 to 20 are 18
    assert boxes['annotations'][0] == dict(id=1, image_id=1, category_id=8, bbox=[2, 4, 18, 26], area=468, iscrowd=0,
                                           difficult=0)
    assert [a['difficult'] for a in boxes['annotations']] == [0, 1, 1] and not any('ignore' in a for a in
                                                                                   boxes['annotations'])
    assert [a['id'] for a in truth['annotations']] == [1, 3]      # the dog has no mask
    assert truth['annotations'][0]['area'] == 22 * 14             # without the contour
    assert [i['file_name'] for i in truth['images']] == ['a.jpg', 'b.jpg', 'empty.jpg']
    assert truth['images'][1] == dict(id=2, file_name='b.jpg', height=40, width=31)


def test_official_boxes(voc):
    write_instances(voc, box_convention='official')
    assert read(voc, 'boxes', 'train')['annotations'][0]['bbox'] == [3, 5, 17, 25]
    with pytest.raises(ConfigError, match='box_convention'):
        write_instances(voc, box_convention='odd')


def test_sbd_fills_in(voc, tiny_voc, tmp_path):
    folder = tmp_path / 'sbd/dataset'
    for name in ('cls', 'inst'):
        (folder / name).mkdir(parents=True)
    size = tiny_voc.sizes['full']
    mask = np.zeros(size, np.uint8)
    mask[1:16, 1:18] = 1
    savemat(folder / 'inst/full.mat', dict(GTinst=dict(Segmentation=mask, Categories=[[8]], Boundaries=[])))
    assert write_instances(voc, folder.parent)['val'] == dict(images=1, boxes=1, masks=1)
    item, = read(voc, 'instances', 'val')['annotations']
    np.testing.assert_array_equal(decode_mask(item['segmentation'], *size), mask == 1)
    (folder / 'inst/full.mat').write_bytes(b'MATLAB 5.0')
    (voc / 'annotations/prepared.json').unlink()
    with pytest.raises(DataError, match='full.mat: not readable as SBD instances'):
        write_instances(voc, folder.parent)


def test_masks_go_to_boxes_of_their_class():
    """The best sum of IoUs, not box by box; boxes that coincide by the masks' numbers."""
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    labels = np.array([1, 1, 2, 2, 1])
    masks = np.array([[1, 0, 11, 10], [0, 0, 9, 10], [0, 0, 10, 10], [0, 0, 10, 10]], float)
    numbers = np.array([1, 2, 4, 7])
    # 2 fits box 0 best (.9); 1 fits both boxes of its class the same (.82)
    assert match(boxes, labels, masks, numbers, {1: 1, 2: 1, 4: 2, 7: 2}) == {0: 2, 1: 1, 2: 7, 3: 4}
    assert match(boxes[:0], labels[:0], masks, numbers, {}) == {}
    assert match(boxes, labels, masks[:0], numbers[:0], {}) == {}


def test_what_is_wrong_is_named(voc):
    with pytest.raises(DataError, match='no lists of annotated images'):
        write_instances(voc / 'JPEGImages')
    write_png(voc / 'SegmentationObject/a.png', np.ones((5, 5)))
    write_png(voc / 'SegmentationClass/a.png', np.ones((5, 5)))
    with pytest.raises(DataError, match=r'SegmentationObject/a.png: has 5 x 5 pixels') as info:
        write_instances(voc)
    assert '33 x 47' in str(info.value) and not (voc / 'annotations/prepared.json').exists()


def test_the_stage(toy, call_tool):
    """In a toy's folder, with a key of its own; made anew for another drawing."""
    drawn, stage = (stages.to_stage(dict(run='data', kind=kind, root=str(toy), **more)) for kind, more in (
        ('toy', dict(profile='boxes', seed=0)), ('instances', {})))
    assert drawn.key != stage.key and stages.why_incomplete(stage) == 'not written yet'
    assert stages.product_of(stage) is None
    line = stages.command(stage, stages._ROOT / 'tools')
    assert line[2:] == ['instances', '--root', str(toy)]
    done = call_tool('prepare_dataset', *line[2:])
    assert done.code == 0 and 'train: 12 images, ' in done.out
    assert stages.why_incomplete(stage) is None and stages.product_of(stage)
    marker = json.loads((toy / 'toy_voc.json').read_text())
    (toy / 'toy_voc.json').write_text(json.dumps(marker | dict(seed=9)))
    assert 'another drawing' in stages.why_incomplete(stage)


def test_lists_of_their_own(voc):
    """A list added later is a reason to write anew."""
    write_instances(voc)
    write_ids(voc / 'ImageSets/Segmentation/few.txt', ['b'])
    assert write_instances(voc)['few'] == dict(images=1, boxes=2, masks=1)
    write_ids(voc / 'ImageSets/Segmentation/test.txt', ['nobody', 'annotated'])
    assert sorted(write_instances(voc)) == ['few', 'train', 'val']
    write_ids(voc / 'ImageSets/Segmentation/test.txt', ['b', 'forgotten'])
    with pytest.raises(DataError, match='forgotten.xml: no such annotation'):
        write_instances(voc)

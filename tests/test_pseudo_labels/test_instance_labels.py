"""Instances of one image's annotated boxes, and the COCO file of all images'."""

import json

import numpy as np
import pytest

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.pseudo_labels import InstanceLabels
from wsss_mm.pseudo_labels.instance_labels import valid_boxes
from wsss_mm.refinement import ProposalRefiner, Proposals, refine_mask
from wsss_mm.registry import TASK_UTILS
from wsss_mm.run_lengths import decode_mask, encode_masks
from wsss_mm.structures import ImageSample, ObjectMasks

I = 255  # noqa: E741  ignored


@TASK_UTILS.register_module()
class GivenMasks(InstanceLabels):
    """Masks by annotation id, from the test."""

    def __init__(self, masks, **options):
        super().__init__(**options)
        self.masks = masks

    def object_masks(self, sample, features, constants):
        masks = np.stack([self.masks[i] for i in sample.box_ids.tolist()])
        return ObjectMasks(masks, sample.box_ids, sample.boxes, sample.box_labels, ['ok'] * len(masks),
                           details=[dict(positives=int(i)) for i in sample.box_ids])


def sample_of(boxes, labels, **fields):
    image = np.full((40, 60, 3), 100, np.uint8)
    image[5:25, 5:35] = 200
    labels = np.array(labels, np.int64)
    return ImageSample('a', image, np.array(boxes, np.float32).reshape(-1, 4), labels, np.unique(labels), **fields)


def block(x1, y1, x2, y2, value=1):
    mask = np.zeros((40, 60), np.uint8)
    mask[y1:y2, x1:x2] = value
    return mask


def made(result):
    return json.loads(result.files['instances/a.json'])


def test_an_image_of_each_kind_of_object():
    """One with a mask, one without a pixel, one whose box is outside; ids and boxes are the source's."""
    masks = {7: block(5, 5, 20, 20) + block(20, 5, 30, 20, 2), 9: block(0, 0, 0, 0), 4: block(0, 0, 1, 1)}
    annotations = [dict(id=i, image_id=3, category_id=10 * c, bbox=[b], difficult=0, area=1, segmentation='truth')
                   for i, c, b in ((7, 1, 'b7'), (9, 2, 'b9'), (4, 1, 'b4'))]
    sample = sample_of([[4.5, 5, 35, 25], [36, 20, 56, 36], [59.5, 3, 80, 30]], [1, 2, 1], annotations=annotations,
                       crowds=[dict(id=5, image_id=3, category_id=20, bbox=[0, 38, 60, 2], iscrowd=1)])
    result = GivenMasks(masks, ann_file='boxes.json').label(sample, {}, {})
    found = made(result)
    assert found['left_out'] == [4] and [a['id'] for a in found['instances']] == [7, 9]
    first, second = found['instances']
    assert first == dict(id=7, image_id=3, category_id=10, bbox=['b7'], difficult=0, area=225, iscrowd=0, status='ok',
                         positives=7, segmentation=encode_masks(masks[7][None] == 1)[0],
                         ignore_region=encode_masks(masks[7][None] == 2)[0])
    assert second['status'] in ('box_prior', 'box_inner')
    mask = decode_mask(second['segmentation'], 40, 60)
    assert mask.sum() == second['area'] > 64 and mask[28, 46]
    crowd = found['crowds'][0]
    assert crowd['iscrowd'] == 1 and crowd['area'] == 120 == decode_mask(crowd['segmentation'], 40, 60).sum()
    labels = result.labels['labels']
    assert (labels[38:] == I).all() and (labels[5:20, 5:20] == 1).all() and (labels[5:20, 20:30] == I).all()
    assert (labels[mask] == 2).all() and (labels[masks[4] == 1] == 0).all()
    assert len(result.notes) == 2 and 'annotation 4 left out' in result.notes[0] and 'annotation 9: ' in result.notes[1]


def test_boxes_and_numbers_without_a_coco_file():
    found = made(GivenMasks({1: block(5, 5, 20, 20)}, classes=['cow']).label(
        sample_of([[5.25, 5, 35.5, 25]], [1]), {}, {}))
    assert found['instances'][0]['bbox'] == [5.25, 5, 30.25, 20] and found['instances'][0]['category_id'] == 1
    assert found['image'] == dict(id='a', file_name='a.jpg', height=40, width=60)


def test_an_image_without_objects():
    class NoMasks(GivenMasks):
        def object_masks(self, sample, features, constants):
            return ObjectMasks(np.zeros((0, 40, 60), np.uint8), sample.box_ids, sample.boxes, sample.box_labels, [])
    result = NoMasks({}, classes=['cow']).label(sample_of([], []), {}, {})
    assert not result.labels['labels'].any() and made(result)['instances'] == []


def refiner(proposals):
    found = ProposalRefiner(dict(type='wsss_mm.HierarchyProposals'))
    found.proposals = lambda image_id, image: proposals
    return found


@pytest.mark.parametrize('refine_labels', [True, False])
def test_masks_are_refined_by_proposals(refine_labels, monkeypatch):
    """The sure mask and the possible one, each by the rule; the label map of these or of those before."""
    sure, possible = block(5, 5, 20, 45), block(5, 5, 35, 25)
    proposals = Proposals.from_masks([block(5, 5, 38, 24) > 0, block(4, 4, 22, 30) > 0, block(6, 6, 10, 10) > 0])
    generator = GivenMasks({1: np.where(sure, 1, 2 * possible)}, classes=['cow'], refine_labels=refine_labels)
    generator.refiner = refiner(proposals)
    box = np.array([2, 2, 40, 38], np.float32)
    result = generator.label(sample_of([box], [1]), {}, {})
    mask = decode_mask(made(result)['instances'][0]['segmentation'], 40, 60)
    expected = refine_mask(sure > 0, box, proposals)
    assert np.array_equal(mask, expected) and (mask != (sure > 0)).any()
    region = decode_mask(made(result)['instances'][0]['ignore_region'], 40, 60)
    assert np.array_equal(region, refine_mask((sure | possible) > 0, box, proposals) & ~expected)
    labels = result.labels['labels']
    assert np.array_equal(labels == 1, mask if refine_labels else sure > 0)


def test_a_mask_that_refinement_would_empty_stays():
    """The best proposal has a pixel in common with the mask, but none in the box."""
    mask = block(18, 5, 22, 25)
    generator = GivenMasks({1: mask}, classes=['cow'])
    proposals = Proposals.from_masks([block(30, 30, 40, 40) > 0])
    generator.refiner = refiner(proposals)
    found = made(generator.label(sample_of([[5, 5, 20, 25]], [1]), {}, {}))['instances'][0]
    assert np.array_equal(decode_mask(found['segmentation'], 40, 60), mask == 1)


def test_valid_boxes():
    boxes = np.array([[-5, 0, 1, 9], [-5, 0, .5, 9], [9, 9, 10, 10], [9.5, 9, 20, 10], [30, 3, 40, 8]], np.float32)
    assert valid_boxes(boxes, 10, 10).tolist() == [True, False, True, False, False]


def test_what_does_not_fit_is_refused():
    sample, masks = sample_of([[5, 5, 35, 25]], [1]), {1: block(5, 5, 20, 20)}
    with pytest.raises(ConfigError, match='names no annotations'):
        GivenMasks(masks, ann_file='boxes.json').label(sample, {}, {})
    named = sample_of([[5, 5, 35, 25]], [1], annotations=[dict(id=1)])
    with pytest.raises(ConfigError, match='would be lost'):
        GivenMasks(masks, classes=['cow']).label(named, {}, {})
    with pytest.raises(DataError, match='40 x 60'):
        GivenMasks({1: masks[1][:30]}, classes=['cow']).label(sample, {}, {})
    with pytest.raises(ConfigError, match='without ann_file and classes'):
        GivenMasks(masks)
    with pytest.raises(ConfigError, match='semantic'):
        GivenMasks(masks, classes=['cow'], semantic='best')
    with pytest.raises(ConfigError, match='rule'):
        GivenMasks(masks, classes=['cow'], refiner=dict(
            type='wsss_mm.ProposalRefiner', proposals=dict(type='wsss_mm.HierarchyProposals'), rule='best'))
    with pytest.raises(DataError, match='no such COCO file'):
        GivenMasks(masks, ann_file='none.json').fingerprint()


# ---- the file of all

@pytest.fixture
def two_images(tmp_path):
    """The files of two images with an object each, and the two COCO files of these; the ids of the second's."""
    def write(image=2, annotation=8, category='cow'):
        (tmp_path / 'instances').mkdir()
        for stem, own in (('a', 7), ('b', annotation)):
            (tmp_path / f'instances/{stem}.json').write_text(json.dumps(dict(
                image=dict(id=stem, file_name=f'{stem}.jpg', height=4, width=5), crowds=[], left_out=[],
                instances=[dict(id=own, category_id=1, bbox=[0, 0, 1, 1])])))
        for stem, number, own, name in (('a', 1, 7, 'cow'), ('b', image, annotation, category)):
            (tmp_path / f'{stem}.json').write_text(json.dumps(dict(
                images=[dict(id=number, file_name=f'part/{stem}.png', height=4, width=5)],
                annotations=[dict(id=own, image_id=number, category_id=1, bbox=[0, 0, 1, 1])],
                categories=[dict(id=1, name=name)])))
        return GivenMasks({}, ann_file=[str(tmp_path / f'{stem}.json') for stem in 'ab'])
    return write


def gathered(generator, root):
    return json.loads(b''.join(generator.gather(root, ['a', 'b'])['instances.json']))


def test_several_coco_files_become_one(two_images, tmp_path):
    found = gathered(two_images(), tmp_path)
    assert [(i['id'], i['file_name']) for i in found['images']] == [(1, 'part/a.png'), (2, 'part/b.png')]
    assert [(a['id'], a['image_id']) for a in found['annotations']] == [(7, 1), (8, 2)]
    assert found['categories'] == [dict(id=1, name='cow')]


def test_without_a_coco_file_all_is_numbered(two_images, tmp_path):
    two_images()
    found = gathered(GivenMasks({}, classes=['cow', 'dog']), tmp_path)
    assert [(i['id'], i['file_name']) for i in found['images']] == [(1, 'a.jpg'), (2, 'b.jpg')]
    assert [(a['id'], a['image_id']) for a in found['annotations']] == [(1, 1), (2, 2)]
    assert found['categories'] == [dict(id=1, name='cow'), dict(id=2, name='dog')]


@pytest.mark.parametrize('change, words', [
    (dict(annotation=7), 'annotation id 7 occurs twice'), (dict(image=1), 'image id 1 occurs twice'),
    (dict(category='dog'), 'other categories')])
def test_coco_files_that_do_not_go_together_are_refused(two_images, tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        gathered(two_images(**change), tmp_path)


def test_images_that_the_coco_file_has_not_are_refused(two_images, tmp_path):
    two_images()
    with pytest.raises(DataError, match="no image 'b'"):
        gathered(GivenMasks({}, ann_file=str(tmp_path / 'a.json')), tmp_path)

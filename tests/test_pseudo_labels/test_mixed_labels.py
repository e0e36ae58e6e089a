"""Labels of a training set whose images carry tags, or boxes, or masks."""

import json
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from wsss_mm.datasets import ToyVOCDataset
from wsss_mm.errors import ConfigError
from wsss_mm.pseudo_labels import BANALabels, ClassMapLabels, MixedLabels
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.registry import MODELS
from wsss_mm.structures import ImageSample

CRF = dict(type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=20, bilateral_rgb=13, gaussian_weight=3,
           gaussian_xy=3, iterations=2)
# No update: the posterior is the input.
NO_CRF = dict(CRF, iterations=0)
BOX = [[8., 6., 40., 30.]]
SIZE = (40, 56)


@pytest.fixture(scope='module')
def model():
    from mmengine.registry import DefaultScope
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(dict(
            type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ToyNet', channels=(8, 8, 12)),
            data_preprocessor=dict(type='wsss_mm.WeakSegDataPreProcessor', mean=[110.] * 3, std=[60.] * 3,
                                   bgr_to_rgb=True),
            head=dict(type='wsss_mm.MixedHead', num_classes=4, in_channels=12),
            objectives=[dict(type='wsss_mm.SegmentationBranch', decode_head=dict(
                type='wsss_mm.DeepLabV2Head', in_channels=12, channels=8, in_index=-1, num_classes=5, rates=(1, 2),
                classifier='dot'))]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=.3)
    return model.eval()


@pytest.fixture
def trained(model):
    """The model, whose branch has seen a mask."""
    model.objectives[0].images_seen.fill_(1)
    yield model
    model.objectives[0].images_seen.zero_()


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def weak(kind, image, tags=(2, 4)):
    """What the network and the workers get of an image of a kind."""
    packed = SegDataSample(metainfo=dict(img_id=kind, img_shape=SIZE, ori_shape=SIZE),
                           gt_label=torch.zeros(4).index_fill(0, torch.tensor(tags, dtype=torch.int64) - 1, 1.))
    boxes, labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    if kind == 'boxes':
        boxes, labels = np.array(BOX, np.float32), np.array(tags[:1])
        packed.gt_instances = InstanceData(bboxes=torch.tensor(BOX), labels=torch.tensor(tags[:1]) - 1)
    elif kind == 'masks':
        truth = torch.zeros(1, *SIZE, dtype=torch.int64)
        truth[:, 4:20], truth[:, 20:22] = tags[0], 255
        packed.gt_sem_seg = PixelData(data=truth)
    return packed, ImageSample(kind, image, boxes, labels, np.array(tags, np.int64))


def features_of(generator, model, *pairs):
    from wsss_mm.localization.multi_scale import normalised
    images = [sample.image for _, sample in pairs]
    with torch.no_grad():
        return generator.extract_batch(model, images, normalised(model, images), [packed for packed, _ in pairs])


def label(generator, model, kind, image=None, **options):
    pair = weak(kind, picture() if image is None else image, **options)
    features, = features_of(generator, model, pair)
    return generator.label(pair[1], features, generator.constants(model))


def test_a_mask_is_its_own_label_to_the_byte(trained):
    found = label(MixedLabels(CRF, branch_weight=.5), trained, 'masks')
    expected = weak('masks', picture())[0].gt_sem_seg.data[0].numpy().astype(np.uint8)
    assert found.labels['labels'].dtype == np.uint8 and found.labels['labels'].tobytes() == expected.tobytes()
    assert 255 in expected and found.notes == ['from its mask']


def test_boxes_are_labelled_as_by_bana(model):
    options = dict(rel_threshold=.9, save_maps=True)
    packed, sample = weak('boxes', picture())
    bana = BANALabels(CRF, **options)
    features, = features_of(bana, model, (packed, sample))
    expected = bana.label(sample, features, bana.constants(model))
    found = label(MixedLabels(CRF, boxes=options), model, 'boxes')
    assert (found.labels['labels'] == expected.labels['Y_crf']).all() and set(found.labels) == {'labels'}
    assert np.array_equal(found.maps.maps, expected.maps.maps) and found.notes == ['from its boxes']


def test_class_maps_are_labelled_as_by_their_own_generator(model):
    options = dict(localizer=dict(type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1., .5)),
                   threshold=.3)
    packed, sample = weak('tags', picture())
    maps = ClassMapLabels(refiner=CRF, **options)
    features, = features_of(maps, model, (packed, sample))
    expected = maps.label(sample, features, {})
    found = label(MixedLabels(CRF, tags=options), model, 'tags')
    assert (found.labels['labels'] == expected.labels['labels']).all() and len(np.unique(expected.labels['labels'])) > 1
    assert np.array_equal(found.maps.maps, expected.maps.maps)


def test_tags_take_the_likeliest_of_the_background_and_their_classes(model):
    """Without an update of the CRF: the largest of the restricted logits, averaged over both views."""
    from wsss_mm.localization.multi_scale import normalised
    image = picture()
    inputs = normalised(model, [image])
    with torch.no_grad():
        views = [model.extract_feat(x)[-1] for x in (inputs, inputs.flip(3))]
    logits = [torch.einsum('cd,dhw->chw', model.head.weight_matrix, v[0]) for v in views]
    mean = ((logits[0] + logits[1].flip(2)) / 2)[[0, 2, 4]]
    enlarged = torch.nn.functional.interpolate(mean[None], SIZE, mode='bilinear', align_corners=False)[0]
    expected = np.array([0, 2, 4], np.uint8)[enlarged.argmax(0).numpy()]
    found = label(MixedLabels(NO_CRF), model, 'tags', image)
    assert (found.labels['labels'] == expected).all() and len(np.unique(expected)) > 1


@pytest.mark.parametrize('weight', [0., .5])
def test_the_label_of_a_mirrored_image_is_the_mirrored_label(trained, weight):
    generator, image = MixedLabels(NO_CRF, branch_weight=weight), picture()
    plain = label(generator, trained, 'tags', image).labels['labels']
    mirrored = label(generator, trained, 'tags', np.ascontiguousarray(image[:, ::-1])).labels['labels']
    assert (mirrored[:, ::-1] == plain).all()
    assert weight or len(np.unique(plain)) > 1   # the random branch sees one class alone


def test_images_do_not_depend_on_what_they_are_run_with(trained):
    generator = MixedLabels(NO_CRF, branch_weight=.3)
    pairs = [weak(kind, picture(i)) for i, kind in enumerate(('boxes', 'tags', 'masks', 'tags', 'boxes'))]
    together, constants = features_of(generator, trained, *pairs), generator.constants(trained)
    for pair, features in zip(pairs, together, strict=True):
        alone, = features_of(generator, trained, pair)
        assert features.keys() == alone.keys() and ('branch' in features) == (pair[1].image_id != 'masks')
        for name, value in features.items():
            torch.testing.assert_close(value, alone[name])
        assert (generator.label(pair[1], features, constants).labels['labels']
                == generator.label(pair[1], alone, constants).labels['labels']).mean() > .999


def test_an_image_without_tags_is_background(model):
    found = label(MixedLabels(CRF), model, 'tags', tags=())
    assert not found.labels['labels'].any() and found.notes == ['from its tags', 'no tags: all background']


# ---------------------------------------------------------------- the branch

class Recorder:
    """A refiner that keeps what it is given."""

    def __call__(self, image, scores):
        self.scores = scores
        return scores


@pytest.mark.parametrize('kind', ['tags', 'boxes'])
def test_the_branchs_softmax_is_averaged_into_the_scores(trained, kind):
    plain, mixed = MixedLabels(NO_CRF), MixedLabels(NO_CRF, branch_weight=.25)
    plain.boxes.refiner, mixed.boxes.refiner = Recorder(), Recorder()
    label(plain, trained, kind)
    label(mixed, trained, kind)
    features, = features_of(mixed, trained, weak(kind, picture()))
    ids = [0, 2, 4] if kind == 'tags' else [0, 2]
    branch = torch.nn.functional.interpolate(features['branch'][None], SIZE, mode='bilinear', align_corners=False)
    branch = branch[0, ids].softmax(0).numpy()
    own = plain.boxes.refiner.scores / plain.boxes.refiner.scores.sum(0)
    np.testing.assert_allclose(mixed.boxes.refiner.scores, .75 * own + .25 * branch, atol=1e-6)


def test_boxes_keep_their_surroundings_clear_whatever_the_branch_says(trained):
    found = label(MixedLabels(CRF, branch_weight=.9), trained, 'boxes').labels['labels']
    inside = np.zeros(SIZE, bool)
    inside[6:30, 7:40] = True   # as the published code rounds boxes
    assert not found[~inside].any()


def test_an_untrained_branch_is_left_out(model):
    generator = MixedLabels(CRF, branch_weight=.5)
    for kind in ('tags', 'boxes'):
        features, = features_of(generator, model, weak(kind, picture()))
        assert 'branch' not in features


# ---------------------------------------------------------------- settings and a run

@pytest.mark.parametrize('options, found', [
    (dict(branch_weight=1.), 'branch_weight=1.0'),
    (dict(tags=dict(localizer=dict(type='wsss_mm.CAM'), threshold=None)), 'tags.threshold is None')])
def test_settings_that_make_no_sense(options, found):
    with pytest.raises(ConfigError, match=found):
        MixedLabels(CRF, **options)


def test_a_head_without_background_is_refused_for_the_softmax(model):
    other = MODELS.build(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ToyNet', channels=(8, 8, 12)),
        data_preprocessor=dict(type='wsss_mm.WeakSegDataPreProcessor', mean=[110.] * 3, std=[60.] * 3, bgr_to_rgb=True),
        head=dict(type='wsss_mm.GAPHead', num_classes=4, in_channels=12))).eval()
    with pytest.raises(ConfigError, match='GAPHead knows no background'):
        label(MixedLabels(CRF), other, 'tags')


def test_it_goes_to_worker_processes():
    generator = pickle.loads(pickle.dumps(MixedLabels(CRF, boxes=dict(rel_threshold=.5), branch_weight=.2)))
    assert generator.boxes.rel_threshold == .5 and generator.outputs == ('labels',)


def test_a_run_over_all_kinds(tmp_path, write_config, toy_root):
    """The shipped config on twelve scenes: each label is of its image's kind, and a mask's is the ground truth."""
    config = write_config(tmp_path / 'mixed.py', 'mixed/classifier_toy.py', f"""
model = dict(
    backbone=dict(channels=(8, 8, 16), init_cfg=None), head=dict(in_channels=16),
    objectives=[dict(type='wsss_mm.SegmentationBranch', decode_head=dict(
        type='wsss_mm.DeepLabV2Head', in_channels=16, channels=8, in_index=-1, num_classes=7, rates=(1, 2),
        classifier='dot'))])
pseudo_labels = dict(
    out_dir='{tmp_path}/labels', num_workers=0,
    dataset=dict(data_root='{toy_root}', mask_count=3, box_count=4))
""")
    cfg = Config.fromfile(config)
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'final.pth')
    assert LabellingRun(cfg, tmp_path / 'final.pth').run()['labelled'] == 12
    notes = {line['id']: line['notes'][0] for line in
             map(json.loads, (tmp_path / 'labels/manifest.jsonl').read_text().splitlines())}
    dataset = ToyVOCDataset(data_root=str(toy_root), ann_file='ImageSets/Segmentation/train.txt', mask_count=3,
                            box_count=4)
    kinds = {i['img_id']: i['supervision'] for i in map(dataset.get_data_info, range(len(dataset)))}
    assert notes == {image_id: dict(tags='from its tags', boxes='from its boxes', masks='from its mask')[kind]
                     for image_id, kind in kinds.items()}
    for image_id in (i for i, kind in kinds.items() if kind == 'masks'):
        made, truth = (np.array(Image.open(folder / f'{image_id}.png')) for folder in
                       (tmp_path / 'labels/labels', toy_root / 'SegmentationClass'))
        assert (made == truth).all() and truth.any()

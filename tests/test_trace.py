"""mIoU over the steps of a localizer: counts, images that stop early, the picture, the tool."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_mm.engine import stages
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.evaluation import ThresholdCurve
from wsss_mm.evaluation.trace import images_with_truth, read_samples, step_rows, trace_scores
from wsss_mm.localization import ImageLocalizer
from wsss_mm.safe_loading import file_sha256
from wsss_mm.structures import ImageSample
from wsss_mm.visualization.step_curves import draw_step_curves, nice_ticks, save_step_curves

SMALL = """
model = dict(backbone=dict(channels=(16, 24, 32), init_cfg=None), head=dict(in_channels=32))
"""


class Steps(ImageLocalizer):
    """Gives the maps that it was handed, step by step, at a quarter of the image's size."""

    def __init__(self, maps):
        self.maps = maps

    def raw_maps(self, model, images, tags, image_ids=None):
        return [[self.maps[i][-1]] for i in image_ids]

    def merge(self, raw, height, width):
        return raw[0] / 2

    def trace(self, model, image, tags, image_id='0'):
        yield from ([step] for step in self.maps[image_id])


@pytest.fixture
def drawn(tmp_path):
    """Images of 8 x 12 pixels with 3, 1, 4 and 2 steps, the third without a class; their truth as files."""
    rng = np.random.default_rng(0)
    samples, maps = [], {}
    for i, (steps, present) in enumerate(((3, [0, 2]), (1, [1]), (4, []), (2, [0, 1, 2]))):
        tags = torch.tensor([c in present for c in range(3)])
        samples.append((ImageSample(f'im{i}', rng.integers(0, 256, (8, 12, 3)).astype(np.uint8), np.zeros((0, 4)),
                                    np.zeros(0), (tags.nonzero().flatten() + 1).numpy()), tags))
        maps[f'im{i}'] = [torch.as_tensor(rng.random((len(present), 2, 3)), dtype=torch.float32) * 2
                          for _ in range(steps)]
        truth = rng.integers(0, 4, (8, 12)).astype(np.uint8)
        truth[0] = 255
        Image.fromarray(truth).save(tmp_path / f'im{i}.png')
    return samples, maps, tmp_path


def expected_at(step, samples, maps, folder):
    """One curve, from the maps of one step, or an image's last where it has fewer."""
    curve = ThresholdCurve(4)
    for sample, _ in samples:
        small = maps[sample.image_id][min(step, len(maps[sample.image_id]) - 1)] / 2
        large = torch.nn.functional.interpolate(small[:, None], (8, 12), mode='bilinear', align_corners=False)[:, 0]
        curve.update(large.numpy(), sample.tags, np.array(Image.open(folder / f'{sample.image_id}.png')))
    return curve


@pytest.mark.parametrize('order', [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_images_that_stop_early_keep_their_last_maps(drawn, order):
    samples, maps, folder = drawn
    seen = []
    curves = trace_scores(Steps(maps), None, [samples[i] for i in order], folder, 4, progress=lambda: seen.append(1))
    assert len(curves) == 4 and len(seen) == 4
    for step, curve in enumerate(curves):
        assert np.array_equal(curve.counts, expected_at(step, *drawn).counts)


def test_rows(drawn):
    samples, maps, folder = drawn
    rows = step_rows(trace_scores(Steps(maps), None, samples, folder, 4))
    assert [row['step'] for row in rows] == [1, 2, 3, 4]
    first = expected_at(0, *drawn)
    for step, row in enumerate(rows):
        curve = expected_at(step, *drawn)
        best, scores = curve.best(), curve.scores()
        assert row['miou'] == 100 * scores['miou'].max() and row['threshold'] == curve.thresholds[best]
        assert (row['precision'], row['recall']) == (100 * scores['precision'][best], 100 * scores['recall'][best])
        assert row['miou_first'] == 100 * scores['miou'][first.best()] <= row['miou']
    assert rows[0]['miou_first'] == rows[0]['miou']


def test_errors(drawn):
    samples, maps, folder = drawn
    Image.fromarray(np.full((8, 12), 255, np.uint8)).save(folder / 'im1.png')
    with pytest.raises(DataError, match='ignored everywhere'):
        trace_scores(Steps(maps), None, samples[1:2], folder, 4)
    maps['im3'][1][0, 0, 0] = torch.nan
    with pytest.raises(DataError, match='im3: class maps after step 2: a score is NaN'):
        trace_scores(Steps(maps), None, samples[3:], folder, 4)
    Image.fromarray(np.zeros((8, 13), np.uint8)).save(folder / 'im0.png')
    with pytest.raises(DataError, match='size is 13 x 8'):
        trace_scores(Steps(maps), None, samples[:1], folder, 4)


class Ids:
    """A data set with ids alone."""

    def __init__(self, *ids):
        self.ids = ids

    def __len__(self):
        return len(self.ids)

    def get_data_info(self, i):
        return dict(img_id=self.ids[i])

    def prepare_data(self, i):
        return dict(data_samples={})


def test_the_first_images_with_truth(drawn):
    folder = drawn[2]
    assert images_with_truth(Ids('a', 'im2', 'b', 'im0', 'im1'), folder, 2) == [1, 3]
    assert images_with_truth(Ids('a', 'im2', 'b', 'im0', 'im1'), folder) == [1, 3, 4]
    with pytest.raises(DataError, match='no ground truth of the 2 listed images'):
        images_with_truth(Ids('a', 'b'), folder)
    with pytest.raises(ConfigError, match='gt_label'):
        list(read_samples(Ids('im0'), [0]))


def test_ticks():
    assert nice_ticks(47.3, 53.9) == [46, 48, 50, 52, 54]
    assert nice_ticks(50., 50.) == pytest.approx([49.9998, 50, 50.0002])
    assert nice_ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    rng = np.random.default_rng(0)
    for _ in range(200):
        low = rng.uniform(-50, 100)
        high = low + 10 ** rng.uniform(-2, 2)
        ticks = nice_ticks(low, high)
        assert ticks[0] <= low + 1e-6 and ticks[-1] >= high - 1e-6 and 3 <= len(ticks) <= 9
        np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-4)


def test_the_dots_are_where_the_scores_are(tmp_path):
    picture = draw_step_curves({'one': [40., 50., 45.], 'other': [60., float('nan'), 55.]}, 'title').astype(int)
    dots = {}
    for name, colour in (('one', (0, 103, 165)), ('other', (196, 99, 20))):
        y, x = np.nonzero(np.abs(picture[:720] - colour).sum(-1) < 20)
        dots[name] = {step: y[np.abs(x - at) < 3].mean() if (np.abs(x - at) < 3).any() else None
                      for step, at in enumerate(np.linspace(124, 1244, 3), 1)}
    one, other = dots['one'], dots['other']
    # up is less; equal differences are equally far apart
    assert one[1] - one[2] == pytest.approx(2 * (one[3] - one[2]), abs=4)
    assert one[1] - one[2] == pytest.approx(one[2] - other[1], abs=4) and other[2] is None
    assert other[3] - other[1] == pytest.approx((one[1] - one[2]) / 2, abs=4)
    level = draw_step_curves({'one': [40., 60.], 'CAM': [50.]}).astype(int)   # a level at half the height
    y, x = np.nonzero(np.abs(level[:700] - (196, 99, 20)).sum(-1) < 20)
    assert np.ptp(y) < 6 and y.mean() == pytest.approx((80 + 708) / 2, abs=2) and np.ptp(x) > 1000
    save_step_curves(tmp_path / 'sub/one.png', {'CAM': [50.]})
    with Image.open(tmp_path / 'sub/one.png') as single:
        assert single.size == (1280, 836)
    with pytest.raises(ValueError, match='no number'):
        draw_step_curves({'a': [float('nan')]})


@pytest.fixture(scope='module')
def config(tmp_path_factory, write_config, toy_root):
    """AdvCAM of a small classifier with random weights on the small toy."""
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from wsss_mm.registry import MODELS
    folder = tmp_path_factory.mktemp('trace')
    path = write_config(folder / 'labels.py', 'cam/classifier_toy.py', f"""
work_dir = '{folder}/classifier'
{SMALL}
pseudo_labels = dict(out_dir='{folder}/labels', dataset=dict(data_root='{toy_root}'), generator=dict(
    localizer=dict(scales=(1., ), localizer=dict(type='wsss_mm.AdvCAM', steps=3, regularization=.5))))""")
    with DefaultScope.overwrite_default_scope('mmseg'):
        torch.manual_seed(0)
        model = MODELS.build(Config.fromfile(path).model)
    (folder / 'classifier').mkdir()
    torch.save(dict(state_dict=model.state_dict()), folder / 'classifier/final.pth')
    return path


def test_tool(config, tmp_path, call_tool, toy_root):
    done = call_tool('trace', config, '--images', 5, '--out', tmp_path / 'curves/adv', '--variant',
                     'without: generator.localizer.localizer.regularization=0', '--variant',
                     'plain, "CAM": generator.localizer.localizer.type=wsss_mm.CAM '
                     'generator.localizer.localizer._delete_=True')
    assert done.code == 0, done.err
    with open(tmp_path / 'curves/adv.csv', newline='') as stream:
        rows = list(csv.DictReader(stream))
    assert [(r['variant'], r['step']) for r in rows] == [
        *((name, f'{k}') for name in ('AdvCAM', 'without') for k in (1, 2, 3)), ('plain, "CAM"', '1')]
    # the first step of a climb is the image itself, whatever the regularisation
    assert rows[0]['miou'] == rows[3]['miou'] and rows[2]['miou'] != rows[5]['miou']
    # what the labelling run would have saved, scored
    from mmengine.config import Config

    from wsss_mm.pseudo_labels.run import load_model
    from wsss_mm.registry import DATASETS, TASK_UTILS
    cfg = Config.fromfile(config)
    dataset, localizer = DATASETS.build(cfg.pseudo_labels.dataset), TASK_UTILS.build(
        cfg.pseudo_labels.generator.localizer)
    model, curve = load_model(cfg, f'{cfg.work_dir}/final.pth').eval(), ThresholdCurve(7)
    for sample, tags in read_samples(dataset, range(5)):
        found = localizer.class_maps(model, [sample.image], tags[None], [sample.image_id])[0]
        curve.update(found.maps, found.class_ids,
                     np.array(Image.open(toy_root / f'SegmentationClass/{sample.image_id}.png')))
    assert float(rows[2]['miou']) == pytest.approx(100 * curve.scores()['miou'].max(), abs=1e-3)
    assert f'AdvCAM: mIoU {float(rows[0]["miou"]):.1f} after one step, {float(rows[2]["miou"]):.1f} after 3' in done.out
    assert 'traced, 5 images: 15/15' in done.out and (tmp_path / 'curves/adv.png').is_file()
    # to the stage chain, it is what a config with these options asks for, while the classifier is the same
    record = dict(settings={}, inputs={}, product=file_sha256(f'{cfg.work_dir}/final.pth'))
    (Path(cfg.work_dir) / 'stage.json').write_text(json.dumps(record))
    asked = dict(run='trace', config=str(config), out=str(tmp_path / 'curves/adv'), images=5, variant=[
        'without: generator.localizer.localizer.regularization=0', 'plain, "CAM": generator.localizer.localizer.type='
        'wsss_mm.CAM generator.localizer.localizer._delete_=True'])
    assert stages.why_incomplete(stages.to_stage(asked)) is None
    with pytest.raises(ConfigError, match='changed: options'):
        stages.why_incomplete(stages.to_stage(dict(asked, images=6)))


@pytest.mark.parametrize('arguments, message', [
    (['--variant', 'regularization=0'], "--variant 'regularization=0'"),
    (['--variant', 'AdvCAM: generator.threshold=.3'], "two variants are called 'AdvCAM'"),
    (['--variant', 'typo: generator.localizer.localizer.regularisation=0'], 'regularisation'),
    (['--images', '0'], '--images 0'),
    (['--truth', 'nowhere'], 'no ground truth of the 16 listed images'),
    (['--split', 'ImageSets/Segmentation/none.txt'], 'none.txt'),
    (['--checkpoint', 'nothing.pth'], 'nothing.pth'),
])
def test_what_is_wrong_is_said(config, tmp_path, call_tool, arguments, message):
    done = call_tool('trace', config, '--out', tmp_path / 'curve', *arguments)
    assert done.code == 2 and message in done.err and 'Traceback' not in done.err
    assert not list(tmp_path.glob('curve*'))


def test_configs_without_steps_to_trace(tmp_path, call_tool, write_config):
    path = write_config(tmp_path / 'boxes.py', 'bap/classifier_toy.py')
    done = call_tool('trace', path, '--out', tmp_path / 'curve')
    assert done.code == 2 and 'has no localizer' in done.err
    path = write_config(tmp_path / 'pretrain.py', 'pretrain/textures_toy.py')
    done = call_tool('trace', path, '--out', tmp_path / 'curve')
    assert done.code == 2 and 'no pseudo_labels' in done.err

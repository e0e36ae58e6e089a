import copy
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as api

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.evaluation import InstanceMetric, instance_ap, mask_ious

ROOT = Path(__file__).resolve().parents[2]


def rle(rows: slice, columns: slice, size=(20, 30)) -> dict:
    mask = np.zeros(size, np.uint8)
    mask[rows, columns] = 1
    found = api.encode(np.asfortranarray(mask))
    return dict(size=list(size), counts=found['counts'].decode())


def annotation(number, image, category, rows, columns, **more) -> dict:
    box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
    return dict(id=number, image_id=image, category_id=category, bbox=box, iscrowd=0, area=box[2] * box[3],
                segmentation=rle(rows, columns), **more)


@pytest.fixture
def truth() -> dict:
    """Two images; objects of 100, 40 and 200 pixels, and a crowd."""
    return dict(
        images=[dict(id=7, file_name='a.jpg', height=20, width=30), dict(id=9, file_name='b.jpg', height=20, width=30)],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
        annotations=[annotation(11, 7, 1, slice(0, 10), slice(0, 10)),
                     annotation(12, 7, 2, slice(12, 16), slice(20, 30)),
                     annotation(13, 9, 1, slice(0, 20), slice(5, 15)),
                     dict(annotation(14, 9, 2, slice(0, 3), slice(20, 30)), iscrowd=1)])


def save(path: Path, content) -> str:
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def files(tmp_path, truth):
    """Where the truth is, and a function that saves what was made."""
    return save(tmp_path / 'truth.json', truth), lambda made: save(tmp_path / 'made.json', made)


def test_ious_by_hand(files, truth):
    made = copy.deepcopy(truth)
    # half of the object, a quarter of it left open; nothing of the second; the third exactly
    made['annotations'] = [
        dict(annotation(11, 7, 1, slice(0, 5), slice(0, 10), status='crf'),
             ignore_region=rle(slice(5, 10), slice(0, 5))),
        annotation(13, 9, 1, slice(0, 20), slice(5, 15))]
    scores = mask_ious(files[0], files[1](made), sizes=(8, 12))
    assert scores.objects['id'] == [11, 12, 13]
    assert scores.objects['iou'] == pytest.approx([.5, 0, 1])
    assert scores.objects['iou_decided'] == pytest.approx([50 / 75, 0, 1])
    assert scores.objects['status'] == ['crf', 'missing', 'made']
    assert scores.iou == pytest.approx(50)
    assert scores.ignored_share == pytest.approx(100 * (25 / 75 + 0) / 2)
    assert scores.iou_by_size == pytest.approx(dict(small=0, medium=50, large=100))
    assert scores.iou_by_class == pytest.approx(dict(cat=75, dog=0))
    assert scores.class_mean == pytest.approx(37.5)
    assert scores.iou_by_status == pytest.approx(dict(crf=50, made=100, missing=0))
    assert scores.counts['size'] == dict(small=1, medium=1, large=1)
    assert scores.protocol['missing'] == 1 and '| size: large' in scores.table()


def test_files_are_compared_by_names_not_numbers(files, truth):
    made = copy.deepcopy(truth)
    for image in made['images']:
        image['id'] += 100
    made['categories'] = [dict(id=5, name='dog'), dict(id=6, name='cat')]
    for a in made['annotations']:
        a.update(image_id=a['image_id'] + 100, category_id={1: 6, 2: 5}[a['category_id']])
    assert mask_ious(files[0], files[1](made)).iou == pytest.approx(100)


def test_polygons_and_plain_counts_are_read(files, truth):
    made = copy.deepcopy(truth)
    made['annotations'][0]['segmentation'] = [[0, 0, 10, 0, 10, 10, 0, 10]]
    made['annotations'][2]['segmentation'] = dict(size=[20, 30], counts=[100, 200, 300])
    assert mask_ious(files[0], files[1](made)).iou == pytest.approx(100)


def test_only_listed_images(files, truth):
    made = copy.deepcopy(truth)
    made['annotations'] = made['annotations'][:1]
    assert mask_ious(files[0], files[1](made), ids=['a']).iou == pytest.approx(50)
    with pytest.raises(DataError, match='1 of 2 listed images are not there: c'):
        mask_ious(files[0], files[1](made), ids=['a', 'c'])


def _cut(path: str) -> None:
    Path(path).write_text(Path(path).read_text()[:-40])


@pytest.mark.parametrize(('change', 'message'), [
    (lambda m: m['annotations'][0].update(id=99), r'1 of 4 annotation ids are not in the truth, such as \[99\]'),
    (lambda m: m['annotations'][0].update(image_id=9), 'annotation 11 is of image b'),
    (lambda m: m['annotations'][0].update(category_id=2), 'annotation 11 is of image a and category 2'),
    (lambda m: m['categories'][0].update(name='cow'), 'categories cow, which the truth has not'),
    (lambda m: m['annotations'][0].pop('segmentation'), 'no mask in `segmentation` of the entry 11'),
    (lambda m: m['annotations'][0].update(segmentation=rle(slice(1), slice(1), (30, 20))),
     r'mask of the size \[30, 20\].* of the entry 11'),
    (lambda m: m['annotations'][0]['segmentation'].update(counts='PPPP'), 'in `segmentation` of the entry 11'),
    (lambda m: m['annotations'].append(m['annotations'][0]), 'annotation id 11 is there twice'),
    (lambda m: m.pop('images'), 'not a COCO file'),
])
def test_files_that_do_not_fit(files, truth, change, message):
    made = copy.deepcopy(truth)
    change(made)
    with pytest.raises(DataError, match=message):
        mask_ious(files[0], files[1](made))


def test_files_that_are_cut_or_missing(files, truth, tmp_path):
    made = files[1](truth)
    _cut(made)
    with pytest.raises(DataError, match='not readable as JSON'):
        mask_ious(files[0], made)
    with pytest.raises(DataError, match='cannot be read'):
        mask_ious(files[0], tmp_path / 'none.json')
    for a in truth['annotations']:
        del a['segmentation']
    boxes = save(tmp_path / 'boxes.json', truth)
    with pytest.raises(DataError, match='no mask in `segmentation`'):
        mask_ious(boxes, boxes)


def prediction(image, category, score, rows, columns) -> dict:
    found = annotation(0, image, category, rows, columns)
    return dict(image_id=image, category_id=category, score=score, bbox=found['bbox'],
                segmentation=found['segmentation'])


@pytest.fixture
def results() -> list[dict]:
    """Cats: IoU .6 with 11, a miss, exactly 13. Dogs: none."""
    return [prediction(7, 1, .9, slice(0, 6), slice(0, 10)), prediction(7, 1, .8, slice(15, 20), slice(0, 5)),
            prediction(9, 1, .7, slice(0, 20), slice(5, 15))]


def test_ap_and_abo_by_hand(files, results):
    scores = instance_ap(files[0], files[1](results), sizes=(8, 12))
    # AP at .5: recall .5 at precision 1, recall 1 at precision 2/3, 51 and 50 of 101 recall points; dogs 0
    assert scores.kind == 'segm'
    assert scores.ap_at['AP50'] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101 / 2)
    # at .7 only the last is right: recall .5 at precision 1/3
    assert scores.ap_at['AP70'] == scores.ap_at['AP75'] == pytest.approx(100 * 51 / 3 / 101 / 2)
    # .6 counts at .5, .55 and .6, of ten
    assert scores.ap == pytest.approx((3 * scores.ap_at['AP50'] + 7 * scores.ap_at['AP75']) / 10)
    assert scores.ap_by_class['dog'] == 0 and scores.ap_by_class['cat'] == pytest.approx(2 * scores.ap)
    assert scores.abo == pytest.approx(100 * ((.6 + 1) / 2 + 0) / 2)
    assert (scores.objects, scores.predictions) == (3, 3)
    assert scores.ap_by_size['small'] == 0


def test_ap_of_a_file_of_other_numbers(files, truth, results):
    made = copy.deepcopy(truth)
    made['images'].reverse()
    for number, image in enumerate(made['images'], 1):
        image['id'] = number
    made['annotations'] = [dict(r, image_id={7: 2, 9: 1}[r['image_id']]) for r in results]
    expected = instance_ap(files[0], files[1](results))
    assert instance_ap(files[0], files[1](made)).row() == expected.row()


def test_ap_without_predictions_and_of_boxes(files, results):
    empty = instance_ap(files[0], files[1]([]))
    assert empty.ap == empty.abo == 0 and empty.predictions == 0
    for r in results:
        del r['segmentation']
    assert instance_ap(files[0], files[1](results)).kind == 'bbox'


def test_images_and_classes_without_objects(files, truth, results, tmp_path):
    before = instance_ap(files[0], files[1](results))
    truth['images'].append(dict(id=10, file_name='c.jpg', height=20, width=30))
    truth['categories'].append(dict(id=3, name='cow'))
    results.append(prediction(10, 2, .1, slice(0, 5), slice(0, 5)))
    after = instance_ap(save(tmp_path / 'more.json', truth), files[1](results))
    assert after.row() == before.row() and after.ap_by_class['cow'] is None


def test_a_crowd_takes_predictions_without_harm(files, results):
    before = instance_ap(files[0], files[1](results)).row()
    results.append(prediction(9, 2, .95, slice(0, 2), slice(22, 28)))   # lies in the crowd
    assert instance_ap(files[0], files[1](results)).row() == before


@pytest.mark.parametrize(('change', 'message'), [
    (lambda r: r[0].update(image_id=8), 'image ids that the truth has not: 8'),
    (lambda r: r[0].update(category_id=3), 'category ids that the truth has not: 3'),
    (lambda r: r[0].pop('score'), 'no `score`'),
])
def test_predictions_that_do_not_fit(files, results, change, message):
    change(results)
    with pytest.raises(DataError, match=message):
        instance_ap(files[0], files[1](results))


def samples(results, masks=True) -> list[dict]:
    found = []
    for image in (7, 9):
        own = [r for r in results if r['image_id'] == image]
        boxes = torch.tensor([r['bbox'] for r in own], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances = dict(bboxes=boxes, scores=torch.tensor([r['score'] for r in own]),
                         labels=torch.tensor([r['category_id'] - 1 for r in own]))
        if masks:
            stack = [torch.from_numpy(api.decode(r['segmentation'])).bool() for r in own]
            instances['masks'] = torch.stack(stack) if stack else torch.zeros(0, 20, 30, dtype=torch.bool)
        found.append(dict(img_id=image, pred_instances=instances))
    return found


def test_metric_gives_what_the_file_gives(files, results, tmp_path):
    metric = InstanceMetric(files[0], outfile=str(tmp_path / 'out/results.json'))
    metric.dataset_meta = dict(classes=('cat', 'dog'))
    for sample in samples(results):
        metric.process({}, [sample])
    scores = metric.evaluate(2)
    expected = instance_ap(files[0], files[1](results)).row()
    found = {k.removeprefix('instances/segm_'): v for k, v in scores.items() if 'segm' in k}
    # float32 scores and boxes do not change the order or the masks
    assert found == pytest.approx({k: float('nan') if v is None else v for k, v in expected.items()}, nan_ok=True)
    boxes = instance_ap(files[0], files[1](results), kind='bbox')
    assert scores['instances/bbox_AP50'] == pytest.approx(boxes.ap_at['AP50'])
    assert 'instances/bbox_AP25' not in scores
    assert instance_ap(files[0], tmp_path / 'out/results.json').ap == pytest.approx(expected['AP'])


def test_metric_scores_boxes_of_the_images_seen(files, results):
    metric = InstanceMetric(files[0])
    metric.dataset_meta = dict(classes=('cat', 'dog'))
    metric.process({}, samples(results, masks=False)[1:])
    scores = metric.evaluate(1)
    assert scores['instances/bbox_AP50'] == pytest.approx(100)   # the one cat of image b; no dog but a crowd
    assert not any('segm' in k for k in scores)


def test_metric_refuses_other_classes(files, results):
    metric = InstanceMetric(files[0])
    metric.dataset_meta = dict(classes=('cat', 'sheep'))
    metric.process({}, samples(results))
    with pytest.raises(ConfigError, match='sheep'):
        metric.evaluate(2)


def test_tool(files, truth, results, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    monkeypatch.setenv('PYTHONPATH', '')   # the tool changes both
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')

    def run(*options):
        monkeypatch.setattr(sys, 'argv', ['evaluate.py', '--truth', files[0], *options])
        with pytest.raises(SystemExit) as done:
            runpy.run_path(str(ROOT / 'tools/evaluate.py'), run_name='__main__')
        said = capsys.readouterr()
        return done.value.code, said.out + said.err
    out = tmp_path / 'scores.json'
    code, said = run('--instances', files[1](truth), '--out', str(out), '--sizes', '8', '12')
    assert code == 0 and '| all' in said and '100.00' in said
    assert json.loads(out.read_text())['counts']['size'] == dict(small=1, medium=1, large=1)
    ids = tmp_path / 'ids.txt'
    ids.write_text('b\n')
    assert 'images 1' in run('--instances', files[1](results), '--ids', str(ids))[1]
    truth['annotations'][0]['score'] = .5
    code, said = run('--instances', files[1](truth))
    assert code == 2 and '1 of 4 entries have a `score`' in said
    code, said = run('some/labels')
    assert code == 2 and 'no --ids' in said
    code, said = run('some/labels', '--instances', files[0])
    assert code == 2 and 'labels and instances are given' in said

"""Peak memory and time of what reads a whole data set, with made-up data of the full size of VOC and COCO 2017.

Each part runs in a process of its own; its peak is what the system reports for it, less that of a process which only
imports the same modules. Images are links to one file. COCO's file is made as large as the original: 118,287 images,
860,001 objects with outlines of 50 points.

    OMP_NUM_THREADS=1 python benchmarks/dataset_memory.py               # all of it; 1 GB below --root
    OMP_NUM_THREADS=1 python benchmarks/dataset_memory.py --share .1    # a tenth
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
VOC_IMAGES, COCO_IMAGES, COCO_OBJECTS = 10582, 118287, 860001
SIZE = (375, 500)
POINTS = 50


def make_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.BICUBIC).save(path)


def link(source: Path, folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (folder / name).exists():
            os.link(source, folder / name)


def make_voc(root: Path, count: int) -> None:
    """Images, masks, three objects each."""
    if (root / 'complete').exists():
        return
    make_image(root / 'one.jpg')
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(root / 'one.png')
    ids = [f'2008_{i:06d}' for i in range(count)]
    link(root / 'one.jpg', root / 'JPEGImages', [f'{i}.jpg' for i in ids])
    objects = ''.join(f'<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x}</xmin><ymin>20</ymin>'
                      f'<xmax>{x + 99}</xmax><ymax>200</ymax></bndbox></object>'
                      for x, name in ((10, 'cat'), (120, 'dog'), (300, 'person')))
    (root / 'one.xml').write_text(f'<annotation><size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></size>'
                                  f'{objects}</annotation>')
    numbers = np.zeros(SIZE, np.uint8)
    for i, x in enumerate((9, 119, 299), 1):
        numbers[19:200, x:x + 100] = i
    Image.fromarray(numbers).save(root / 'objects.png')
    Image.fromarray(np.array([0, 8, 12, 15], np.uint8)[numbers]).save(root / 'classes.png')
    link(root / 'one.xml', root / 'Annotations', [f'{i}.xml' for i in ids])
    link(root / 'objects.png', root / 'SegmentationObject', [f'{i}.png' for i in ids])
    link(root / 'classes.png', root / 'SegmentationClass', [f'{i}.png' for i in ids])
    (root / 'ImageSets/Segmentation').mkdir(parents=True)
    (root / 'ImageSets/Segmentation/train.txt').write_text('\n'.join(ids))
    (root / 'complete').touch()


def make_coco(root: Path, images: int, objects: int) -> None:
    """``instances_train2017.json`` with polygons, one object in a hundred a crowd."""
    if (root / 'complete').exists():
        return
    from wsss_mm.datasets.coco import CATEGORIES
    make_image(root / 'one.jpg')
    names = [f'{i:012d}.jpg' for i in range(images)]
    link(root / 'one.jpg', root / 'train2017', names)
    (root / 'annotations').mkdir()
    rng = np.random.default_rng(0)
    owners, kinds = rng.integers(0, images, objects), rng.choice(list(CATEGORIES), objects)
    outline = [round(v, 2) for v in (100 + 50 * rng.random(2 * POINTS)).tolist()]
    with open(root / 'annotations/instances_train2017.json', 'w') as stream:
        stream.write('{"info": {}, "licenses": [], "images": [')
        stream.write(', '.join(json.dumps(dict(
            license=3, file_name=name, coco_url=f'http://images.cocodataset.org/train2017/{name}', height=SIZE[0],
            width=SIZE[1], date_captured='2013-11-14 11:18:45', id=i)) for i, name in enumerate(names)))
        stream.write('], "annotations": [')
        for n, (owner, kind) in enumerate(zip(owners.tolist(), kinds.tolist(), strict=True)):
            crowd = n % 100 == 0
            shape = dict(counts=[1000, 500, SIZE[0] * SIZE[1] - 1500], size=list(SIZE)) if crowd else [outline]
            stream.write((', ' if n else '') + json.dumps(dict(
                segmentation=shape, area=1234.5, iscrowd=int(crowd), image_id=owner,
                bbox=[100.25, 100.5, 49.33, 47.1], category_id=kind, id=n)))
        stream.write('], "categories": ' + json.dumps([dict(id=i, name=n) for i, n in CATEGORIES.items()]) + '}')
    (root / 'complete').touch()


# ---- the parts; each is run alone

def nothing(voc: Path, coco: Path) -> None:
    import pycocotools.mask  # noqa: F401
    import scipy.optimize  # noqa: F401


def voc_boxes(voc: Path, coco: Path) -> int:
    from wsss_mm.datasets import WeakVOCDataset
    return len(WeakVOCDataset('ImageSets/Segmentation/train.txt', data_root=str(voc), pipeline=[]))


def coco_boxes(voc: Path, coco: Path) -> int:
    from wsss_mm.datasets import CocoBoxDataset
    return len(CocoBoxDataset('annotations/instances_train2017.json', data_root=str(coco),
                              data_prefix=dict(img_path='train2017'), pipeline=[]))


def coco_lists(voc: Path, coco: Path) -> int:
    from wsss_mm.datasets.prepare_coco import read_instances
    return len(read_instances(coco / 'annotations/instances_train2017.json'))


def instances(voc: Path, coco: Path) -> int:
    from wsss_mm.datasets.prepare_instances import write_instances
    (voc / 'annotations/prepared.json').unlink(missing_ok=True)
    return write_instances(voc)['train']['masks']


def check(voc: Path, coco: Path) -> int:
    from wsss_mm.datasets.check import check_data, voc_layout
    return len(check_data(voc_layout(voc, expected=dict(train=0)), workers=0).ids)


def truth(voc: Path, coco: Path) -> int:
    from wsss_mm.evaluation.coco_files import read_truth
    return len(read_truth(coco / 'annotations/instances_train2017.json')['annotations'])


PARTS = dict(voc_boxes='`WeakVOCDataset`, boxes of VOC train_aug', coco_boxes='`CocoBoxDataset`, COCO train2017',
             coco_lists='`prepare_dataset.py coco`: lists of train2017',
             instances='`prepare_dataset.py instances`: VOC train_aug',
             check='`prepare_dataset.py check`: VOC train_aug',
             truth='`evaluate.py`: a COCO file of the size of train2017 as the truth')


def measure(part: str, voc: Path, coco: Path) -> tuple[float, float, object]:
    """Seconds, peak in MB and what the part returns, of a process of its own."""
    line = [sys.executable, __file__, '--part', part, '--voc', str(voc), '--coco', str(coco)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'{part} failed:\n{done.stderr[-2000:]}')
    found = json.loads(done.stdout.splitlines()[-1])
    return found['seconds'], found['peak'], found['result']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=Path('work_dirs/dataset_memory'))
    parser.add_argument('--share', type=float, default=1., help='of the full size')
    parser.add_argument('--parts', nargs='+', choices=list(PARTS), default=list(PARTS))
    for name in ('--part', '--voc', '--coco'):
        parser.add_argument(name, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        import torch
        from mmengine.registry import init_default_scope
        torch.set_num_threads(1)
        import wsss_mm.datasets  # noqa: F401
        init_default_scope('mmseg')
        start = time.perf_counter()
        result = globals()[args.part](Path(args.voc), Path(args.coco))
        print(json.dumps(dict(seconds=time.perf_counter() - start, result=result,
                              peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)))
        return
    voc, coco = (args.root / f'{name}_{args.share:g}' for name in ('voc', 'coco'))
    make_voc(voc, round(VOC_IMAGES * args.share))
    make_coco(coco, round(COCO_IMAGES * args.share), round(COCO_OBJECTS * args.share))
    _, base, _ = measure('nothing', voc, coco)
    size = (coco / 'annotations/instances_train2017.json').stat().st_size / 2 ** 20
    print(f'COCO file: {size:.0f} MB; modules alone: {base:.0f} MB\n')
    print('| part | items | seconds | peak above the modules, MB |\n|---|---:|---:|---:|')
    for part in args.parts:
        seconds, peak, result = measure(part, voc, coco)
        print(f'| {PARTS[part]} | {result:,} | {seconds:.0f} | {max(peak - base, 0):.0f} |', flush=True)


if __name__ == '__main__':
    main()

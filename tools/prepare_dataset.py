"""Prepare or check a dataset.

Examples:
    python tools/prepare_dataset.py toy --root data/toy_voc/boxes_world0 --profile boxes --seed 0
    python tools/prepare_dataset.py toy --root my_toy --counts train=100 val=40
    python tools/prepare_dataset.py patches --root data/toy_voc/patches_boxes --profile boxes --seed 100
    python tools/prepare_dataset.py voc --root data/VOCdevkit/VOC2012 --sbd data/benchmark_RELEASE
    python tools/prepare_dataset.py instances --root data/VOCdevkit/VOC2012 --sbd data/benchmark_RELEASE
    python tools/prepare_dataset.py coco --root data/coco --year 2014
    python tools/prepare_dataset.py coco --root data/coco --year 2017
    python tools/prepare_dataset.py custom --images my_pictures --tags tags.csv --out data/mine
    python tools/prepare_dataset.py custom --images my_pictures --boxes labels.json --masks masks --out data/mine
    python tools/prepare_dataset.py check --root data/VOCdevkit/VOC2012
    python tools/prepare_dataset.py check --root my_data --sheet work_dirs/my_data.html
    python tools/prepare_dataset.py check --config my_configs/dataset.py --json work_dirs/my_data.json
"""

import argparse

import _common


def count(text: str) -> tuple[str, int]:
    """``train=12`` as a pair."""
    split, _, number = text.partition('=')
    return split, int(number)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    for name, text in dict(toy='draw toy VOC, in PASCAL VOC\'s layout', patches='draw texture patches').items():
        command = commands.add_parser(name, help=text)
        command.add_argument('--root', required=True)
        command.add_argument('--profile', default='boxes', choices=['boxes', 'tags', 'biased'])
        command.add_argument('--seed', type=int, default=0)
        if name == 'toy':
            command.add_argument('--workers', type=int, help='processes (default: all cores)')
            command.add_argument('--counts', nargs='+', type=count, default=[], metavar='SPLIT=NUMBER',
                                 help='images of a split, as train=12 val=4 (default: 400 and 120)')
    voc = commands.add_parser('voc', help='convert SBD, build the train_aug list, check all')
    voc.add_argument('--root', default='data/VOCdevkit/VOC2012')
    voc.add_argument('--sbd', default='data/benchmark_RELEASE', help='SBD as unpacked (dataset/cls/*.mat below it)')
    instances = commands.add_parser('instances', help='boxes and true masks of a folder in VOC\'s layout as COCO files')
    instances.add_argument('--root', required=True)
    instances.add_argument('--sbd', help='SBD as unpacked, for masks that VOC has not')
    instances.add_argument('--box-convention', default='exact', choices=['exact', 'official'],
                           help='exact covers the pixels of the XML file; official takes its numbers as they stand')
    coco = commands.add_parser('coco', help='COCO 2014: image tags, lists, 81-class masks from COCO-Stuff\'s '
                               'pixelmaps; COCO 2017: lists, masks where the pixelmaps are there')
    coco.add_argument('--root', default='data/coco', help='holds annotations, and train2014 and val2014 (or 2017)')
    coco.add_argument('--year', default='2014', choices=['2014', '2017'])
    coco.add_argument('--stuff', help='pixelmaps of COCO-Stuff (default: <root>/stuffthingmaps)')
    coco.add_argument('--workers', type=int, help='processes (default: all cores)')
    add_custom(commands)
    example = commands.add_parser('example', help='draw 60 pictures with tags, boxes and a few masks, to try '
                                  '`custom` on')
    example.add_argument('--out', required=True, metavar='DIR')
    check = commands.add_parser('check', help='look at every image, mask, box and tag of a data set: what breaks a '
                                'run (exit code 1), what is worth a look, counts, pictures')
    check.add_argument('--root', help='one\'s own data (`custom`), VOC\'s layout, toy VOC, or a prepared COCO')
    check.add_argument('--config', help='in place of a folder: the data sets of this config')
    check.add_argument('--sheet', help='write a page of charts and pictures, FILE.html')
    check.add_argument('--json', help='write all that was found')
    check.add_argument('--workers', type=int, help='processes (default: all cores; 0: this one)')
    return parser.parse_args()


def add_custom(commands) -> None:
    """The arguments of ``custom``."""
    custom = commands.add_parser(
        'custom', help='one\'s own pictures with tags, boxes or masks, any mix of them, and configs to train on them',
        formatter_class=argparse.RawDescriptionHelpFormatter, description="""\
Own pictures and labels, as they are, to a data set and configs.

Examples:
    python tools/prepare_dataset.py custom --images my_pictures --tags tags.csv --out data/mine
    python tools/prepare_dataset.py custom --images pictures --boxes labels.json --out data/mine --classes cat dog
    python tools/prepare_dataset.py custom --images pictures --boxes yolo --class-names data.yaml --out data/mine
    python tools/prepare_dataset.py custom --images pictures --tags tags.csv --masks masks --val masks \\
        --mask-classes "#c00000=cat" "#00c000=dog" --out data/mine --backbone resnet50
then, from the same folder: python tools/train.py data/mine/configs/tags_deeplab.py

The same command again brings the folder up to date. docs/tutorials/own_data.md goes through it step by step.""")
    custom.add_argument('--images', required=True, metavar='DIR', help='pictures, in sub-folders too, with any names')
    custom.add_argument('--out', required=True, metavar='DIR', help='folder to write; pictures are linked into it')
    custom.add_argument('--tags', metavar='FILE', help='CSV: columns file,tags; or a line for each file and tag; or a '
                        'column of 0 and 1 for each class. JSON: {file: [names]}')
    custom.add_argument('--boxes', metavar='PATH', help='COCO JSON, a folder of VOC XML or of YOLO text, or CSV with '
                        'file,class,x1,y1,x2,y2 (0-based, half-open) or x,y,w,h')
    custom.add_argument('--masks', metavar='DIR', help='PNG masks named as the pictures are: class numbers or colours')
    custom.add_argument('--classes', nargs='+', metavar='NAME', help='classes in the order of their numbers, without '
                        'the background (default: all names found, sorted)')
    custom.add_argument('--class-names', nargs='+', metavar='NAME', help='names of YOLO\'s class numbers, or one file '
                        'of them: text or data.yaml (default: classes.txt or data.yaml beside the labels)')
    custom.add_argument('--mask-classes', nargs='+', metavar='VALUE=NAME', help='meaning of the masks\' values or '
                        '#rrggbb colours, with `background` and `ignore` as names too; names alone, or a file of '
                        'them, mean 1, 2, …')
    custom.add_argument('--val', metavar='SHARE|masks|FILE', help='images to validate on: a share of those with masks '
                        '(default: .2), all with masks, or a list of files')
    custom.add_argument('--copy', action='store_true', help='copy the pictures instead of linking them')
    custom.add_argument('--max-side', type=int, metavar='PIXELS', help='shrink larger pictures, with their boxes and '
                        'masks')
    custom.add_argument('--clip-boxes', action='store_true', help='clip boxes that stick out of their picture')
    custom.add_argument('--backbone', default='small', choices=['small', 'resnet50'], help='of the configs: a small '
                        'network from scratch, for a CPU, or ResNet-50 with ImageNet weights, for a GPU')
    custom.add_argument('--iterations', type=int, metavar='N', help='of each training (default: by the number of '
                        'images)')


def write_example(args: argparse.Namespace) -> int:
    """A folder to try ``custom`` on."""
    from wsss_mm.datasets.own_data import example
    from wsss_mm.progress import Progress
    progress = Progress(0, f'drawing {args.out}')
    example.write_example(args.out, progress=progress.show)
    progress.finish()
    print(f'complete: {args.out}')
    return 0


def prepare_custom(args: argparse.Namespace) -> int:
    """Own data: the layout, then the configs."""
    from wsss_mm.datasets.own_data import Request, prepare_own_data, summary, write_configs
    from wsss_mm.engine.stages import find_config
    from wsss_mm.progress import Progress
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(args).items()
              if k not in ('command', 'backbone', 'iterations')}

    def progress(what):
        found = Progress(0, what)

        def show(done: int, total: int) -> None:
            found.show(done, total)
            if done == total:
                found.finish()
        return show
    marker = prepare_own_data(Request(**fields), progress=progress)
    configs = write_configs(args.out, marker, find_config, args.backbone, args.iterations)
    print(summary(args.out, marker, configs))
    return 0


def draw(args: argparse.Namespace) -> int:
    """Draw toy VOC or its patches, with progress."""
    from wsss_mm.datasets.toy_voc.patches import draw_patches
    from wsss_mm.datasets.toy_voc.writer import draw_toy_voc
    from wsss_mm.progress import Progress
    progress = Progress(0, f'drawing {args.root}')
    if args.command == 'patches':
        draw_patches(args.root, args.profile, args.seed)
    else:
        draw_toy_voc(args.root, args.profile, args.seed, dict(args.counts), progress.show, args.workers)
        progress.finish()
    print(f'complete: {args.root}')
    return 0


def prepare_voc(args: argparse.Namespace) -> int:
    """Convert SBD where it is not yet, then check."""
    from pathlib import Path

    from wsss_mm.datasets.prepare_voc import build_train_aug, check_sbd, convert_sbd
    from wsss_mm.errors import DataError
    from wsss_mm.progress import Progress
    root, sbd = Path(args.root), Path(args.sbd)
    for folder, source in ((root, 'VOCtrainval_11-May-2012.tar of PASCAL VOC 2012 (holds VOCdevkit/VOC2012)'),
                           (sbd, 'benchmark.tgz of the Semantic Boundaries Dataset (holds benchmark_RELEASE)')):
        if not folder.is_dir():
            raise DataError('not there', file=folder, expected=f'{source}, unpacked',
                            fix=f'unpack it so that {folder} exists, or name its place with --root / --sbd')
    progress = Progress(0, 'converting SBD')
    convert_sbd(sbd, root, progress.show)
    progress.finish()
    print(f'train_aug: {len(build_train_aug(root, sbd))} ids')
    findings = check_sbd(sbd)
    for finding in findings:
        print(f'- {finding}')
    args.config = args.sheet = args.json = args.workers = None
    return check(args) or bool(findings)


def prepare_instances(args: argparse.Namespace) -> int:
    """Write the COCO files of each list, with progress."""
    from wsss_mm.datasets.prepare_instances import write_instances
    from wsss_mm.progress import Progress
    progress = Progress(0, f'reading {args.root}')
    counts = write_instances(args.root, args.sbd, args.box_convention, progress.show)
    if progress.done:
        progress.finish()
    for split, found in counts.items():
        masks = found.get('masks')
        print(f'{split}: {found["images"]} images, {found["boxes"]} boxes, '
              + ('masks of not all images, so boxes alone' if masks is None else f'{masks} of them with a mask'))
    print(f'complete: {args.root}/annotations')
    return 0


def prepare_coco(args: argparse.Namespace) -> int:
    """Write tags (2014) and lists, convert the pixelmaps that are not yet converted, then look for all files."""
    from pathlib import Path

    from wsss_mm.datasets.prepare_coco import (
        COCO17_COUNTS,
        COCO_COUNTS,
        convert_pixelmaps,
        write_lists,
        write_lists_2017,
    )
    from wsss_mm.progress import Progress
    root = Path(args.root)
    for split, (images, empty) in (write_lists if args.year == '2014' else write_lists_2017)(root).items():
        print(f'{split}: {images} images, {empty} of them without any object: they stay in {split}.txt with empty tags'
              + (f', {split}_objects.txt is without them' if split.startswith('train') else ''))
    stuff = Path(args.stuff or root / 'stuffthingmaps')
    if args.year == '2017' and not args.stuff and not stuff.is_dir():
        print(f'{stuff} is not there: no masks to score label maps with; boxes and instances need none')
        return check_files(args)
    progress = Progress(0, 'converting pixelmaps')
    convert_pixelmaps(root, stuff, progress.show, args.workers,
                      COCO17_COUNTS if args.year == '2017' else COCO_COUNTS)
    progress.finish()
    return check_files(args)


def check(args: argparse.Namespace) -> int:
    """Print what a check finds; 1 where something breaks a run."""
    import os

    from wsss_mm.datasets.check import check_data, layouts_of
    from wsss_mm.datasets.check.from_config import config_layout
    from wsss_mm.engine.stages import load_config
    from wsss_mm.errors import ConfigError
    from wsss_mm.files import write_json
    from wsss_mm.progress import Progress
    from wsss_mm.visualization.data_sheet import check_sheet_path, write_sheet
    if (args.root is None) == (args.config is None):
        raise ConfigError('--root and --config', expected='one of them')
    check_sheet_path(args.sheet)
    layouts = [config_layout(load_config(args.config))] if args.config else layouts_of(args.root)
    workers = (os.cpu_count() or 1) if args.workers is None else args.workers
    reports = []
    for layout in layouts:
        progress = Progress(0, f'checking {layout.title}')
        report = check_data(layout, workers, progress.show)
        if report.ids:
            progress.finish()
            print(f'\n{report.table()}\n')
        for title, errors in (('what breaks a run', True), ('worth a look', False)):
            if lines := report.lines(errors):
                print('\n'.join([f'{title}:', *(f'- {line}' for line in lines)]))
        print(f'{layout.root}: {layout.title}, {len(report.ids)} images: '
              + (f'{report.errors} findings' if report.errors else 'complete, nothing wrong found'))
        reports.append(report)
    if args.json:
        write_json(args.json, [report.to_json() for report in reports])
    if args.sheet:
        print(f'pictures: {write_sheet(args.sheet, reports)}')
    return any(report.errors for report in reports)


def check_files(args: argparse.Namespace) -> int:
    """Print what lists and folders of COCO lack, without opening its files."""
    from wsss_mm.datasets.check import ERRORS, layouts_of
    layout, = layouts_of(args.root, args.year)
    for problem in layout.problems:
        print(f'- {problem.text}')
    findings = sum(problem.kind in ERRORS for problem in layout.problems)
    print(f'{args.root}: ' + (f'{findings} findings' if findings else 'complete, nothing wrong found'))
    return bool(findings)


def main() -> int:
    args = parse_args()
    return dict(toy=draw, patches=draw, voc=prepare_voc, instances=prepare_instances, coco=prepare_coco,
                custom=prepare_custom, example=write_example,
                check=check)[args.command](args)


if __name__ == '__main__':
    _common.run(main)

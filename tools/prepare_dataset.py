"""Prepare or check a dataset.

Examples:
    python tools/prepare_dataset.py toy --root data/toy_voc/boxes_world0 --profile boxes --seed 0
    python tools/prepare_dataset.py toy --root my_toy --counts train=100 val=40
    python tools/prepare_dataset.py patches --root data/toy_voc/patches_boxes --profile boxes --seed 100
    python tools/prepare_dataset.py voc --root data/VOCdevkit/VOC2012 --sbd data/benchmark_RELEASE
    python tools/prepare_dataset.py instances --root data/VOCdevkit/VOC2012 --sbd data/benchmark_RELEASE
    python tools/prepare_dataset.py coco --root data/coco --year 2014
    python tools/prepare_dataset.py coco --root data/coco --year 2017
    python tools/prepare_dataset.py check --root data/VOCdevkit/VOC2012
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
                               'pixelmaps; COCO 2017: lists')
    coco.add_argument('--root', default='data/coco', help='holds annotations, and train2014 and val2014 (or 2017)')
    coco.add_argument('--year', default='2014', choices=['2014', '2017'])
    coco.add_argument('--stuff', help='pixelmaps of COCO-Stuff (default: <root>/stuffthingmaps)')
    coco.add_argument('--workers', type=int, help='processes (default: all cores)')
    check = commands.add_parser('check', help='check counts, sizes, class ids and boxes of a folder in VOC\'s layout, '
                                'or the files of a prepared COCO (2014, 2017)')
    check.add_argument('--root', required=True)
    return parser.parse_args()


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

    from wsss_mm.datasets.prepare_voc import build_train_aug, convert_sbd
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
    return check(args)


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
    """Write tags (2014) and lists, convert the pixelmaps (2014) that are not yet converted, then check."""
    from pathlib import Path

    from wsss_mm.datasets.prepare_coco import convert_pixelmaps, write_lists, write_lists_2017
    from wsss_mm.progress import Progress
    root = Path(args.root)
    for split, (images, empty) in (write_lists if args.year == '2014' else write_lists_2017)(root).items():
        print(f'{split}: {images} images, {empty} of them without any object: they stay in {split}.txt with empty tags'
              + (f', {split}_objects.txt is without them' if split.startswith('train') else ''))
    if args.year == '2017':
        return check(args)
    progress = Progress(0, 'converting pixelmaps')
    convert_pixelmaps(root, args.stuff or root / 'stuffthingmaps', progress.show, args.workers)
    progress.finish()
    return check(args)


def check(args: argparse.Namespace) -> int:
    """Print what a check finds; 1 where something is missing or wrong."""
    from pathlib import Path

    from wsss_mm.datasets.prepare_coco import TAG_FILE, check_coco, check_coco17
    from wsss_mm.datasets.prepare_voc import check_voc
    root = Path(args.root)
    of_2017 = (root / 'annotations/instances_train2017.json').is_file()
    # a folder may hold both years
    checks = [f for f, there in ((check_coco, (root / TAG_FILE).is_file()), (check_coco17, of_2017)) if there]
    if getattr(args, 'year', None) is not None:
        checks = [check_coco17 if args.year == '2017' else check_coco]
    findings = [finding for find in checks or [check_voc] for finding in find(root)]
    for finding in findings:
        print(f'- {finding}')
    print(f'{args.root}: ' + (f'{len(findings)} findings' if findings else 'complete, nothing wrong found'))
    return bool(findings)


def main() -> int:
    args = parse_args()
    return dict(toy=draw, patches=draw, voc=prepare_voc, instances=prepare_instances, coco=prepare_coco,
                check=check)[args.command](args)


if __name__ == '__main__':
    _common.run(main)

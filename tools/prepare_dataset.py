"""Prepare or check a dataset.

Examples:
    python tools/prepare_dataset.py toy --root data/toy_voc/boxes_world0 --profile boxes --seed 0
    python tools/prepare_dataset.py patches --root data/toy_voc/patches_boxes --profile boxes --seed 100
    python tools/prepare_dataset.py voc --root data/VOCdevkit/VOC2012 --sbd data/benchmark_RELEASE
    python tools/prepare_dataset.py check --root data/VOCdevkit/VOC2012
"""

import argparse

import _common


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    for name, text in dict(toy='draw toy VOC, in PASCAL VOC\'s layout', patches='draw texture patches').items():
        command = commands.add_parser(name, help=text)
        command.add_argument('--root', required=True)
        command.add_argument('--profile', default='boxes', choices=['boxes', 'tags'])
        command.add_argument('--seed', type=int, default=0)
        command.add_argument('--workers', type=int, help='processes (default: all cores)')
    voc = commands.add_parser('voc', help='convert SBD, build the train_aug list, check all')
    voc.add_argument('--root', default='data/VOCdevkit/VOC2012')
    voc.add_argument('--sbd', default='data/benchmark_RELEASE', help='SBD as unpacked (dataset/cls/*.mat below it)')
    check = commands.add_parser('check', help='check counts, sizes, class ids and boxes of a folder in VOC\'s layout')
    check.add_argument('--root', required=True)
    return parser.parse_args()

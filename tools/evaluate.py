"""Score a folder of label maps against ground truth.

Examples:
    pseudo labels of the toy data on its training images, with the share of the boxes that they fill:
    python tools/evaluate.py work_dirs/toy0/bap/labels/Y_crf --classes toy \\
        --truth data/toy_voc/boxes_world0/SegmentationClass --boxes data/toy_voc/boxes_world0/Annotations \\
        --ids data/toy_voc/boxes_world0/ImageSets/Segmentation/train.txt
    the same, only where both kinds of labels agree:
    python tools/evaluate.py … --agree-with work_dirs/toy0/bap/labels/Y_ret
"""

import argparse

import _common


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('labels', help='folder of <image id>.png: 0 background, 1…C, 255 ignored')
    parser.add_argument('--truth', required=True, metavar='DIR', help='folder of ground-truth PNGs')
    parser.add_argument('--ids', required=True, nargs='+', metavar='FILE', help='lists of image ids, one per line')
    parser.add_argument('--classes', required=True, help="'toy', 'voc' or a file, a name per line, background first")
    parser.add_argument('--boxes', metavar='DIR', help='VOC annotations (XML), for the filling rate')
    parser.add_argument('--agree-with', metavar='DIR', help='score only pixels where these labels say the same')
    parser.add_argument('--out', metavar='JSON', help='write all scores, also per image, with the protocol')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from wsss_mm.evaluation import evaluate_folder, read_ids, resolve_classes
    from wsss_mm.files import write_json
    from wsss_mm.progress import Progress
    ids = read_ids(*args.ids)
    progress = Progress(len(ids), 'scored')
    scores = evaluate_folder(args.labels, args.truth, ids, resolve_classes(args.classes).names, box_dir=args.boxes,
                             agree_with=args.agree_with, progress=progress.step)
    progress.finish()
    scores.protocol['ids'] = args.ids
    print(f'\n{scores.table()}')
    if scores.protocol['files_not_scored']:
        print(f'{scores.protocol["files_not_scored"]} more label maps in {args.labels} are not in the lists')
    if args.out:
        write_json(args.out, scores.to_json())
        print(f'written: {args.out}')


if __name__ == '__main__':
    _common.run(main)

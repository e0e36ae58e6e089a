"""Score a folder of label maps, of class maps at every background threshold, or a file of instances.

Examples:
    pseudo labels of the toy data on its training images, with the share of the boxes that they fill:
    python tools/evaluate.py work_dirs/toy_boxes0/bap/labels/Y_crf --classes toy \\
        --truth data/toy_voc/boxes_world0/SegmentationClass --boxes data/toy_voc/boxes_world0/Annotations \\
        --ids data/toy_voc/boxes_world0/ImageSets/Segmentation/train.txt
    the same, only where both kinds of labels agree:
    python tools/evaluate.py … --agree-with work_dirs/toy_boxes0/bap/labels/Y_ret
    saved class maps, with the best background threshold and those chosen without ground truth:
    python tools/evaluate.py --maps work_dirs/toy_tags0/cam/labels/maps --classes toy --curve curve.png \\
        --truth data/toy_voc/tags_world0/SegmentationClass --images data/toy_voc/tags_world0/JPEGImages \\
        --ids data/toy_voc/tags_world0/ImageSets/Segmentation/train.txt
    masks of objects against the true masks of the same annotations, or predictions with scores (AP, ABO):
    python tools/evaluate.py --instances work_dirs/toy_boxes0/bbam/masks/instances.json \\
        --truth data/toy_voc/boxes_world0/annotations/instances_train.json
"""

import argparse
from collections.abc import Sequence

import _common


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('labels', nargs='?', help='folder of <image id>.png: 0 background, 1…C, 255 ignored')
    parser.add_argument('--maps', metavar='DIR', help='instead of labels: folder of class maps, <image id>.npz')
    parser.add_argument('--instances', metavar='JSON', help='instead of labels: a COCO file of masks with the '
                        "truth's annotation ids; or COCO results, or a COCO file whose annotations have scores")
    parser.add_argument('--truth', required=True, metavar='PATH',
                        help='folder of ground-truth PNGs; of instances, the COCO file of the true masks')
    parser.add_argument('--ids', nargs='+', metavar='FILE',
                        help='lists of image ids, one per line (of instances, default: all images of the truth)')
    parser.add_argument('--classes', help="'toy', 'voc', 'coco' or a file, a name per line, background first")
    parser.add_argument('--sizes', nargs=2, type=float, metavar=('SMALL', 'LARGE'),
                        help='of instances: sides of squares that part small, medium and large objects (32 96)')
    parser.add_argument('--boxes', metavar='DIR', help='of labels: VOC annotations (XML), for the filling rate')
    parser.add_argument('--agree-with', metavar='DIR', help='score only pixels where these labels say the same')
    parser.add_argument('--images', metavar='DIR', help='of maps: also choose a threshold by the colours of the images')
    parser.add_argument('--curve', metavar='PNG', help='of maps: draw the scores over the threshold')
    parser.add_argument('--out', metavar='JSON', help='write all scores, also per image or threshold')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from wsss_mm.errors import ConfigError
    from wsss_mm.evaluation import read_ids, resolve_classes
    given = [name for name in ('labels', 'maps', 'instances') if getattr(args, name) is not None]
    if len(given) != 1:
        raise ConfigError(f'{" and ".join(given)} are given' if given else 'nothing to score is given',
                          expected='one of: a folder of label maps; --maps and a folder of class maps; --instances and '
                          'a COCO file')
    for name in ('ids', 'classes'):
        if getattr(args, name) is None and args.instances is None:
            raise ConfigError(f'no --{name}', expected=f'--{name}, which label maps and class maps need',
                              fix='see the examples of --help')
    for name, needs in (('boxes', 'labels'), ('agree_with', 'labels'), ('curve', 'maps'), ('images', 'maps')):
        if getattr(args, name) and not getattr(args, needs):
            raise ConfigError(f'--{name.replace("_", "-")} is given, but no {needs}',
                              fix=f'take it off, or name {needs}')
    if args.instances:
        score_instances(args)
        return
    ids, classes = read_ids(*args.ids), resolve_classes(args.classes).names
    (score_maps if args.maps else score_labels)(args, ids, classes)


def score_labels(args: argparse.Namespace, ids: Sequence[str], classes: Sequence[str]) -> None:
    """Label maps."""
    from wsss_mm.evaluation import evaluate_folder
    from wsss_mm.files import write_json
    from wsss_mm.progress import Progress
    progress = Progress(len(ids), 'scored')
    scores = evaluate_folder(args.labels, args.truth, ids, classes, box_dir=args.boxes, agree_with=args.agree_with,
                             progress=progress.step)
    progress.finish()
    scores.protocol['ids'] = args.ids
    print(f'\n{scores.table()}')
    if scores.protocol['files_not_scored']:
        print(f'{scores.protocol["files_not_scored"]} more label maps in {args.labels} are not in the lists')
    if args.out:
        write_json(args.out, scores.to_json())
        print(f'written: {args.out}')


def score_maps(args: argparse.Namespace, ids: Sequence[str], classes: Sequence[str]) -> None:
    """Class maps at every threshold."""
    from wsss_mm.evaluation import evaluate_class_maps
    from wsss_mm.evaluation.protocol import describe_run
    from wsss_mm.files import write_json
    from wsss_mm.progress import Progress
    from wsss_mm.pseudo_labels.auto_threshold import METHODS, choose_threshold, colour_threshold, score_histogram
    from wsss_mm.visualization.curve import save_curve
    progress = Progress(len(ids), 'scored')
    curve = evaluate_class_maps(args.maps, args.truth, ids, classes, progress=progress.step)
    progress.finish()
    histogram = score_histogram(args.maps, ids)
    chosen = {method: choose_threshold(*histogram, method) for method in METHODS}
    if args.images:
        chosen['colour'] = colour_threshold(args.maps, args.images, ids)
    best = float(curve.thresholds[curve.best()])
    print(f'\n{curve.table({"best": best} | chosen)}\n\n"best" was chosen with the ground truth that it is scored on, '
          f'{" and ".join(chosen)} without; images {len(ids)}')
    if args.curve:
        save_curve(args.curve, curve.to_json(classes), args.maps, {'best': best} | chosen)
        print(f'written: {args.curve}')
    if args.out:
        write_json(args.out, dict(curve.to_json(classes), best=best, chosen_without_truth=chosen, images=len(ids),
                                  protocol=dict(maps=args.maps, truth=args.truth, ids=args.ids,
                                                run=describe_run(args.maps))))
        print(f'written: {args.out}')


def score_instances(args: argparse.Namespace) -> None:
    """Masks of annotations, or predictions: what has scores is predicted."""
    from wsss_mm.errors import DataError
    from wsss_mm.evaluation import instance_ap, mask_ious, read_ids
    from wsss_mm.evaluation.coco_files import SIZES, read_coco
    from wsss_mm.files import write_json
    ids = read_ids(*args.ids) if args.ids else None
    found = read_coco(args.instances)
    entries = found if isinstance(found, list) else found['annotations']
    scored = sum('score' in entry for entry in entries)
    if 0 < scored < len(entries):
        raise DataError(f'{scored} of {len(entries)} entries have a `score`', file=args.instances,
                        expected='a score in all (predictions) or in none (masks of annotations)')
    predicted = isinstance(found, list) or scored
    score = instance_ap if predicted else mask_ious
    scores = score(args.truth, args.instances, ids=ids, sizes=args.sizes or SIZES)
    print(f'{scores.table()}\nimages {scores.protocol["images"]}')
    if args.out:
        write_json(args.out, scores.to_json())
        print(f'written: {args.out}')


if __name__ == '__main__':
    _common.run(main)

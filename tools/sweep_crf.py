"""Score saved class maps at many powers of the background score, (1 - max)^alpha, without and with a dense CRF.

Papers that go on with PSA choose alpha so: a small one makes much background, whose foreground is sure, a large one
little. The best one is chosen with the ground truth that it is scored on. The CRF's lattices are built once for each
image and serve all alphas.

Examples:
    maps of the toy's CAM, with a CRF for its small images:
    python tools/sweep_crf.py work_dirs/toy_tags0/cam/labels/maps --classes toy --crf 2 16 6 1 2 \\
        --alphas 2 4 6 8 12 16 24 32 --truth data/toy_voc/tags_world0/SegmentationClass \\
        --images data/toy_voc/tags_world0/JPEGImages --ids data/toy_voc/tags_world0/ImageSets/Segmentation/train.txt \\
        --out work_dirs/curves/cam_alpha
    VOC, as PSA and AEFT have it:
    python tools/sweep_crf.py work_dirs/voc/cam/labels/maps --classes voc --crf psa --num-workers 8 \\
        --truth data/VOCdevkit/VOC2012/SegmentationClass --images data/VOCdevkit/VOC2012/JPEGImages \\
        --ids data/VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt --out work_dirs/curves/cam_alpha_voc
"""

import argparse

import _common


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('maps', help='folder of class maps, <image id>.npz')
    parser.add_argument('--truth', required=True, metavar='DIR', help='folder of ground-truth PNGs')
    parser.add_argument('--images', metavar='DIR', help='folder of the images, for the CRF')
    parser.add_argument('--ids', required=True, nargs='+', metavar='FILE', help='lists of image ids, one per line')
    parser.add_argument('--classes', required=True,
                        help="'toy', 'voc', 'coco' or a file, a name per line, background first")
    parser.add_argument('--alphas', nargs='+', type=float, metavar='A',
                        default=[2., 3., 4., 6., 8., 9., 10., 12., 16., 20., 24., 28., 32.], help='the powers')
    parser.add_argument('--crf', nargs='+', default=['psa'], metavar='CRF',
                        help="a preset's name, as psa or irn; or five numbers: bilateral weight, xy and rgb, Gaussian "
                        "weight and xy; or none (default: psa)")
    parser.add_argument('--num-workers', type=int, default=2, help='processes (default: 2)')
    parser.add_argument('--out', metavar='PATH', help='write PATH.csv and PATH.png')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from pathlib import Path

    from wsss_mm.errors import ConfigError
    from wsss_mm.evaluation import read_ids, resolve_classes, sweep_alphas
    from wsss_mm.files import write_atomic
    from wsss_mm.progress import Progress
    from wsss_mm.refinement import DenseCRF
    from wsss_mm.visualization.step_curves import save_step_curves
    if args.crf == ['none']:
        crf = None
    elif len(args.crf) == 1:
        crf = DenseCRF(preset=args.crf[0])
    else:
        try:
            first, second, third, fourth, fifth = map(float, args.crf)
        except ValueError:
            raise ConfigError(f'--crf {" ".join(args.crf)}', expected='a preset, five numbers, or none') from None
        crf = DenseCRF(first, second, third, fourth, fifth)
    ids, classes = read_ids(*args.ids), resolve_classes(args.classes).names
    progress = Progress(len(ids), 'scored')
    sweep = sweep_alphas(args.maps, args.truth, ids, classes, args.alphas, crf=crf, image_dir=args.images,
                         num_workers=args.num_workers, progress=progress.step)
    progress.finish()
    print(f'\nmIoU, %\n\n{sweep.table()}\n\n* chosen with the ground truth that it is scored on; images {len(ids)}')
    if args.out:
        path = Path(args.out)
        write_atomic(path.with_name(f'{path.name}.csv'), sweep.csv().encode())
        save_step_curves(path.with_name(f'{path.name}.png'), sweep.miou(), args.maps, 'alpha',
                         names=[f'{alpha:g}' for alpha in sweep.alphas])
        print(f'written: {args.out}.csv, {args.out}.png')


if __name__ == '__main__':
    _common.run(main)

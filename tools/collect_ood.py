"""Collect out-of-distribution images: images without any of the classes that a classifier takes for one of them.

Scores every image of a folder, keeps those with p(c) >= .5 for some class, and writes a page on which a person rejects
those that do show a class after all; the page exports the list that the configs read. Other modes choose without a
person. Scores are kept: the same command goes on after an interruption, and other modes and thresholds use them again.
See docs/ood.md.

Examples:
    the page, of photographs:
    python tools/collect_ood.py configs/cam/classifier_voc.py --images data/ood/images --long-side 500 --out data/ood
    of the toy's images without objects:
    python tools/collect_ood.py configs/cam/classifier_toy.py --images data/toy_voc/tags_world0/JPEGImages \\
        --ids data/toy_voc/tags_world0/ImageSets/Segmentation/ood.txt --out work_dirs/toy_ood
    without a person, 5,190 images drawn from all, from the hard ones, and these with what looks like a class erased:
    python tools/collect_ood.py configs/cam/classifier_voc.py --images data/ood/images --mode random --count 5190
    python tools/collect_ood.py configs/cam/classifier_voc.py --images data/ood/images --mode random_hard --count 5190
    python tools/collect_ood.py configs/cam/classifier_voc.py --images data/ood/images --mode hard_erasure --count 5190
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _common

if TYPE_CHECKING:
    from mmengine.config import Config

    from wsss_mm.pseudo_labels.ood_candidates import Scores

MODES = ('hard', 'random', 'random_hard', 'hard_erasure')


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config of a classifier of image tags')
    parser.add_argument('--images', required=True, metavar='DIR', help='folder of candidates, sub-folders too')
    parser.add_argument('--out', default='data/ood', metavar='DIR', help='output folder (default: data/ood)')
    parser.add_argument('--mode', default='hard', choices=MODES,
                        help='hard: a page for review; random: any images; random_hard: images with p(c) >= threshold; '
                        'hard_erasure: these, with the regions of the classes erased')
    parser.add_argument('--threshold', type=float, default=.5, help='least p(c) of a hard image (default: .5)')
    parser.add_argument('--count', type=int, metavar='N', help='images drawn; of the page at most N, the highest p of '
                        'every class in turn (default: all hard ones)')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    parser.add_argument('--ids', nargs='+', metavar='FILE', help='lists of images, if not all of the folder count')
    parser.add_argument('--exclude', nargs='+', metavar='FILE', help='lists of images to leave out')
    parser.add_argument('--checkpoint', help='trained classifier (default: <work_dir>/final.pth)')
    parser.add_argument('--long-side', type=int, metavar='PIXELS', help='resize images so, as W-OoD does to 500 '
                        '(default: their own size)')
    parser.add_argument('--erase-threshold', type=float, metavar='T', help="of the class maps (default: that of the "
                        "config's labels)")
    parser.add_argument('--device', default='auto', help='where the network runs: auto, cpu, cuda, cuda:1')
    parser.add_argument('--batch-size', type=int, default=8, help='images of one size run together')
    parser.add_argument('--num-workers', type=int, default=2, help='threads that read images')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args()
    for name in ('count', 'long_side', 'batch_size', 'num_workers'):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} {value}: expected 1 or more')
    if args.mode == 'random' and args.count is None:
        parser.error('--mode random needs --count, as many images as the list that it is compared with')
    return args


def main() -> int:
    args = parse_args()
    from wsss_mm.engine.stages import load_config
    from wsss_mm.files import write_json
    from wsss_mm.pseudo_labels.ood_candidates import list_images
    cfg = load_config(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    images, failures = list_images(args.images)
    ids = chosen_ids(args, images)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    if args.mode == 'random':
        failures.update(collect_random(args, images, ids))
    else:
        failures.update(collect_hard(args, cfg, images, ids))
    if not failures:
        (out / 'failures.json').unlink(missing_ok=True)
        return 0
    write_json(out / 'failures.json', failures)
    first = min(failures.items())
    print(f'\nerror: {len(failures)} images could not be used; the first, {first[0]}:\n  {first[1]}\nall of them: '
          f'{out / "failures.json"}; the others were collected without them', file=sys.stderr)
    return 1


def chosen_ids(args: argparse.Namespace, images: dict[str, Path]) -> list[str]:
    """The images that count, by --ids and --exclude."""
    from wsss_mm.datasets import read_id_list
    from wsss_mm.errors import DataError
    ids = list(images)
    if args.ids:
        named = [i for file in args.ids for i in read_id_list(file)]
        if strange := [i for i in named if i not in images]:
            raise DataError(f'{len(strange)} of {len(named)} images of the list are not there: '
                            f'{", ".join(strange[:3])}', file=args.images, expected='the images of --ids')
        ids = sorted(set(named))
    if args.exclude:
        excluded = {i for file in args.exclude for i in read_id_list(file)}
        kept = [i for i in ids if i not in excluded]
        print(f'{len(ids) - len(kept)} images left out by --exclude')
        ids = kept
    if not ids:
        raise DataError('no image is left', file=args.images, expected='images that --exclude does not name')
    return ids


def collect_random(args: argparse.Namespace, images: dict[str, Path], ids: Sequence[str]) -> dict[str, str]:
    """A draw of all candidates; no classifier is run. Images that cannot be read are passed over."""
    from wsss_mm.errors import DataError, describe_error
    from wsss_mm.pseudo_labels.ood_candidates import draw_order, read_candidate, write_list
    taken: list[str] = []
    failures: dict[str, str] = {}
    for image_id in draw_order(ids, args.seed):
        if len(taken) == args.count:
            break
        try:
            read_candidate(images[image_id])
            taken.append(image_id)
        except DataError as error:
            failures[image_id] = describe_error(error)
    finish_list(args, taken, len(ids))
    path = Path(args.out) / 'random.txt'
    write_list(path, sorted(taken))
    print(f'written: {path}, {len(taken)} of {len(ids)} images')
    return failures


def finish_list(args: argparse.Namespace, taken: Sequence[str], available: int) -> None:
    """Refuse a draw of more images than there are."""
    from wsss_mm.errors import DataError
    if args.count is not None and len(taken) < args.count:
        raise DataError(f'--count {args.count}, but only {len(taken)} of {available} images can be taken',
                        file=args.images, expected=f'a count of at most {len(taken)}',
                        fix='take fewer, more candidates, or a lower --threshold')


def collect_hard(args: argparse.Namespace, cfg: Config, images: dict[str, Path], ids: Sequence[str]
                 ) -> dict[str, str]:
    """Score the images, then do as the mode says."""
    import torch

    from wsss_mm.errors import ConfigError
    from wsss_mm.pseudo_labels.ood_candidates import FLOOR, by_class, draw_order, hard_candidates, write_list
    if not FLOOR <= args.threshold <= 1:
        raise ConfigError(f'--threshold {args.threshold:g}', expected=f'from {FLOOR:g} to 1')
    out = Path(args.out)
    device = args.device if args.device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu'
    model, classes, settings = load_classifier(args, cfg)
    model.to(device).eval()
    scores, failures = score(args, model, classes, settings, images, ids)
    candidates = hard_candidates({i: scores[i] for i in ids if i in scores}, args.threshold)
    groups = by_class(candidates, classes, args.count if args.mode == 'hard' else None)
    ranked = [i for group in groups.values() for i in group]
    write_list(out / 'candidates.txt', ranked)
    print(f'\n{len(ranked)} of {len(scores)} images have p(c) >= {args.threshold:g} for a class'
          + ''.join(f'\n  {name:15} {len(group):6}' for name, group in groups.items())
          + f'\nwritten: {out / "candidates.txt"}')
    if args.mode == 'hard':
        review(args, images, candidates, groups)
        return failures
    drawn = draw_order(ranked, args.seed)[:args.count]
    finish_list(args, drawn, len(scores))
    if args.mode == 'hard_erasure':
        from wsss_mm.pseudo_labels.ood_erasure import erase_images
        localizer, threshold, made_by = erasure_of(args, cfg)
        failed = erase_images(model, localizer, images, sorted(drawn), candidates, classes, out / 'erased', threshold,
                              settings | made_by | dict(threshold=args.threshold), args.long_side)
        failures |= failed
        drawn = [i for i in drawn if i not in failed]
        print(f'their images: {out / "erased"}')
    path = out / f'{args.mode}.txt'
    write_list(path, sorted(drawn))
    print(f'written: {path}, {len(drawn)} images')
    return failures


def load_classifier(args: argparse.Namespace, cfg: Config) -> tuple[Any, list[str], dict[str, Any]]:
    """The classifier, its classes, and what decides its scores."""
    from wsss_mm.config_hash import settings_of
    from wsss_mm.errors import ConfigError
    from wsss_mm.models.classifiers import CAMClassifier
    from wsss_mm.pseudo_labels.run import load_weights
    from wsss_mm.registry import DATASETS, MODELS, enter_scope
    from wsss_mm.safe_loading import file_sha256
    enter_scope(cfg)
    section = cfg.get('pseudo_labels') or cfg.get('train_dataloader') or {}
    model = MODELS.build(cfg.model) if cfg.get('model') and section.get('dataset') else None
    if not isinstance(model, CAMClassifier):
        found = 'no model with a dataset' if model is None else f'the model is a {type(model).__name__}'
        raise ConfigError(f'{found}, not a classifier', file=cfg.filename,
                          expected='a config of a CAMClassifier, as configs/cam/classifier_toy.py')
    checkpoint = Path(args.checkpoint or Path(cfg.work_dir) / 'final.pth')
    load_weights(model, checkpoint, cfg)
    classes = list(DATASETS.build(dict(section.dataset, lazy_init=True)).metainfo.get('classes') or ())[1:]
    if len(classes) != model.head.num_classes:
        raise ConfigError(f'the dataset has {len(classes)} classes, the classifier {model.head.num_classes}',
                          file=cfg.filename, expected='the dataset that it is trained on')
    settings = settings_of(cfg, ['model']) | dict(
        checkpoint=file_sha256(checkpoint), images=str(Path(args.images).resolve()), long_side=args.long_side,
        batch_size=args.batch_size)
    return model, classes, settings


def score(args: argparse.Namespace, model: Any, classes: list[str], settings: dict[str, Any],
          images: dict[str, Path], ids: Sequence[str]) -> tuple[Scores, dict[str, str]]:
    """All scores, and the images that have none."""
    from wsss_mm.pseudo_labels.ood_candidates import ScoreFile, score_images
    table = ScoreFile(args.out, settings)
    failures = score_images(model, images, ids, table, classes, args.long_side, args.batch_size, args.num_workers)
    table.finish()
    return {i: table.scores[i] for i in ids if i in table.scores}, failures


def review(args: argparse.Namespace, images: dict[str, Path], candidates: Scores, groups: dict[str, list[str]]
           ) -> None:
    """The page."""
    from wsss_mm.errors import DataError
    from wsss_mm.progress import Progress
    from wsss_mm.pseudo_labels.ood_candidates import read_candidate
    from wsss_mm.visualization.review_page import Candidate, write_review
    if not groups:
        raise DataError(f'no image has p(c) >= {args.threshold:g}', file=args.images, expected='candidates to review',
                        fix='take more candidates, or a lower --threshold')
    progress = Progress(sum(map(len, groups.values())), 'pictures')
    pages = write_review(
        Path(args.out) / 'review.html', 'Out-of-distribution candidates',
        {name: [Candidate(i, partial(read_candidate, images[i]), candidates[i]) for i in group]
         for name, group in groups.items()}, progress=progress.step)
    progress.finish()
    print(f'to review: {", ".join(map(str, pages))}\nopen it in a browser; it exports the list of the images that you '
          'keep')


def erasure_of(args: argparse.Namespace, cfg: Config) -> tuple[Any, float, dict[str, Any]]:
    """Localizer, threshold and settings, from the config's labels."""
    from wsss_mm.config_hash import digest, plain
    from wsss_mm.errors import ConfigError
    from wsss_mm.pseudo_labels import ClassMapLabels
    from wsss_mm.registry import TASK_UTILS
    section = (cfg.get('pseudo_labels') or {}).get('generator')
    generator = TASK_UTILS.build(section) if section else None
    if not isinstance(generator, ClassMapLabels):
        raise ConfigError('the config makes no labels from class maps', file=cfg.filename,
                          expected='pseudo_labels.generator=dict(type=\'wsss_mm.ClassMapLabels\', …)')
    threshold = generator.threshold if args.erase_threshold is None else args.erase_threshold
    if threshold is None:
        raise ConfigError('no threshold of the class maps', fix='give one with --erase-threshold')
    return generator.localizer, threshold, dict(localizer=digest(plain(section['localizer'])))


if __name__ == '__main__':
    _common.run(main)

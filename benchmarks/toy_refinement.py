"""Refined labels and segmentors trained from seeds on toy VOC: CRF, PSA, IRN, SEC, GAIN, DSRG, over several worlds.

Every row is a shipped toy config, run with all that it stands on. Labels are scored as they are, on train, with the
thresholds of the configs, which were chosen on another world; segmentors on val, one scale, no CRF. Resumable: stages
that are complete are kept.

Example:
    python benchmarks/toy_refinement.py --worlds 0 1 2 --jobs 2
    python benchmarks/toy_refinement.py --worlds 0 --rows "CAM" "CAM + CRF" "CAM + IRN"
"""

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from _toy import ROOT, choose_world, mean_sd, run_stages
from toy_classifier_maps import describe_machine

CONTEXT = ('train', 'boat')   # mostly on rails and on water, which class maps of tags cover too
OTHERS = ('cat', 'dog', 'cow', 'car')


class Row(NamedTuple):
    """One set of label maps.

    Attributes:
        config: Whose pseudo_labels are scored, below configs/, without `_toy.py`.
        split: ``'train'`` for labels, ``'val'`` for a segmentor's predictions.
        paper: The paper's mIoU on that split of VOC, and where it is from.
    """

    config: str
    split: str = 'train'
    paper: str = '–'


ROWS = {
    'CAM': Row('cam/classifier', paper='48.3 to 49.5'),
    'CAM + CRF': Row('cam/labels_crf', paper='54.3'),
    'CAM + PSA': Row('psa/affinity_cam', paper='61.0 (ResNet-38)'),
    'CAM + IRN': Row('irn/affinity_cam', paper='66.3'),
    'AEFT': Row('aeft/classifier', paper='56.0'),
    'AEFT + CRF': Row('aeft/labels_crf', paper='63.5'),
    'AEFT + CRF + PSA': Row('psa/affinity_aeft', paper='71.0'),
    'AEFT + IRN': Row('irn/affinity_aeft'),
    'VWE': Row('vwe/classifier', paper='52.9'),
    'VWE + PSA': Row('psa/affinity_vwe'),
    'VWE + IRN': Row('irn/affinity_vwe', paper='67.7'),
    'AdvCAM': Row('advcam/labels', paper='55.6'),
    'AdvCAM + PSA': Row('psa/affinity_advcam', paper='68.0'),
    'AdvCAM + IRN': Row('irn/affinity_advcam', paper='69.9'),
    'W-OoD': Row('wood/classifier', paper='53.3'),
    'W-OoD + CRF': Row('wood/labels_crf'),
    'W-OoD + IRN': Row('irn/affinity_wood', paper='71.1'),
    'DeepLab-V2 on CAM': Row('cam/deeplabv2', 'val'),
    'DeepLab-V2 on CAM + CRF': Row('cam/deeplabv2_crf', 'val'),
    'DeepLab-V2 on CAM + PSA': Row('psa/deeplabv2_cam', 'val', '61.7 (ResNet-38)'),
    'DeepLab-V2 on CAM + IRN': Row('irn/deeplabv2_cam', 'val', '63.5 (ResNet-50)'),
    'DeepLab-V2 on AEFT + CRF + PSA': Row('psa/deeplabv2_aeft', 'val', '70.9 (ResNet-38)'),
    'SEC': Row('sec/deeplabv1', 'val', '44.8 (50.7 with CRF)'),
    'GAIN-SEC': Row('gain_sec/deeplabv1', 'val', '55.3 with CRF'),
    'GAIN, L_cl + L_seg': Row('gain/deeplabv2_seg', 'val', '59.4 with CRF'),
    'DSRG, first round': Row('dsrg/seeded', 'val'),
    'DSRG': Row('dsrg/deeplabv2', 'val', '59.0 with CRF'),
}
PAIRS = [('CAM + CRF', 'CAM'), ('CAM + PSA', 'CAM + CRF'), ('CAM + IRN', 'CAM + CRF'), ('AEFT + CRF', 'AEFT'),
         ('AEFT + CRF + PSA', 'AEFT + CRF'), ('AEFT + IRN', 'AEFT + CRF'), ('VWE + PSA', 'VWE'), ('VWE + IRN', 'VWE'),
         ('AdvCAM + PSA', 'AdvCAM'), ('AdvCAM + IRN', 'AdvCAM'),
         ('W-OoD + CRF', 'W-OoD'), ('W-OoD + IRN', 'W-OoD + CRF'),
         ('DeepLab-V2 on CAM + CRF', 'DeepLab-V2 on CAM'), ('DeepLab-V2 on CAM + PSA', 'DeepLab-V2 on CAM + CRF'),
         ('DeepLab-V2 on CAM + IRN', 'DeepLab-V2 on CAM + CRF'), ('GAIN-SEC', 'SEC'), ('DSRG, first round', 'SEC'),
         ('DSRG', 'DSRG, first round')]


def mean(scores: dict[str, float | None], names: tuple[str, ...] = ()) -> float:
    """Mean over some classes, or all; a class that is nowhere counts 0."""
    return statistics.mean(scores[name] or 0. for name in names or scores)


def score_world(world: int, names: list[str]) -> dict[str, dict[str, float]]:
    """Run and score rows in one world."""
    choose_world(world, 'tags')
    from wsss_mm.datasets.toy_voc import TOY_CLASSES
    from wsss_mm.engine import stages
    from wsss_mm.evaluation import evaluate_folder
    data = ROOT / f'data/toy_voc/tags_world{world}'
    found = {}
    for name in names:
        row = ROWS[name]
        config = f'configs/{row.config}_toy.py'
        run_stages(ROOT / f'work_dirs/refinement_world{world}.log', [stages.Stage('labels', config)])
        ids = (data / f'ImageSets/Segmentation/{row.split}.txt').read_text().split()
        labels = Path(stages.load_config(config).pseudo_labels.out_dir) / 'labels'
        scores = evaluate_folder(labels, data / 'SegmentationClass', ids, TOY_CLASSES)
        found[name] = dict(miou=scores.miou or 0., precision=mean(scores.precision), recall=mean(scores.recall),
                           context=mean(scores.iou, CONTEXT), others=mean(scores.iou, OTHERS))
        print(f'world {world}, {name}: {scores.miou:.1f}', flush=True)
    return found


def table(results: dict[int, dict[str, dict[str, float]]], names: list[str]) -> str:
    """The Markdown tables."""
    worlds, lines = sorted(results), []
    for split, title in (('train', 'labels on train'), ('val', 'segmentors on val')):
        own = [name for name in names if ROWS[name].split == split]
        if own:
            lines += [f'| {title} | mIoU, worlds {" / ".join(map(str, worlds))} | mean ± sd | cat, dog, cow, car '
                      f'| train, boat | precision | recall | papers, VOC {split} |', '|---' * 8 + '|']
        for name in own:
            column = {key: [results[w][name][key] for w in worlds] for key in results[worlds[0]][name]}
            shown = ('others', 'context', 'precision', 'recall')
            means = ' | '.join(f'{statistics.mean(column[key]):.1f}' for key in shown)
            lines.append(f'| {name} | {" / ".join(f"{v:.1f}" for v in column["miou"])} | {mean_sd(column["miou"])} '
                         f'| {means} | {ROWS[name].paper} |')
        lines += [''] if own else []
    lines += ['| difference, points of mIoU | ' + ' | '.join(f'world {w}' for w in worlds) + ' | mean ± sd |',
              '|---' * (len(worlds) + 2) + '|']
    for one, other in (pair for pair in PAIRS if set(pair) <= set(names)):
        gaps = [results[w][one]['miou'] - results[w][other]['miou'] for w in worlds]
        lines.append(f'| {one} − {other} | {" | ".join(f"{g:+.1f}" for g in gaps)} | {mean_sd(gaps)} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--worlds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--rows', nargs='+', choices=list(ROWS), default=list(ROWS), metavar='ROW')
    parser.add_argument('--jobs', type=int, default=2, help='worlds at a time, one thread each')
    parser.add_argument('--out', default=str(ROOT / 'benchmarks/results'))
    parser.add_argument('--name', default='toy_refinement', help='of the two files written there')
    args = parser.parse_args()
    choose_world(args.worlds[0], 'tags')   # what all worlds share is made before they start
    from wsss_mm.engine import stages
    run_stages(ROOT / 'work_dirs/refinement.log', [stages.Stage('train', 'configs/pretrain/textures_tags_toy.py')])
    results = {}
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context('spawn')) as pool:
        jobs = {pool.submit(score_world, world, args.rows): world for world in args.worlds}
        for job in as_completed(jobs):
            results[jobs[job]] = job.result()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    Path(args.out, f'{args.name}.json').write_text(json.dumps(results, indent=1) + '\n')
    text = table(results, args.rows)
    Path(args.out, f'{args.name}.md').write_text(
        f'Made by `python benchmarks/toy_refinement.py --worlds {" ".join(map(str, args.worlds))} --name {args.name}`, '
        f'{len(args.rows)} rows, {describe_machine()}.\n\n{text}')
    print(text)


if __name__ == '__main__':
    main()

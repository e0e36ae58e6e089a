"""W-OoD on toy VOC: its losses (Table 4.5), ways of collecting OoD images (Table 4.6), and how many it takes.

Every row continues CAM's classifier with W-OoD's config and single options changed; the row without OoD images
continues it as long. For the ways of collecting, the candidates are the 90 scenes without objects and the 120 of the
split `test`, which have some: images of which nobody has said what they show. Resumable: finished rows are kept.

Example:
    python benchmarks/toy_ood.py --worlds 0 1 2 --jobs 2
"""

import argparse
import json
from pathlib import Path

from _toy import ROOT, call, choose_world, run_before
from toy_classifier_maps import ONE_SCALE, Row, add_arguments, run

COUNT = 60
_OOD, _LISTS = 'model.objectives.0.', 'work_dirs/collected/world{world}'


def wood(*training: str, paper: float | None = None) -> Row:
    """W-OoD's config, trained with some options."""
    return Row('wood/classifier', ONE_SCALE, training, paper)


def collected(mode: str, paper: float | None = None) -> Row:
    """W-OoD with a list of collected images."""
    ood = 'train_dataloader.dataset.ood.'
    folder = (f'{ood}data_root=', f'{ood}data_prefix.img_path={_LISTS}/erased') if mode == 'hard_erasure' else ()
    return wood(f'{ood}ann_file={ROOT}/{_LISTS}/{mode}.txt', *folder, paper=paper)


_LEARNT = 'model.backbone.norm_eval=False'
ROWS = {
    'no OoD images, trained as long': wood(_OOD + 'metric_weight=0', _OOD + 'ood_weight=1e-9', paper=49.5),
    'L_cls and L_d: W-OoD': wood(_OOD + 'ratio=.2', paper=53.3),
    'the same, batch norm trained': wood(_LEARNT),
    'no OoD images, batch norm trained': wood(_LEARNT, _OOD + 'metric_weight=0', _OOD + 'ood_weight=1e-9'),
    '10 OoD images': wood('train_dataloader.dataset.ood.count=10'),
    '30 OoD images': wood('train_dataloader.dataset.ood.count=30'),
    'L_cls of OoD images': wood(_OOD + 'metric_weight=0', paper=50.0),
    'L_d': wood(_OOD + 'ood_weight=0', paper=52.5),
    f'{COUNT} random': collected('random', 51.9),
    f'{COUNT} random hard': collected('random_hard', 51.1),
    f'{COUNT} random hard, erased': collected('hard_erasure', 51.4),
    f'{COUNT} hard, reviewed': collected('reviewed', 53.3),
    'L_cls, L_d towards classes alone': wood(_OOD + 'metric_terms=in', paper=50.2),
    'L_cls, L_d away from OoD alone': wood(_OOD + 'metric_terms=ood', paper=52.3),
    'as in the text': wood(_OOD + 'selection=image', _OOD + 'metric_weight=.07', _OOD + 'ood_weight=1.',
                           _OOD + 'climb_step=0'),
}
PAIRS = [('L_cls of OoD images', 'no OoD images, trained as long'), ('L_d', 'no OoD images, trained as long'),
         ('L_cls and L_d: W-OoD', 'no OoD images, trained as long'),
         ('L_cls and L_d: W-OoD', 'L_cls of OoD images'), ('L_cls and L_d: W-OoD', 'the same, batch norm trained'),
         ('the same, batch norm trained', 'no OoD images, batch norm trained'),
         (f'{COUNT} hard, reviewed', f'{COUNT} random'), (f'{COUNT} random', f'{COUNT} random hard')]


def collect(world: int) -> None:
    """The lists of one world; a person's review is played by the truth."""
    data, out = ROOT / f'data/toy_voc/tags_world{world}', ROOT / _LISTS.format(world=world)
    if (out / 'reviewed.txt').exists():
        return
    lists = [str(data / f'ImageSets/Segmentation/{split}.txt') for split in ('ood', 'test')]
    for mode, count in (('hard', 10_000), ('random', COUNT), ('random_hard', COUNT), ('hard_erasure', COUNT)):
        call(ROOT / 'work_dirs/collected.log', 'collect_ood', 'configs/cam/classifier_toy.py', '--images',
             str(data / 'JPEGImages'), '--ids', *lists, '--mode', mode, '--count', str(count), '--out', str(out))
    empty = set(Path(lists[0]).read_text().split())
    kept = [name for name in (out / 'candidates.txt').read_text().split() if name in empty][:COUNT]
    (out / 'reviewed.txt').write_text('\n'.join(kept) + '\n')


def draw_counts(results: dict[str, dict[str, dict]], path: Path) -> None:
    """mIoU and mass on context against the number of OoD images, for the rows that are there."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    rows = {'0': 'no OoD images, trained as long', '10': '10 OoD images', '30': '30 OoD images',
            '90': 'L_cls and L_d: W-OoD'}
    if not set(rows.values()) <= results.keys():
        return
    figure, axes = plt.subplots(figsize=(6.4, 4), dpi=200)
    worlds = sorted(results[rows['0']])
    for key, colour, label in (('miou', '#0067a5', 'mIoU of the class maps'),
                               ('context', '#c46314', 'mass of the maps on water and rails')):
        lines = [[results[name][world][key] for name in rows.values()] for world in worlds]
        for line in lines:
            axes.plot(range(len(rows)), line, color=colour, alpha=.25, linewidth=1)
        axes.plot(range(len(rows)), [sum(found) / len(found) for found in zip(*lines, strict=True)], 'o-', color=colour,
                  label=label)
    axes.set_xticks(range(len(rows)), list(rows))
    axes.set(xlabel='OoD images', ylabel='%')
    axes.set_title(f'W-OoD on toy VOC, mean of {len(worlds)} worlds (thin: each)', loc='left', fontsize=11)
    axes.grid(axis='y', alpha=.3)
    axes.legend(frameon=False)
    axes.spines[['top', 'right']].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, ROWS, 'toy_ood')
    args = parser.parse_args()
    for world in args.worlds:
        choose_world(world, 'tags')
        run_before(Path('work_dirs/collected.log'), 'configs/wood/classifier_toy.py')
        collect(world)
    run({name: ROWS[name] for name in args.rows}, PAIRS, args, 'toy_ood')
    draw_counts(json.loads(Path(args.out, f'{args.name}.json').read_text()), Path(args.out, 'ood_count.png'))


if __name__ == '__main__':
    main()

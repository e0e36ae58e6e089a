"""BBAM on toy VOC over several worlds: masks, detectors and segmentors trained on them, noisy boxes; as the paper's §5.

Every number comes from files that the project's own tools wrote. Resumable: what is complete is kept, parts may be run
apart, and the tables show the parts that every world has.

Parts: ``masks`` (masks against the true ones on train: baselines, gradients, BBAM, with proposals), ``training`` (Mask
R-CNN on the masks), ``variants`` (heads and strides, and where high values lie), ``noise`` (boxes expanded or
contracted: detector, maps, masks and Mask R-CNN anew), ``segmentation`` (DeepLab on the masks' label maps),
``proposals`` (training on masks refined by proposals).

Example:
    python benchmarks/toy_bbam.py --worlds 0 1 2 --jobs 2
    python benchmarks/toy_bbam.py --worlds 0 --parts variants noise --images 100
"""

import argparse
import json
import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _toy import ROOT, call, choose_world, run_stages, slug
from _toy_bbam_tables import EDGES, write_results

PARTS = ('masks', 'training', 'variants', 'noise', 'segmentation', 'proposals')
SIZES = (26., 36.)   # sides of squares; a quarter of the toy's objects is small, a quarter large
# the paper's 24 and 48 are for images of 800 px
STRIDES = {'adaptive': None, 'fixed, 2.88 px': 24 * 96 / 800, 'fixed, 5.76 px': 48 * 96 / 800}
BASELINES = {
    'box fill': 'box_baselines/instances_fill_toy', 'inner box': 'box_baselines/instances_inner_toy',
    'GrabCut': 'box_baselines/instances_grabcut_toy', 'box + CRF': 'box_baselines/instances_crf_toy',
    'best proposal': 'box_baselines/instances_proposal_toy'}
GRADIENTS = {'Grad-CAM': 'gradcam', 'SimpleGrad': 'simplegrad'}
NOISE = ('-20', '-10', '0', '+10', '+20', 'random 20')
DETECTOR, MASKS, MASK_RCNN = (f'configs/bbam/{n}_toy.py' for n in ('faster-rcnn', 'masks', 'mask-rcnn'))
DEEPLAB = 'configs/bbam/deeplabv2_toy.py'


class World:
    """Folders of one world, and runs of the tools in it."""

    def __init__(self, number: int, images: int | None) -> None:
        choose_world(number, 'boxes')
        self.number, self.images = number, images
        self.own = ROOT / f'work_dirs/bbam_benchmark/world{number}'
        self.data, self.log = ROOT / f'data/toy_voc/boxes_world{number}', self.own / 'log.txt'
        self.boxes, self.truth = (self.data / f'annotations/{n}_train.json' for n in ('boxes', 'instances'))
        self.own.mkdir(parents=True, exist_ok=True)
        from wsss_mm.engine.stages import load_config
        explained, masked = load_config(DETECTOR), load_config(MASKS)
        self.detector = ROOT / explained.work_dir
        self.bbam = ROOT / explained.pseudo_labels.out_dir, ROOT / masked.pseudo_labels.out_dir   # maps, masks

    def stage(self, run: str, config: str) -> Any:
        """Run a shipped config with all it stands on, and return it."""
        from wsss_mm.engine import stages
        run_stages(self.log, [stages.to_stage(dict(run=run, config=config))])
        return stages.load_config(config)

    def generate(self, config: str, out: Path, *options: str, boxes: Path | None = None,
                 checkpoint: Path | None = None) -> Path:
        """Run tools/generate.py with changed settings, perhaps on other boxes; return its folder."""
        record = json.loads((out / 'run.json').read_text()) if (out / 'run.json').is_file() else {}
        if not record.get('complete'):
            if boxes:
                options += (f'pseudo_labels.dataset.ann_file={boxes}', )
                options += () if config == DETECTOR else (f'pseudo_labels.generator.ann_file={boxes}', )
            call(self.log, 'generate', config, '--out-dir', str(out), '--num-workers', '0',
                 *(('--checkpoint', str(checkpoint)) if checkpoint else ()),
                 *(('--cfg-options', *options) if options else ()))
        return out

    def masks(self, maps: Path, out: Path, *options: str, boxes: Path | None = None) -> Path:
        """Masks from a folder of maps."""
        return self.generate(MASKS, out, f'pseudo_labels.generator.map_dir={maps / "objects"}', *options, boxes=boxes)

    def train(self, config: str, out: Path, *options: str) -> Path:
        """Train a config with changed settings; return its work dir."""
        if not (out / 'stage.json').is_file():
            call(self.log, 'train', config, '--no-prerequisites', '--resume', '--work-dir', str(out),
                 '--cfg-options', *options)
        return out

    def predictions(self, config: str, work_dir: Path) -> dict[str, dict[str, float | None]]:
        """Scores of a detector's predictions on val, of boxes and, if it has them, of masks."""
        from wsss_mm.evaluation import instance_ap
        out = self.own / 'predictions' / f'{slug(str(work_dir.relative_to(ROOT)))}.json'
        if not out.is_file():
            call(self.log, 'test', config, str(work_dir / 'final.pth'), '--work-dir', str(self.own / 'test'),
                 '--cfg-options', f'test_evaluator.outfile={out}')
        truth = self.data / 'annotations/instances_val.json'
        kinds = ['bbox'] if config == DETECTOR else ['bbox', 'segm']
        return {kind: instance_ap(truth, out, kind=kind, sizes=SIZES).row() for kind in kinds}

    def first(self) -> tuple[Path | None, list[str] | None]:
        """COCO file and ids of the first images, if not all are asked for."""
        if self.images is None:
            return None, None
        out = self.own / f'first{self.images}/boxes_train.json'
        content = rewrite_boxes(self.boxes, out, '0', self.images)
        return out, [Path(i['file_name']).stem for i in content['images']]

    @property
    def suffix(self) -> str:
        """Of folders that hold runs of the first images alone."""
        return f'_first{self.images}' if self.images else ''

    def score_masks(self, folder: Path, ids: Sequence[str] | None = None) -> dict[str, Any]:
        """IoU of the instances and mIoU of the label maps of a labelling run on train."""
        from wsss_mm.datasets.toy_voc import TOY_CLASSES
        from wsss_mm.evaluation import evaluate_folder, mask_ious
        found = mask_ious(self.truth, folder / 'instances.json', ids=ids, sizes=SIZES)
        train = (self.data / 'ImageSets/Segmentation/train.txt').read_text().split()
        labels = evaluate_folder(folder / 'labels', self.data / 'SegmentationClass', ids or train, TOY_CLASSES)
        return dict(iou=found.iou, **found.iou_by_size, decided=found.iou_decided, open=found.ignored_share,
                    miou=labels.miou, miou_missed=labels.miou_ignored_as_missed, pixels_open=labels.ignored_share,
                    statuses=found.counts['status'])

    def score_maps(self, folder: Path, ids: Sequence[str] | None = None) -> dict[str, Any]:
        """IoU of maps at their best threshold, by size; where their high values lie."""
        from wsss_mm.evaluation import score_object_maps
        from wsss_mm.evaluation.coco_files import size_of
        found = score_object_maps(folder / 'objects', self.truth, ids=ids)
        ious, sides = 100 * found.ious[:, found.best()], np.sqrt(found.areas)
        sizes, bins = np.array([size_of(a, SIZES) for a in found.areas]), np.digitize(sides, EDGES)
        return dict(
            iou=float(ious.mean()), threshold=float(found.thresholds[found.best()]),
            **{name: mean(ious[sizes == name]) for name in ('small', 'medium', 'large')},
            by_side=[mean(ious[bins == i]) for i in range(len(EDGES) + 1)], radius=mean(found.radii),
            on_object=mean(100 * found.on_object), in_box=mean(100 * found.in_box),
            without_high=float(100 * np.isnan(found.radii).mean()),
            without_map=float(100 * (~np.isin(found.statuses, ('ok', 'tiny'))).mean()))


def mean(values: np.ndarray) -> float:
    """Mean of what is a number; NaN of nothing."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float('nan')


def explainer_options(**settings: Any) -> list[str]:
    """Options that change settings of the explainer."""
    return [f'pseudo_labels.generator.explainer.{name}={value}' for name, value in settings.items()]


def flat(prefix: str, settings: Iterable[tuple[str, Any]]) -> list[str]:
    """A part's settings as options."""
    return [f'{prefix}.{name}={list(value) if isinstance(value, tuple) else value}' for name, value in settings]


def rewrite_boxes(source: Path, out: Path, noise: str, images: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Write a COCO file of boxes with noise, perhaps of the first images alone.

    Args:
        noise: ``'+10'``: each box has 10 % wider and higher sides about its centre; ``'random 20'``: each border moves
            by up to 20 % of the side, evenly. Boxes end at the image's borders.
    """
    content = json.loads(source.read_text())
    content['images'] = content['images'][:images]
    sizes = {i['id']: (i['width'], i['height']) for i in content['images']}
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] in sizes]
    rng, share = np.random.default_rng(seed), float(noise.split()[-1]) / 100
    for a in content['annotations']:
        low, side = np.array(a['bbox'][:2]), np.array(a['bbox'][2:])
        moves = rng.uniform(-share, share, (2, 2)) if 'random' in noise else np.array([[-share] * 2, [share] * 2]) / 2
        limit = np.array(sizes[a['image_id']])
        start = np.clip(low + moves[0] * side, 0, limit - 1)
        end = np.clip(low + (1 + moves[1]) * side, start + 1, limit)
        a['bbox'] = np.concatenate([start, end - start]).round(3).tolist()
        a['area'] = float(np.prod(end - start))
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content)
    if not out.is_file() or out.read_text() != text:   # its bytes are part of the runs' fingerprints
        out.write_text(text)
    return content


def proposal_masks(world: World) -> Path:
    """BBAM's masks, refined by the proposals of configs/proposals/hierarchy_toy.py."""
    from wsss_mm.engine import stages
    hierarchy = stages.load_config('configs/proposals/hierarchy_toy.py').pseudo_labels.generator.proposals
    return world.masks(world.bbam[0], world.own / 'proposals/masks',
                       'pseudo_labels.generator.refiner.type=wsss_mm.ProposalRefiner',
                       *flat('pseudo_labels.generator.refiner.proposals', hierarchy.items()))


def part_masks(world: World) -> dict[str, Any]:
    """Masks and maps against true masks, all training images."""
    world.stage('labels', MASKS)
    found: dict[str, Any] = dict(masks={}, maps={})
    for name, config in BASELINES.items():
        cfg = world.stage('labels', f'configs/{config}.py')
        found['masks'][name] = world.score_masks(Path(cfg.pseudo_labels.out_dir))
    for name, short in GRADIENTS.items():
        maps, masks = (Path(world.stage('labels', f'configs/box_baselines/{kind}_{short}_toy.py').pseudo_labels.out_dir)
                       for kind in ('maps', 'instances'))
        found['maps'][name], found['masks'][name] = world.score_maps(maps), world.score_masks(masks)
    maps = world.generate('configs/box_baselines/maps_simplegrad_toy.py', world.own / 'smoothgrad/maps',
                          *explainer_options(samples=8))
    found['maps']['SmoothGrad'] = world.score_maps(maps)
    found['masks']['SmoothGrad'] = world.score_masks(world.masks(maps, world.own / 'smoothgrad/masks'))
    found['maps']['BBAM'] = world.score_maps(world.bbam[0])
    found['masks']['BBAM'] = world.score_masks(world.bbam[1])
    found['masks']['BBAM + proposals'] = world.score_masks(proposal_masks(world))
    return found


def part_variants(world: World) -> dict[str, Any]:
    """Heads and strides: maps, masks, and where high values lie; on the first images if so asked."""
    world.stage('labels', MASKS)
    boxes, ids = world.first()
    found: dict[str, Any] = dict(heads={}, strides={}, images=world.images)
    for kind, variants in (('heads', dict(both=None, box='box', cls='cls')), ('strides', STRIDES)):
        for name, value in variants.items():
            maps, masks = world.bbam
            if value is not None:
                folder = world.own / f'{kind}_{slug(name)}{world.suffix}'
                option = explainer_options(**{dict(heads='heads', strides='stride')[kind]: value})
                maps = world.generate(DETECTOR, folder / 'maps', *option, boxes=boxes)
                masks = world.masks(maps, folder / 'masks', boxes=boxes)
            found[kind][name] = dict(maps=world.score_maps(maps, ids), masks=world.score_masks(masks, ids))
    return found


def part_training(world: World) -> dict[str, Any]:
    """Detectors on val."""
    found: dict[str, Any] = dict(detectors={})
    rows = {'Faster R-CNN': DETECTOR, 'Mask R-CNN, box fill': 'configs/bbam/mask-rcnn_box_toy.py',
            'Mask R-CNN, BBAM': MASK_RCNN, 'Mask R-CNN, true masks': 'configs/bbam/mask-rcnn_full_toy.py'}
    for name, config in rows.items():
        work_dir = ROOT / world.stage('train', config).work_dir
        found['detectors'][name] = world.predictions(config, work_dir)
        print(f'world {world.number}: {name} {json.dumps(found["detectors"][name])}', flush=True)
    return found


def part_segmentation(world: World) -> dict[str, Any]:
    """Segmentors on val."""
    found: dict[str, Any] = dict(segmentors={})
    found['segmentors']['BBAM'] = last_val(ROOT / world.stage('train', DEEPLAB).work_dir)
    fill = world.stage('labels', f'configs/{BASELINES["box fill"]}.py').pseudo_labels.out_dir
    for name, labels in (('box fill', f'{fill}/labels'), ('true masks', world.data / 'SegmentationClass')):
        found['segmentors'][name] = segmentor(world, name, labels)
    return found


def part_proposals(world: World) -> dict[str, Any]:
    """As ``training`` and ``segmentation``, on masks refined by proposals."""
    world.stage('labels', MASKS)
    name, masks = 'BBAM + proposals', proposal_masks(world)
    network = world.train(MASK_RCNN, world.own / 'proposals/mask_rcnn',
                          f'train_dataloader.dataset.ann_file={masks / "instances.json"}')
    return dict(detectors={f'Mask R-CNN, {name}': world.predictions(MASK_RCNN, network)},
                segmentors={name: segmentor(world, name, masks / 'labels')})


def segmentor(world: World, name: str, labels: str | Path) -> float:
    """mIoU on val of a DeepLab-V2 trained on a folder of label maps."""
    both = [f'train_dataloader.dataset.label_dirs.{key}={labels}' for key in ('seg_map', 'seg_map_ret')]
    return last_val(world.train(DEEPLAB, world.own / f'deeplabv2_{slug(name)}', *both))


def part_noise(world: World, levels: Sequence[str] = NOISE) -> dict[str, Any]:
    """Boxes with noise: everything anew; masks and Mask R-CNN on the first images if so asked."""
    world.stage('labels', MASKS)
    ids = world.first()[1]
    found: dict[str, Any] = dict(images=world.images)
    for noise in levels:
        folder = world.own / f'noise/{slug(noise.replace("+", "plus ").replace("-", "minus "))}'
        every, some = folder / 'boxes_train.json', folder / f'boxes_train{world.suffix}.json'
        rewrite_boxes(world.boxes, every, noise)
        rewrite_boxes(world.boxes, some, noise, world.images)
        detector, maps = world.detector, world.bbam[0]
        if noise != '0':
            detector = world.train(DETECTOR, folder / 'detector', f'train_dataloader.dataset.ann_file={every}')
            maps = world.generate(DETECTOR, folder / f'maps{world.suffix}', boxes=some,
                                  checkpoint=detector / 'final.pth')
        if noise == '0' and world.images is None:
            masks, network = world.bbam[1], ROOT / world.stage('train', MASK_RCNN).work_dir
        else:
            masks = world.masks(maps, folder / f'masks{world.suffix}', boxes=some)
            network = world.train(MASK_RCNN, folder / f'mask_rcnn{world.suffix}',
                                  f'train_dataloader.dataset.ann_file={masks / "instances.json"}')
        row: dict[str, Any] = dict(bbox=world.predictions(DETECTOR, detector)['bbox'],
                                   segm=world.predictions(MASK_RCNN, network)['segm'])
        row['BBAM'] = world.score_masks(masks, ids)
        for name in ('box fill', 'GrabCut'):
            out = world.generate(f'configs/{BASELINES[name]}.py', folder / f'{slug(name)}{world.suffix}', boxes=some)
            row[name] = world.score_masks(out, ids)
        found[noise] = row
        print(f'world {world.number}, noise {noise}: {json.dumps(row["BBAM"])}', flush=True)
    return found


def last_val(work_dir: Path) -> float:
    """mIoU of the last validation that mmengine logged."""
    lines = [json.loads(line) for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
             for line in path.read_text().splitlines()]
    return [line['mIoU'] for line in lines if 'mIoU' in line][-1]


def run_world(number: int, parts: Sequence[str], images: int | None, noise: Sequence[str]) -> int:
    """Run parts in one world; the scores of each go to ``<part>.json`` in its folder."""
    world = World(number, images)
    for part in parts:
        found = part_noise(world, noise) if part == 'noise' else globals()[f'part_{part}'](world)
        (world.own / f'{part}.json').write_text(json.dumps(found, indent=1) + '\n')
        print(f'world {number}: {part} done', flush=True)
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--worlds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--parts', nargs='*', choices=PARTS, default=list(PARTS), help='none: tables of what is there')
    parser.add_argument('--images', type=int, help='of variants and noise: label only the first images (default: all)')
    parser.add_argument('--noise', nargs='+', choices=NOISE, default=list(NOISE), help='levels of that part')
    parser.add_argument('--jobs', type=int, default=2, help='worlds at a time, one thread each')
    parser.add_argument('--out', default=str(ROOT / 'benchmarks/results'))
    args = parser.parse_args()
    choose_world(args.worlds[0], 'boxes')
    if args.parts:   # every world shares it, so it is made before they start
        from wsss_mm.engine import stages
        log = ROOT / 'work_dirs/bbam_benchmark/log.txt'
        run_stages(log, [stages.Stage('train', 'configs/pretrain/textures_toy.py')])
        with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context('spawn')) as pool:
            n = len(args.worlds)
            list(pool.map(run_world, args.worlds, [args.parts] * n, [args.images] * n, [args.noise] * n))
    folders = {w: ROOT / f'work_dirs/bbam_benchmark/world{w}' for w in args.worlds}
    print(write_results(folders, PARTS, Path(args.out)))


if __name__ == '__main__':
    main()

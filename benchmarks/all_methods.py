"""Every method on toy VOC over several worlds, from its weak labels to a trained segmentor: scores, time, memory.

Every row is a shipped toy config, run with all that it stands on, as ``tools/train.py`` would. Labels are scored on
train as the segmentor gets them; segmentors on val, one scale, no CRF; Mask R-CNN by AP50 of its masks on val. Each
stage that runs here is measured: CPU seconds of its process and its workers, and the largest resident memory of any
of them. Stages that were complete before are kept, and have no measurement. A method's time is the sum over its
chain, from nothing; the drawing of the data and the pretraining on textures, which all share, are left out.

Resumable: the results file is written after every stage that was measured, and stages that are complete are kept.

Example:
    python benchmarks/all_methods.py --worlds 0 1 2                  # make benchmark; many hours on one core
    python benchmarks/all_methods.py --worlds 0 --methods CAM BANA
    python benchmarks/all_methods.py --only-table
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from _toy import ROOT, call, choose_world, mean_sd

RESULTS = ROOT / 'benchmarks/results/all_methods'


class Method(NamedTuple):
    """A row of the table.

    Attributes:
        config: The last training of its chain, below configs/, without `_toy.py`.
        profile: Toy profile.
        labels: Whether what that training reads are labels of all classes (cues of SEC and DSRG are not).
        paper: The paper's figure on VOC, and what it is.
    """

    config: str
    profile: str = 'tags'
    labels: bool = True
    paper: str = '–'


METHODS = {
    'CAM, the plain baseline of tags': Method('cam/deeplabv2', paper='train 48.3 (maps)'),
    'CAM + CRF': Method('cam/deeplabv2_crf', paper='train 54.3'),
    'GAIN': Method('gain/deeplabv2', paper='–'),
    'GAIN, L_cl + L_seg': Method('gain/deeplabv2_seg', labels=False, paper='val 59.4, with CRF'),
    'GAIN_ext, 56 masks': Method('gain/deeplabv2_ext_p', paper='–'),
    'GAIN_ext, 56 boxes': Method('gain/deeplabv2_ext_b', paper='–'),
    'GAIN_ext, masks and boxes': Method('gain/deeplabv2_ext_pb', paper='–'),
    'GPP': Method('gpp/deeplabv2', paper='train 54.2 (maps)'),
    'AEFT': Method('aeft/deeplabv2', paper='train 56.0 (maps)'),
    'HSPP': Method('hspp/deeplabv2', paper='train 50.6 (maps)'),
    'VWE': Method('vwe/deeplabv2', paper='train 52.9 (maps)'),
    'FickleNet': Method('ficklenet/deeplabv2', paper='val 64.9'),
    'AdvCAM': Method('advcam/deeplabv2', paper='train 55.6 (maps)'),
    'RIB': Method('rib/deeplabv2', paper='train 56.5 (maps)'),
    'W-OoD': Method('wood/deeplabv2', paper='train 53.3 (maps)'),
    'W-OoD + AdvCAM': Method('wood/deeplabv2_advcam', paper='train 59.1 (maps)'),
    'W-OoD + AdvCAM + RIB': Method('wood/deeplabv2_advcam_rib', paper='train 60.7 (maps)'),
    'CAM + PSA': Method('psa/deeplabv2_cam', paper='train 61.0, val 61.7'),
    'AEFT + PSA': Method('psa/deeplabv2_aeft', paper='train 71.0, val 70.9'),
    'VWE + PSA': Method('psa/deeplabv2_vwe'),
    'AdvCAM + PSA': Method('psa/deeplabv2_advcam', paper='train 68.0'),
    'RIB + PSA': Method('psa/deeplabv2_rib'),
    'CAM + IRN': Method('irn/deeplabv2_cam', paper='train 66.3, val 63.5'),
    'AEFT + IRN': Method('irn/deeplabv2_aeft'),
    'VWE + IRN': Method('irn/deeplabv2_vwe', paper='train 67.7'),
    'AdvCAM + IRN': Method('irn/deeplabv2_advcam', paper='train 69.9'),
    'RIB + IRN': Method('irn/deeplabv2_rib'),
    'W-OoD + IRN': Method('irn/deeplabv2_wood', paper='train 71.1'),
    'SEC': Method('sec/deeplabv1', labels=False, paper='val 50.7, with CRF'),
    'GAIN-SEC': Method('gain_sec/deeplabv1', labels=False, paper='val 55.3, with CRF'),
    'DSRG': Method('dsrg/deeplabv2', paper='val 59.0, with CRF'),
    'cues alone': Method('dense_energy/plain', labels=False),
    'cues and dense energy': Method('dense_energy/deeplabv2', labels=False),
    'mixed: 28 masks, 84 boxes, 288 tags': Method('mixed/deeplabv2'),
    'box fill, the plain baseline of boxes': Method('bap/deeplabv2_boxfill', 'boxes', paper='train 65.4'),
    'BANA': Method('bap/deeplabv2', 'boxes', paper='train 78.7 (Y_crf), val 68.1 (V1)'),
    'BBAM': Method('bbam/deeplabv2', 'boxes', paper='val 73.7'),
    'clean masks': Method('bap/deeplabv2_clean', 'boxes', labels=False, paper='–'),
    'box fill, Mask R-CNN': Method('bbam/mask-rcnn_box', 'boxes', labels=False, paper='–'),
    'BBAM, Mask R-CNN': Method('bbam/mask-rcnn', 'boxes', labels=False, paper='val AP50 63.7'),
    'BANA, Mask R-CNN': Method('bap/mask-rcnn', 'boxes', labels=False, paper='–'),
    'true masks, Mask R-CNN': Method('bbam/mask-rcnn_full', 'boxes', labels=False, paper='val AP50 69.1'),
}


# Rows compared with another one than the plain baseline of their profile and what `A + B` refines.
ALSO = (('BANA', 'clean masks'), ('SEC', 'cues alone'), ('cues and dense energy', 'cues alone'))


def measured(line: list[str], log: Path) -> dict[str, float]:
    """Run a command and measure it.

    Returns:
        ``cpu_s`` and ``peak_mib`` of the process and those that it has started and waited for, ``wall_s``.

    Raises:
        RuntimeError: it failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with open(log, 'a') as stream:
        process = subprocess.Popen(line, stdout=stream, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f'{" ".join(line[1:])} failed; see {log}')
    return dict(cpu_s=usage.ru_utime + usage.ru_stime, wall_s=time.monotonic() - start, peak_mib=usage.ru_maxrss / 1024)


class World:
    """One world: runs chains in it, keeps costs and scores."""

    def __init__(self, number: int, found: dict[str, Any]) -> None:
        self.number, self.found = number, found
        self.log = ROOT / f'work_dirs/all_methods_world{number}.log'
        self.scores: dict[str, Any] = found.setdefault('scores', {}).setdefault(str(number), {})
        self.costs: dict[str, Any] = found.setdefault('costs', {}).setdefault(str(number), {})

    def run(self, name: str) -> None:
        """Run what is missing of a method's chain, and score it."""
        from wsss_mm.engine import stages
        method = METHODS[name]
        choose_world(self.number, method.profile)
        config = f'configs/{method.config}_toy.py'
        cfg = stages.load_config(config)
        last = stages.Stage('labels' if cfg.get('pseudo_labels') else 'train', config)
        keys = []
        for stage in stages.in_order([last]):
            key = f'{method.profile} {stage.key}'
            if stage.run == 'train':   # the same training under the names of several configs
                key = f'{method.profile} train {stages.load_config(stage.config).work_dir}'
            if stages.why_incomplete(stage):
                self.costs[key] = measured(stages.command(stage, ROOT / 'tools'), self.log)
                write(self.found)   # a stage that is complete is not measured again
            if stage.run != 'data' and 'pretrain' not in stage.config:
                keys.append(key)
        if last.run == 'labels':
            keys = keys[:-1]   # predictions are made for the score alone
        scores = self.score(method, cfg)
        self.scores[name] = dict(scores, stages=keys)
        print(f'world {self.number}, {name}: {json.dumps(scores)}', flush=True)

    def score(self, method: Method, cfg: Any) -> dict[str, float]:
        """mIoU of the labels on train and of the segmentor on val, or AP50 of the masks on val."""
        from wsss_mm.datasets.toy_voc import TOY_CLASSES
        from wsss_mm.evaluation import evaluate_folder, instance_ap
        data = ROOT / f'data/toy_voc/{method.profile}_world{self.number}'
        checkpoint = str(ROOT / cfg.work_dir / 'final.pth')
        if 'roi_head' in cfg.model:
            out = ROOT / cfg.work_dir / 'predictions/val.json'
            if not out.is_file():
                call(self.log, 'test', cfg.filename, checkpoint, '--work-dir', str(out.parent),
                     '--cfg-options', f'test_evaluator.outfile={out}')
            return dict(ap50=instance_ap(data / 'annotations/instances_val.json', out, kind='segm').row()['AP50'])

        def miou(labels: str | Path, split: str) -> float:
            ids = (data / f'ImageSets/Segmentation/{split}.txt').read_text().split()
            return evaluate_folder(Path(labels), data / 'SegmentationClass', ids, TOY_CLASSES).miou or 0.
        if cfg.get('pseudo_labels'):
            predicted = Path(cfg.pseudo_labels.out_dir) / 'labels'
        else:
            predicted = ROOT / cfg.work_dir / 'predictions/val'
            call(self.log, 'test', cfg.filename, checkpoint, '--work-dir', str(predicted.parent), '--out',
                 str(predicted))
        found = dict(val=miou(predicted, 'val'))
        if method.labels:
            found['train'] = miou(cfg.train_dataloader.dataset.label_dirs.seg_map, 'train')
        return found


def spread(values: list[float]) -> str:
    """Mean and standard deviation; a single value with the number of worlds."""
    if not values:
        return 'not run'
    return mean_sd(values) + ('', ' (1 world)', ' (2 worlds)', '')[min(len(values), 3)]


def cost_of(name: str, found: dict[str, Any]) -> tuple[str, str]:
    """Minutes of CPU and peak memory of a method's chain, mean over the worlds in which all of it was measured."""
    minutes, peaks = [], []
    for world, scores in found['scores'].items():
        costs = found['costs'].get(world, {})
        keys = scores.get(name, {}).get('stages', [])
        if keys and all(key in costs for key in keys):
            minutes.append(sum(costs[key]['cpu_s'] for key in keys) / 60)
            peaks.append(max(costs[key]['peak_mib'] for key in keys))
    if not minutes:
        return 'not measured', 'not measured'
    return f'{statistics.mean(minutes):.1f}', f'{max(peaks):.0f}'


def table(found: dict[str, Any]) -> str:
    """The Markdown table."""
    lines = ['| method | profile | labels on train, mIoU | segmentor on val, mIoU (Mask R-CNN: AP50) | CPU, minutes '
             '| largest process, MiB | GPU | the paper\'s figure, VOC |', '|---' * 8 + '|']
    for name, method in METHODS.items():
        rows = [scores[name] for scores in found.get('scores', {}).values() if name in scores]
        train = spread([r['train'] for r in rows if 'train' in r]) if method.labels else '–'
        final = spread([r.get('val', r.get('ap50')) for r in rows])
        minutes, peak = cost_of(name, found) if rows else ('not run', 'not run')
        lines.append(f'| [{name}](../../configs/{method.config}_toy.py) | {method.profile} | {train} | {final} '
                     f'| {minutes} | {peak} | not run | {method.paper} |')
    return '\n'.join(lines) + '\n'


def compared() -> list[tuple[str, str]]:
    """Rows with the rows that they are compared with: the plain baseline, what they refine, and `ALSO`."""
    plain = {METHODS[name].profile: name for name in METHODS if 'the plain baseline' in name}
    pairs = [(name, plain[method.profile]) for name, method in METHODS.items()
             if 'Mask R-CNN' not in name and name not in plain.values()]
    refined = [(name, name.rpartition(' + ')[0]) for name in METHODS if name.rpartition(' + ')[0] in METHODS]
    return [*pairs, *refined, *ALSO]


def differences(found: dict[str, Any]) -> str:
    """The Markdown table of differences, world by world."""
    worlds = sorted(found.get('scores', {}))
    lines = [f'| method | against | labels on train, worlds {" / ".join(worlds)} | segmentor on val |',
             '|---' * 4 + '|']
    for name, other in compared():
        cells = []
        for part in ('train', 'val'):
            pairs = [(found['scores'][w].get(name, {}), found['scores'][w].get(other, {})) for w in worlds]
            gaps = [f'{a[part] - b[part]:+.1f}' if part in a and part in b else '–' for a, b in pairs]
            cells.append(' / '.join(gaps) if set(gaps) - {'–'} else '–')
        lines.append(f'| {name} | {other} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def environment() -> dict[str, str]:
    """What the figures were measured with."""
    sys.path.insert(0, str(ROOT))
    from wsss_mm.requirements import installed_versions
    names = [line.split(':')[1].strip() for line in Path('/proc/cpuinfo').read_text().splitlines()
             if line.startswith('model name')] if Path('/proc/cpuinfo').is_file() else []
    return dict(python=platform.python_version(), system=platform.system(), cores=str(os.cpu_count()), threads='1',
                cpu=names[0] if names else platform.machine(), gpu='none', **installed_versions())


def write(found: dict[str, Any]) -> str:
    """Write the JSON and the table; returns the table."""
    RESULTS.with_suffix('.json').write_text(json.dumps(found, indent=1, sort_keys=True) + '\n')
    shown = ', '.join(f'{name} {version}' for name, version in found['environment'].items())
    text = f'{table(found)}\n## World by world\n\n{differences(found)}'
    RESULTS.with_suffix('.md').write_text(
        '# Every method on toy VOC\n\nMade by `make benchmark` (`python benchmarks/all_methods.py`). '
        'Mean ± standard deviation over the worlds 0, 1 and 2; fewer where it says so. Time and memory are of the '
        'worlds in which the whole chain ran under the '
        f'benchmark; "not measured" where part of it was complete before.\n\nEnvironment: {shown}.\n\n{text}')
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--worlds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--methods', nargs='+', default=list(METHODS), metavar='NAME', help='rows, or how they begin')
    parser.add_argument('--only-table', action='store_true', help='write the table of what is there, run nothing')
    args = parser.parse_args()
    path = RESULTS.with_suffix('.json')
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    found['environment'] = environment()
    names = [name for name in METHODS if any(name == given or name.startswith(given + ',') for given in args.methods)]
    unknown = [given for given in args.methods if not any(n == given or n.startswith(given + ',') for n in METHODS)]
    if unknown:
        print(f'error: no method {unknown[0]!r}\n  one of: ' + '; '.join(METHODS), file=sys.stderr)
        return 2
    jobs = [] if args.only_table else [(world, name) for world in args.worlds for name in names]
    failed = []
    for number, (world, name) in enumerate(jobs, 1):
        print(f'[{number}/{len(jobs)}] world {world}, {name}', flush=True)
        try:
            World(world, found).run(name)
        except Exception as error:   # the others go on
            failed.append(f'world {world}, {name}: {error}')
            print(f'failed: {failed[-1]}', file=sys.stderr, flush=True)
        write(found)
    print(write(found))
    print('\n'.join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())

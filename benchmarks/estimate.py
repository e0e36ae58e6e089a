"""What `tools/train.py --estimate` says of two short toy chains, and what they then take.

The chains are those of `configs/cam/deeplabv2_toy.py` (tags) and `configs/bap/deeplabv2_toy.py` (boxes) with few
iterations and without pretraining, in a folder that is removed: first the estimate, then each stage by its own tool.

    OMP_NUM_THREADS=1 python benchmarks/estimate.py > benchmarks/results/estimate.md
    OMP_NUM_THREADS=1 python benchmarks/estimate.py --iterations 300 --chains cam
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROFILES = dict(cam='tags', bap='boxes')
HEADER = """# The dry run against the run

`OMP_NUM_THREADS=1 python benchmarks/estimate.py{arguments}`: toy chains, {iterations} iterations a training, {cores}
cores. The load is the mean of a minute, as the estimate began and as each stage ended. An estimate holds for the load
that it met; where the load then was another, so is the time.

"""


def write_chain(root: Path, name: str, iterations: int) -> None:
    """Configs of a short chain below ``root/short``: classifier with labels, segmentor with predictions."""
    profile = PROFILES[name]
    data = f"dict(run='data', kind='toy', root='data/toy_voc/{profile}_world0', profile='{profile}', seed=0)"
    (root / 'short').mkdir(exist_ok=True)
    shipped = ROOT / 'configs' / name
    (root / f'short/{name}_classifier.py').write_text(
        f"_base_ = '{shipped}/classifier_toy.py'\nprerequisites = [{data}]\n"
        f'model = dict(backbone=dict(init_cfg=None))\ntrain_cfg = dict(max_iters={iterations})\n')
    (root / f'short/{name}_segmentor.py').write_text(
        f"_base_ = '{shipped}/deeplabv2_toy.py'\n"
        f"prerequisites = [{data}, dict(run='labels', config='short/{name}_classifier.py')]\n"
        f'model = dict(backbone=dict(init_cfg=None))\n'
        f'train_cfg = dict(max_iters={iterations}, val_interval={iterations})\n'
        "report = dict(_delete_=True, needs=[dict(run='labels')], rows=[], out_dir='unused')\n")


def size(folder: Path) -> int:
    """Bytes of the blocks that a folder's files take."""
    return sum(p.stat().st_blocks * 512 for p in folder.rglob('*') if p.is_file())


def compare(name: str, root: Path, options: list[str]) -> list[str]:
    """Rows of one chain: estimate, then every stage as the chain's own command runs it."""
    from wsss_mm.engine import stages
    config = f'short/{name}_segmentor.py'
    tool = [sys.executable, str(ROOT / 'tools/train.py'), config]
    start, load = time.monotonic(), os.getloadavg()[0]
    said = subprocess.run([*tool, '--estimate', '--json', *options], cwd=root, stdout=subprocess.PIPE, text=True,
                          check=True)
    took = time.monotonic() - start
    found = {one['stage']: one for one in json.loads(said.stdout)['stages']}
    rows = [f'\n## {name}\n\nThe estimate took {took:.0f} s, load {load:.1f}.\n',
            '| stage | estimate, s | took, s | estimate / took | estimate, MB | on disk, MB | load |',
            '|---|---|---|---|---|---|---|']
    os.chdir(root)
    own = stages.to_stage(dict(run='train'), config)
    sums = [0., 0.]
    for stage in stages.in_order([own, stages.to_stage(dict(run='labels'), config)]):
        if stages.why_incomplete(stage) is None:
            continue
        start = time.monotonic()
        subprocess.run(stages.command(stage, ROOT / 'tools'), cwd=root, check=True, stdout=subprocess.DEVNULL)
        real, one = time.monotonic() - start, found[stage.key]
        sums = [sums[0] + one['seconds'], sums[1] + real]
        inner = [f['folder'] for f in found.values() if Path(one['folder']) in Path(f['folder']).parents]
        disk = size(root / one['folder']) - sum(size(root / f) for f in inner)
        rows.append(f'| {stage.key} | {one["seconds"]:.0f} | {real:.0f} | {one["seconds"] / real:.2f} | '
                    f'{one["disk"] / 1e6:.1f} | {disk / 1e6:.1f} | {os.getloadavg()[0]:.1f} |')
        print(rows[-1], file=sys.stderr, flush=True)
    rows.append(f'| all | {sums[0]:.0f} | {sums[1]:.0f} | {sums[0] / sums[1]:.2f} | | | |')
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--iterations', type=int, default=150, help='of each training (default: 150)')
    parser.add_argument('--chains', nargs='+', default=list(PROFILES), choices=list(PROFILES))
    parser.add_argument('--budget', default='60', help='of the estimate, in seconds (default: 60)')
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    arguments = ''.join(f' {a}' for a in sys.argv[1:])
    print(HEADER.format(arguments=arguments, iterations=args.iterations, cores=os.cpu_count()))
    for name in args.chains:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            write_chain(root, name, args.iterations)
            print('\n'.join(compare(name, root, ['--budget', args.budget])), flush=True)
            os.chdir(ROOT)


if __name__ == '__main__':
    main()

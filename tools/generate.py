"""Make pseudo labels from a config and a checkpoint.

Finished images are kept: the same command goes on after an interruption. Any number of processes may share the work:
start the same command several times, on any machines that share the disk, or use --nproc, torchrun or srun.

Examples:
    python tools/generate.py configs/bap/classifier_toy.py
    python tools/generate.py configs/bap/classifier_voc.py --checkpoint my_classifier.pth --device cuda --num-workers 8
    python tools/generate.py configs/bap/classifier_voc.py --nproc 4
    torchrun --nproc_per_node=4 tools/generate.py configs/bap/classifier_voc.py
    python tools/generate.py configs/bap/classifier_voc.py --verify
"""

import argparse
import sys
from typing import Any

import _common


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('config', help='a config with a pseudo_labels section')
    parser.add_argument('--checkpoint', help='trained model (default: <work_dir>/final.pth)')
    parser.add_argument('--out-dir', help='output folder (default: pseudo_labels.out_dir)')
    parser.add_argument('--device', default='auto', help='where the network runs: auto, cpu, cuda, cuda:1')
    parser.add_argument('--num-workers', type=int, help='processes for maps, CRF and files')
    parser.add_argument('--nproc', type=int, metavar='N', help='start N processes here that share the work, with a GPU '
                        'each where there are so many')
    parser.add_argument('--stale-after', type=float, default=60., metavar='SECONDS', help='take over the images of a '
                        'process on another machine that has shown no life for so long (default: 60)')
    parser.add_argument('--verify', action='store_true', help='make nothing; check every file that was made, list what '
                        'is wrong and end with 1 if anything is')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    from wsss_mm.distributed import checked_count, local_device
    from wsss_mm.engine.stages import load_config
    from wsss_mm.pseudo_labels.run import LabellingRun
    cfg = load_config(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if cfg.get('pseudo_labels') and args.out_dir:
        cfg.pseudo_labels.out_dir = args.out_dir
    if cfg.get('pseudo_labels') and args.num_workers is not None:
        cfg.pseudo_labels.num_workers = args.num_workers
    if args.verify:
        return verify(cfg)
    if checked_count(args.nproc) > 1:
        return share_among(args.nproc)
    device = args.device if args.device != 'auto' else local_device()
    run = LabellingRun(cfg, args.checkpoint, device=device, stale_after=args.stale_after)
    result = run.run()
    if result['failures']:
        first = next(iter(sorted(result['failures'].items())))
        print(f'\nerror: {len(result["failures"])} images could not be labelled; the first, {first[0]}:\n  {first[1]}\n'
              f'all of them: {run.folder.failures_path}; mend or drop them and run the same command again',
              file=sys.stderr)
        return 1
    shared = run.folder.sharing.folder   # another process may be about to remove it
    made = sorted(path.name for path in run.folder.root.iterdir() if path.is_dir() and path != shared)
    print(f'labels: {run.folder.root} ({", ".join(made)}), {result["labelled"]} new, {result["skipped"]} kept')
    return 0


def share_among(count: int) -> int:
    """Run this command in several processes; one that dies leaves its work to the others."""
    from wsss_mm.distributed import start_again
    codes = start_again(count, '--nproc')
    ended, killed = [code for code in codes if code >= 0], [-code for code in codes if code < 0]
    if ended and killed:
        print(f'{len(killed)} of {count} processes were killed (by the signals {killed}); the others took over their '
              'work', file=sys.stderr)
    # 0 is said of the whole run, by whichever process has seen its end.
    return 0 if 0 in codes else max(ended) if ended else 128 + killed[0]


def verify(cfg: Any) -> int:
    from wsss_mm.pseudo_labels.verify import verify_run
    checked, problems = verify_run(cfg)
    print('\n'.join(problems), end='\n' if problems else '')
    print(f'{cfg.pseudo_labels.out_dir}: {checked} files checked, {len(problems) or "no"} problems')
    return 1 if problems else 0


if __name__ == '__main__':
    _common.run(main)

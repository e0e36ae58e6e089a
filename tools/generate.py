"""Make pseudo labels from a config and a checkpoint.

Finished images are kept: the same command goes on after an interruption. Several machines or processes may share the
work with --shard.

Examples:
    python tools/generate.py configs/bap/classifier_toy.py
    python tools/generate.py configs/bap/classifier_voc.py --checkpoint my_classifier.pth --device cuda --num-workers 8
    python tools/generate.py configs/bap/classifier_voc.py --shard 0/2
    python tools/generate.py configs/bap/classifier_voc.py --verify
"""

import argparse
import sys
from typing import Any

import _common


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config with a pseudo_labels section')
    parser.add_argument('--checkpoint', help='trained model (default: <work_dir>/final.pth)')
    parser.add_argument('--out-dir', help='output folder (default: pseudo_labels.out_dir)')
    parser.add_argument('--device', default='auto', help='where the network runs: auto, cpu, cuda, cuda:1')
    parser.add_argument('--num-workers', type=int, help='processes for maps, CRF and files')
    parser.add_argument('--shard', default='0/1', metavar='R/N', help='label every N-th image, from the R-th on')
    parser.add_argument('--verify', action='store_true', help='make nothing; check every file that was made, list what '
                        'is wrong and end with 1 if anything is')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    import torch

    from wsss_mm.engine.stages import load_config
    from wsss_mm.errors import ConfigError
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
    try:
        rank, world_size = (int(v) for v in args.shard.split('/'))
        if not 0 <= rank < world_size:
            raise ValueError
    except ValueError:
        raise ConfigError(f'--shard {args.shard}', expected='R/N with 0 <= R < N, as 0/2 and 1/2') from None
    device = args.device if args.device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu'
    run = LabellingRun(cfg, args.checkpoint, device=device, rank=rank, world_size=world_size)
    result = run.run()
    if result['failures']:
        first = next(iter(sorted(result['failures'].items())))
        print(f'\nerror: {len(result["failures"])} images could not be labelled; the first, {first[0]}:\n  {first[1]}\n'
              f'all of them: {run.folder.failures_path}; mend or drop them and run the same command again',
              file=sys.stderr)
        return 1
    print(f'labels: {run.folder.root} ({", ".join(run.generator.outputs)}), {result["labelled"]} new, '
          f'{result["skipped"]} kept' + ('' if result['complete'] else '; other shards are still missing'))
    return 0


def verify(cfg: Any) -> int:
    from wsss_mm.pseudo_labels.verify import verify_run
    checked, problems = verify_run(cfg)
    print('\n'.join(problems), end='\n' if problems else '')
    print(f'{cfg.pseudo_labels.out_dir}: {checked} files checked, {len(problems) or "no"} problems')
    return 1 if problems else 0


if __name__ == '__main__':
    _common.run(main)

"""Train a config, after running whatever stages it needs, and report.

Examples:
    python tools/train.py configs/bap/deeplabv2_toy.py
    python tools/train.py configs/bap/deeplabv2_voc.py --amp
    python tools/train.py configs/bap/classifier_voc.py --no-prerequisites --resume
    python tools/train.py configs/cam/deeplabv2_voc.py --estimate
    python tools/train.py configs/bap/deeplabv2_voc.py --nproc 4
    torchrun --nproc_per_node=4 tools/train.py configs/bap/deeplabv2_voc.py --no-prerequisites
"""

import argparse
import contextlib
import os
import sys

import _common


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('config', help='a training config')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: the config\'s)')
    parser.add_argument('--no-prerequisites', action='store_true', help='run this one stage alone, without a report')
    parser.add_argument('--plan', action='store_true', help='say what would run and why, and stop')
    parser.add_argument('--estimate', action='store_true',
                        help='measure a small sample of each stage and say how long all will take and how much disk '
                        'they need; writes nothing')
    parser.add_argument('--sample', type=int, default=8, metavar='N', help='images of a labelling run that --estimate '
                        'measures (default: 8)')
    parser.add_argument('--budget', type=float, default=120., metavar='SECONDS', help='what the samples of '
                        '--estimate may take in all; the start of their processes comes on top (default: 120)')
    parser.add_argument('--json', action='store_true', help='print what --estimate finds as JSON')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from the last checkpoint of the work dir, or from the one named')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    parser.add_argument('--cfg-options', nargs='+', action=_dict_action(), metavar='KEY=VALUE',
                        help='override settings of this config, as a.b=1')
    parser.add_argument('--nproc', type=int, metavar='N', help='run trainings and labelling runs in N processes here, '
                        'with a GPU each where there are so many; each training process has batches of its own')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def _dict_action():
    from mmengine.config import DictAction
    return DictAction


def train(cfg, args) -> None:
    """Train one config in this process."""
    import torch
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner, find_latest_checkpoint

    from wsss_mm.distributed import set_up_launcher, shut_down
    from wsss_mm.errors import ConfigError
    from wsss_mm.registry import check_scope
    from wsss_mm.safe_loading import load_checkpoint_file
    set_up_launcher(cfg, args.launcher)
    _common.drop_worker_options(cfg)
    if 'default_scope' not in cfg:
        raise ConfigError('no default_scope', file=cfg.filename, expected="default_scope = 'mmseg' or 'mmdet'",
                          fix='add it to the config or take _base_/default_runtime.py')
    check_scope(cfg.default_scope)
    if args.amp:
        if not torch.cuda.is_available():
            raise ConfigError('--amp without a GPU', fix='leave --amp out: mixed precision is for GPUs')
        if cfg.optim_wrapper.type not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise ConfigError(f'--amp with optim_wrapper.type {cfg.optim_wrapper.type}', file=cfg.filename,
                              expected='OptimWrapper')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise ConfigError('--auto-scale-lr without an auto_scale_lr section', file=cfg.filename,
                              expected='auto_scale_lr = dict(base_batch_size=…)')
        cfg.auto_scale_lr.enable = True
    last = find_latest_checkpoint(cfg.work_dir) if args.resume == 'auto' else args.resume
    if last:   # without a checkpoint there is nothing to resume: from the start, load_from included
        cfg.resume, cfg.load_from = True, last
    if cfg.get('load_from'):
        load_checkpoint_file(cfg.load_from)   # a clear refusal before the runner is built
    runner = Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)
    runner.train()
    shut_down()


def train_in_processes(args, count: int) -> int:
    """Run this command's own training in several processes."""
    import subprocess

    from wsss_mm.distributed import in_processes, own_line
    line = own_line('--nproc') + ([] if args.no_prerequisites else ['--no-prerequisites'])
    if args.resume == 'auto' and '--resume' not in line:
        line.append('--resume')
    return subprocess.run(in_processes(line, count), check=False).returncode


def print_estimate(line, given, options, report, args, out) -> None:
    """Print how long the stages will take."""
    import json

    from wsss_mm.engine.estimate import table
    from wsss_mm.engine.estimate.chain import ChainEstimate
    found = ChainEstimate(line, _common.TOOLS, args.sample, args.budget, given, options, report,
                          say=lambda text: print(text, file=sys.stderr, flush=True)).run()
    print(json.dumps(table.as_json(found), indent=1) if args.json else table.as_text(found), file=out)


def main() -> int:
    args, out = parse_args(), sys.stdout
    # JSON alone goes to stdout: some packages announce there, as they are imported, what they do without.
    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        return run(args, out)


def run(args, out) -> int:
    """Run what the arguments ask for; an estimate is printed to ``out``."""
    from wsss_mm import registry  # noqa: F401  own checkpoints become loadable
    from wsss_mm.distributed import checked_count, world_size
    from wsss_mm.engine import stages
    from wsss_mm.errors import ConfigError
    cfg = stages.load_config(args.config)
    changed = bool(args.cfg_options)
    if changed:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    processes = checked_count(args.nproc)
    if args.no_prerequisites and not args.estimate and processes == 1:
        train(cfg, args)
        return 0
    if args.no_prerequisites and not args.estimate:
        return train_in_processes(args, processes)
    if world_size() > 1 and not args.plan and not args.estimate:
        raise ConfigError('a chain of stages under torchrun', expected='one process that starts each stage in several, '
                          'or one stage in several processes', fix=f'python tools/train.py {args.config} --nproc '
                          f'{world_size()}   (the chain), or add --no-prerequisites (this training alone)')

    own = stages.to_stage(dict(run='train'), args.config)
    wanted = [stages.to_stage(e, args.config) for e in (cfg.get('report') or {}).get('needs', [])]
    line = stages.in_order([own, *wanted])
    before, after = line[:line.index(own)], line[line.index(own) + 1:]
    total = len(before) + 1 + len(after) + bool(cfg.get('report'))
    if args.plan:
        for number, stage in enumerate([*before, own, *after], 1):
            print(f'[{number}/{total}] {stage.key}: {stages.why_incomplete(stage) or "complete"}')
        return 0
    if args.estimate:
        alone = args.no_prerequisites
        print_estimate([own] if alone else [*before, own, *after], {own: cfg} if changed or args.work_dir else {},
                       {own: ['--amp']} if args.amp else {}, cfg if cfg.get('report') and not alone else None, args,
                       out)
        return 0
    stages.run_stages(before, _common.TOOLS, total=total, processes=processes)
    head = f'[{len(before) + 1}/{total}] {own.key}'
    reason = 'settings given on the command line' if changed or args.work_dir else stages.why_incomplete(own)
    if reason is None:
        print(f'{head}: complete', flush=True)
    else:
        print(f'{head}: {reason}', flush=True)
        if reason == 'training was interrupted' and args.resume is None:
            args.resume = 'auto'
        if processes == 1:
            train(cfg, args)
        elif code := train_in_processes(args, processes):
            return code
    stages.run_stages(after, _common.TOOLS, len(before) + 1, total, processes)
    if cfg.get('report'):
        from wsss_mm.visualization.build import build_report
        print(f'[{total}/{total}] report', flush=True)
        path = build_report(cfg.report, cfg.report.out_dir)
        print(f'\nreport: {path}')
    return 0


if __name__ == '__main__':
    _common.run(main)

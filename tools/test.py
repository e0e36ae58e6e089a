"""Test a checkpoint of a config on its test split.

Examples:
    python tools/test.py configs/bap/deeplabv2_toy.py
    python tools/test.py configs/bap/deeplabv2_voc.py my_deeplab.pth --out predictions/
    torchrun --nproc_per_node=4 tools/test.py configs/bap/deeplabv2_voc.py
"""

import argparse
import os

import _common


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint', nargs='?', help='default: <work_dir>/final.pth')
    parser.add_argument('--work-dir', help='where the log goes')
    parser.add_argument('--out', help='folder for the predicted label maps (PNG)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> int:
    args = parse_args()
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    from wsss_mm import registry  # noqa: F401
    from wsss_mm.distributed import set_up_launcher, shut_down
    from wsss_mm.engine.stages import load_config
    from wsss_mm.errors import ConfigError
    from wsss_mm.pseudo_labels.run import load_weights
    from wsss_mm.safe_loading import load_checkpoint_file
    cfg = load_config(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if cfg.get('test_dataloader') is None:
        raise ConfigError('this config has no test split', file=args.config, expected='test_dataloader, test_cfg and '
                          'test_evaluator', fix='test a segmentation config, or score its labels: python '
                          'tools/evaluate.py --help')
    checkpoint = args.checkpoint or os.path.join(cfg.work_dir, 'final.pth')
    load_checkpoint_file(checkpoint)   # a clear refusal before anything is built
    set_up_launcher(cfg, args.launcher)
    _common.drop_worker_options(cfg)
    cfg.load_from = checkpoint
    cfg.work_dir = args.work_dir or cfg.work_dir
    if args.out:
        evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
        evaluators[0].update(output_dir=args.out, keep_results=True)
    runner = Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)
    # The runner loads it too, but would go on with random weights if it were of another network.
    load_weights(runner.model, checkpoint, cfg)
    runner.test()
    shut_down()
    return 0


if __name__ == '__main__':
    _common.run(main)

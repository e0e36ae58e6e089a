"""Score label folders and show them in one HTML file.

The config holds a report section: rows (folders of labels), splits, galleries; see build_report in
wsss_mm/visualization/build.py. The page needs no network; open it in any browser.

Example:
    python tools/report.py configs/bap/deeplabv2_toy.py
    python tools/report.py configs/bap/deeplabv2_toy.py --out /tmp/bana_report
"""

import argparse

import _common


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config with a report section')
    parser.add_argument('--out', metavar='DIR', help='output folder (default: report.out_dir)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from wsss_mm.engine.stages import load_config
    from wsss_mm.errors import ConfigError
    from wsss_mm.visualization import build_report
    cfg = load_config(args.config)
    if not cfg.get('report'):
        raise ConfigError('no report section', file=args.config, expected="report = dict(title='…', rows=[…], …)",
                          fix='see the example in build_report, wsss_mm/visualization/build.py')
    build_report(cfg.report, args.out)


if __name__ == '__main__':
    _common.run(main)

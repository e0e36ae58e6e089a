"""A report from folders: scores every row, draws the galleries, writes ``report.html`` and ``scores.json``."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss_mm import __version__, files
from wsss_mm.config_hash import digest, plain
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.evaluation import (
    ClassSet,
    Scores,
    evaluate_class_maps,
    evaluate_folder,
    evaluate_maps,
    read_ids,
    resolve_classes,
)
from wsss_mm.evaluation.protocol import describe_run
from wsss_mm.progress import Progress
from wsss_mm.visualization.curve import draw_curve
from wsss_mm.visualization.gallery import GALLERY_KEYS, Folders, make_gallery
from wsss_mm.visualization.report import Gallery, ReportSpec, Row, read_figure, write_report

_KEYS = {'title', 'out_dir', 'data_root', 'image_dir', 'truth_dir', 'box_dir', 'splits', 'classes', 'rows', 'gallery',
         'figures', 'stations', 'protocol', 'paper_source',
         'needs'}   # the stages that tools/train.py runs before the report
_FIGURE_KEYS = {'title', 'path', 'caption'}
_ROW_KEYS = {'name', 'labels', 'agree_with', 'maps', 'curve', 'paper', 'remark'}
# Raise it whenever a score's definition changes: older cached scores are then made anew.
_SCORING = 1


@dataclass
class _RowResult:
    cfg: Mapping[str, Any]
    scores: dict[str, Scores | None]
    auc: dict[str, Any] | None
    curve: dict[str, Any] | None


def build_report(cfg_report: Mapping[str, Any], out_dir: str | Path | None = None) -> Path:
    """Score the rows of a report's config and write ``report.html`` and ``scores.json``.

    ::

        report = dict(
            title='BANA on toy VOC', out_dir='work_dirs/toy0/report', classes='toy',   # 'toy' | 'voc' | file | names
            data_root='data/toy_voc/boxes_world0',   # image_dir, truth_dir, box_dir and splits lie below it
            image_dir='JPEGImages', truth_dir='SegmentationClass', box_dir='Annotations',         # the defaults
            splits=dict(train='ImageSets/Segmentation/train.txt', val='ImageSets/Segmentation/val.txt'),
            rows=[
                dict(name='box fill', labels='work_dirs/…/labels', paper=dict(train=65.4, val=62.2)),
                dict(name='BAP Y_crf', labels='work_dirs/…/Y_crf', maps='work_dirs/…/maps', paper=78.7),
                dict(name='agreement', labels='work_dirs/…/Y_crf', agree_with='work_dirs/…/Y_ret')],
            gallery=dict(row='BAP Y_crf', split='train', worst=6, best=6, maps='work_dirs/…/maps',
                         y_crf='work_dirs/…/Y_crf', y_ret='work_dirs/…/Y_ret', prediction=None),
            figures=[dict(title='mIoU per step', path='work_dirs/curves/advcam.png', caption='…')],
            stations=[('weak labels', 'boxes', 'no masks'), ('classifier', 'BAPHead', 'grid 4'), …],
            protocol={'scales': '1', 'CRF at test': 'none'}, paper_source='BANA, Table 1, PASCAL VOC 2012')

    A row with ``curve=True`` shows the scores of its ``maps`` over the background threshold, on the first split.
    ``paper`` is a figure per split, or one number for the first split. ``gallery`` may be a list of such dicts; its
    worst and best images are those of ``row`` (default: the last) on ``split`` (default: the row's first) by the mIoU
    of each image alone; a folder that is missing is named as "not saved". A row's folder may hold several splits; one
    of which it holds no image shows –. ``labels`` are looked up from the working directory, and so
    are ``figures``, pictures (PNG or JPEG) that the page shows as they are, such as those of ``tools/trace.py``.

    Scores are kept in ``scores.json`` beside a row's folder, keyed by name, size and time of every file that was
    read, so a second report takes seconds.

    Args:
        cfg_report: As above.
        out_dir: Instead of the config's.

    Returns:
        The report's path.

    Raises:
        ConfigError: an unknown or missing key, two rows of one name, a gallery of a row that is not there.
        DataError: a figure that is missing; see also :func:`~wsss_mm.evaluation.evaluate_folder`.
    """
    cfg = _checked(cfg_report)
    classes = resolve_classes(cfg['classes'])
    root, box_dir = Path(cfg.get('data_root', '')), cfg.get('box_dir', 'Annotations')
    folders = Folders(root / cfg.get('image_dir', 'JPEGImages'), root / cfg.get('truth_dir', 'SegmentationClass'),
                      root / box_dir if box_dir else None)
    splits = {name: read_ids(root / path) for name, path in cfg['splits'].items()}
    figures = [read_figure(**figure) for figure in cfg.get('figures', ())]   # before the work of scoring
    results = [_score_row(row, folders, splits, classes.names) for row in cfg['rows']]
    if not any(s for r in results for s in r.scores.values()):
        raise DataError('no row has labels of any split', expected=f'<image id>.png in {cfg["rows"][0]["labels"]}',
                        fix='make the labels first (python tools/generate.py …), or correct the rows')
    galleries = cfg.get('gallery') or []
    spec = ReportSpec(
        title=cfg['title'], splits=list(splits), rows=[_row(r) for r in results], classes=classes.names,
        palette=classes.palette, stations=[tuple(s) for s in cfg.get('stations', ())],
        protocol=_protocol(cfg, splits, results), paper_source=cfg.get('paper_source', 'the paper'),
        runs=_runs(results), curves=[_curve_picture(r, next(iter(splits))) for r in results if r.curve],
        figures=figures,
        galleries=[_gallery(g, results, folders, classes)
                   for g in ([galleries] if isinstance(galleries, Mapping) else galleries)])
    out = Path(out_dir or cfg['out_dir'])
    files.write_json(out / 'scores.json', {r.cfg['name']: dict(
        auc=r.auc, **({'curve': r.curve} if r.curve else {}),
        **{s: scores and scores.to_json() for s, scores in r.scores.items()}) for r in results})
    path = write_report(out / 'report.html', spec)
    print(f'\n{_table(spec)}\n\nwritten: {path} and {out / "scores.json"}')
    return path


def _checked(cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    rows, galleries = cfg.get('rows') or [], cfg.get('gallery') or []
    galleries = [galleries] if isinstance(galleries, Mapping) else galleries
    for where, part, known, needed in (
            ('report', cfg, _KEYS, {'title', 'out_dir', 'splits', 'classes', 'rows'}),
            *((f'report.rows[{i}]', row, _ROW_KEYS, {'name', 'labels'}) for i, row in enumerate(rows)),
            *((f'report.figures[{i}]', f, _FIGURE_KEYS, {'title', 'path'})
              for i, f in enumerate(cfg.get('figures', ()))),
            *((f'report.gallery[{i}]', g, GALLERY_KEYS, set()) for i, g in enumerate(galleries))):
        if strange := sorted(set(part) - known):
            raise ConfigError(f'{where} has the unknown keys {strange}', expected=f'among {sorted(known)}')
        if missing := sorted(needed - {k for k, v in part.items() if v}):
            raise ConfigError(f'{where} lacks {missing}', fix='see the example in build_report')
    names = [row['name'] for row in rows]
    if len(set(names)) < len(names):
        raise ConfigError(f'two rows of the report have one name: {names}', expected='different names')
    for i, row in enumerate(rows):
        if row.get('curve') and not row.get('maps'):
            raise ConfigError(f'report.rows[{i}] has a curve, but no maps', fix='name the folder of its class maps')
    for i, gallery in enumerate(galleries):
        if gallery.get('row', names[-1]) not in names or gallery.get('split', next(iter(cfg['splits']))) not in \
                cfg['splits']:
            raise ConfigError(f'report.gallery[{i}] is of row {gallery.get("row")!r}, split {gallery.get("split")!r}',
                              expected=f'a row of {names} and a split of {list(cfg["splits"])}')
    for i, station in enumerate(cfg.get('stations', ())):
        if len(station) != 3:
            raise ConfigError(f'report.stations[{i}] is {station!r}', expected='(kind, part, detail)')
    return cfg


def _score_row(cfg: Mapping[str, Any], folders: Folders, splits: Mapping[str, Sequence[str]],
               classes: Sequence[str]) -> _RowResult:
    labels, other = Path(cfg['labels']), Path(cfg['agree_with']) if cfg.get('agree_with') else None
    name = labels.name + (f' & {other.name}' if other else '')
    scores: dict[str, Scores | None] = {}
    for split, ids in splits.items():
        if not any((labels / f'{i}.png').is_file() for i in ids):
            scores[split] = None
            continue

        def compute(split: str = split, ids: Sequence[str] = ids) -> dict[str, Any]:
            progress = Progress(len(ids), f'{cfg["name"]}, {split}')
            found = evaluate_folder(labels, folders.truth, ids, classes, box_dir=folders.boxes, agree_with=other,
                                    progress=progress.step)
            progress.finish()
            return found.to_json()
        read = [f / f'{i}.png' for f in (labels, other, folders.truth) if f for i in ids]
        found = Scores.from_json(_cached(labels.parent, f'{name}, {split}', classes, read + _xmls(folders, ids),
                                         compute))
        # Not part of the cache key; the run may have been completed since.
        found.protocol['run'] = describe_run(labels)
        scores[split] = found
    first = next(iter(splits.values()))
    return _RowResult(cfg, scores, _auc(cfg, folders, first, classes), _curve(cfg, folders, first, classes))


def _auc(cfg: Mapping[str, Any], folders: Folders, ids: Sequence[str], classes: Sequence[str]) -> dict[str, Any] | None:
    """AUC of a row's maps inside boxes, on the first split; None where there are no maps or boxes."""
    maps, boxes = Path(cfg.get('maps') or ''), folders.boxes
    there = [i for i in ids if (maps / f'{i}.npz').is_file()] if cfg.get('maps') else []
    if not there or boxes is None:
        return None

    def compute() -> dict[str, Any]:
        progress = Progress(len(there), f'{cfg["name"]}, maps')
        found = evaluate_maps(maps, folders.truth, boxes, there, classes, progress.step)
        progress.finish()
        return found
    return _cached(maps.parent, maps.name, classes, _files(maps, folders, there) + _xmls(folders, there), compute)


def _curve(cfg: Mapping[str, Any], folders: Folders, ids: Sequence[str],
           classes: Sequence[str]) -> dict[str, Any] | None:
    """Scores of a row's maps over the threshold; None where it does not ask for them or an image has none."""
    maps = Path(cfg.get('maps') or '')
    if not cfg.get('curve') or not all((maps / f'{i}.npz').is_file() for i in ids):
        return None

    def compute() -> dict[str, Any]:
        progress = Progress(len(ids), f'{cfg["name"]}, thresholds')
        found = evaluate_class_maps(maps, folders.truth, ids, classes, progress=progress.step)
        progress.finish()
        return dict(found.to_json(classes), best=float(found.thresholds[found.best()]))
    return _cached(maps.parent, f'{maps.name}, curve', classes, _files(maps, folders, ids), compute)


def _curve_picture(result: _RowResult, split: str) -> tuple[str, Any, str]:
    assert result.curve
    best = result.curve['best']
    miou = result.curve['miou'][result.curve['thresholds'].index(best)]
    return (result.cfg['name'], draw_curve(result.curve, f'class maps on {split}', {'best': best}),
            f'The best threshold, chosen with the ground truth of {split}, is {best:.2f}, mIoU {miou:.1f}.')


def _files(maps: Path, folders: Folders, ids: Sequence[str]) -> list[Path]:
    return [maps / f'{i}.npz' for i in ids] + [folders.truth / f'{i}.png' for i in ids]


def _xmls(folders: Folders, ids: Sequence[str]) -> list[Path]:
    return [folders.boxes / f'{i}.xml' for i in ids] if folders.boxes else []


def _cached(folder: Path, name: str, classes: Sequence[str], read: Sequence[Path],
            compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A result from ``scores.json`` in ``folder``, or computed and kept there."""
    stamps = [(str(p), s.st_size, s.st_mtime_ns) for p in read if p.is_file() for s in [p.stat()]]
    key = digest([_SCORING, __version__, list(classes), stamps])
    store = files.read_json(folder / 'scores.json') or {}
    if store.get(name, {}).get('key') == key:
        return store[name]['value']
    value = compute()
    try:
        files.write_json(folder / 'scores.json', {**store, name: dict(key=key, value=value)})
    except OSError:   # somebody else's folder: then there is no cache
        pass
    return value


def _row(result: _RowResult) -> Row:
    cfg, first = result.cfg, next(iter(result.scores))
    paper = cfg.get('paper') or {}
    done = {split: s for split, s in result.scores.items() if s}
    remarks = [cfg.get('remark', '')] if cfg.get('remark') else []
    if not done:
        remarks.append(f'no labels in {cfg["labels"]}')
    left_out = {split: s for split, s in done.items() if not s.comparable}
    remarks += [f'{s.ignored_share:.1f} % of the {split} pixels are left out; with them counted as wrong '
                f'{s.miou_ignored_as_missed:.1f}' for split, s in left_out.items()]
    diagnostics = {}
    if first in done and done[first].filling_rate is not None:
        diagnostics[f'boxes filled ({first})'] = done[first].filling_rate
    for key, column in (('class_maps', 'AUC of u_c'), ('background', 'AUC of u_0')):
        if result.auc and result.auc[key] is not None:
            diagnostics[f'{column} ({first})'] = result.auc[key]
    return Row(cfg['name'], miou={split: s.miou if s else None for split, s in result.scores.items()},
               paper=dict(paper) if isinstance(paper, Mapping) else {first: paper}, comparable=not left_out,
               per_class={split: s.iou for split, s in done.items()}, diagnostics=diagnostics,
               remark='; '.join(remarks))


def _protocol(cfg: Mapping[str, Any], splits: Mapping[str, Sequence[str]],
              results: Sequence[_RowResult]) -> dict[str, str]:
    first = next(iter(splits))
    filled = next((s.truth_filling_rate for r in results if (s := r.scores[first])), None)
    found = {
        'date': datetime.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z'),
        'scored with': f'wsss_mm {__version__}, config hash {digest(plain(cfg))}',
        'splits': ', '.join(f'{name}: {len(ids)} images ({cfg["splits"][name]})' for name, ids in splits.items()),
        'mIoU': 'mean over the classes present in truth or labels, background included, all images of a split pooled; '
                'pixels ignored by the truth never count'}
    if filled is not None:
        found['boxes filled'] = f'mean share of a box labelled as its class; the ground truth fills {filled:.1f} %'
    if any(r.auc for r in results):
        found['AUC'] = ('inside boxes, pooled over images: how well u_c ranks its class above the rest, and u_0 '
                        'background above objects; 50 % is chance')
    return found | {str(k): str(v) for k, v in (cfg.get('protocol') or {}).items()}


def _runs(results: Sequence[_RowResult]) -> list[tuple[list[str], dict[str, str]]]:
    """What the runs wrote down, with the rows that stand on each: Y_crf and Y_ret come from one run."""
    found: list[tuple[list[str], dict[str, str]]] = []
    for result in results:
        run = describe_run(result.cfg['labels'])
        names = next((names for names, known in found if known == run), None)
        if names is not None:
            names.append(result.cfg['name'])
        elif run:
            found.append(([result.cfg['name']], run))
    return found


def _gallery(cfg: Mapping[str, Any], results: Sequence[_RowResult], folders: Folders, classes: ClassSet) -> Gallery:
    result = next(r for r in results if r.cfg['name'] == cfg.get('row', results[-1].cfg['name']))
    split = cfg.get('split') or next((s for s, v in result.scores.items() if v), next(iter(result.scores)))
    return make_gallery(cfg, result.cfg, split, result.scores[split], folders, classes)


def _table(spec: ReportSpec) -> str:
    """The score table as text; the paper's columns are named as such, and their source stands below."""
    with_paper = [s for s in spec.splits if any(s in row.paper for row in spec.rows)]
    columns = [(split, ours) for split in spec.splits for ours in (True, False) if ours or split in with_paper]
    heads = ['mIoU, %', *(split if ours else f"paper's {split}" for split, ours in columns)]
    widths = [max(len(heads[0]), *(len(row.name) for row in spec.rows)), *(max(5, len(head)) for head in heads[1:])]
    lines = [_line(heads, widths), f'|{"-" * (widths[0] + 2)}|' + ''.join('-' * (w + 1) + ':|' for w in widths[1:])]
    for row in spec.rows:
        cells = [row.name]
        for split, ours in columns:
            value = (row.miou if ours else row.paper).get(split)
            cells.append('–' if value is None else f'{value:.1f}{"*" if ours and not row.comparable else ""}')
        lines.append(_line(cells, widths))
    if with_paper:
        lines.append(f"paper's: printed in {spec.paper_source}; not measured here")
    if not all(row.comparable for row in spec.rows):
        lines.append('* leaves pixels out: not comparable')
    return '\n'.join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return f'| {cells[0]:{widths[0]}} | ' + ' | '.join(
        f'{cell:>{width}}' for cell, width in zip(cells[1:], widths[1:], strict=True)) + ' |'

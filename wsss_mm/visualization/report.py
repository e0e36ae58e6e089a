"""One self-contained HTML file: pipeline, scores, protocol, bars per class, galleries of the worst and best images."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_mm.errors import DataError
from wsss_mm.files import write_atomic
from wsss_mm.visualization.curve import png_uri
from wsss_mm.visualization.overlay import IGNORED_COLOUR, data_uri
from wsss_mm.visualization.page import ROW_COLOURS, page

_FIGURE_WIDTH = 640

@dataclass
class Row:
    """One line of the score table; every figure in percent, missing ones are left out or None.

    Attributes:
        name: What was scored.
        miou: Per split.
        paper: The paper's own figure per split: printed beside ours as the paper's, never mixed with it.
        per_class: IoU per class name, per split.
        comparable: False where pixels were left out: starred, and never marked as the best.
        diagnostics: Further figures by column name, as ``{'boxes filled': 43.1}``.
        remark: One sentence below the table.
    """

    name: str
    miou: dict[str, float | None]
    paper: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float | None]] = field(default_factory=dict)
    comparable: bool = True
    diagnostics: dict[str, float | None] = field(default_factory=dict)
    remark: str = ''


@dataclass
class GalleryImage:
    """One image of a gallery.

    Attributes:
        image_id: Its id.
        panels: ``(caption, (H, W, 3) uint8 RGB)``, shown in this order.
        score: mIoU of this image alone, in percent.
    """

    image_id: str
    panels: list[tuple[str, np.ndarray]]
    score: float | None = None


@dataclass
class Gallery:
    """Images under a heading.

    Attributes:
        title: Its heading.
        images: In the order they are shown.
        note: What the score of an image is, and what could not be shown because it was not saved.
        class_ids: Segmentation ids that occur, for the legend.
        compared: Whether pixels where Y_crf and Y_ret differ are marked.
    """

    title: str
    images: list[GalleryImage]
    note: str = ''
    class_ids: Sequence[int] = ()
    compared: bool = False


@dataclass
class Figure:
    """A picture from a file, such as a plot of ``tools/trace.py``.

    Attributes:
        title: Above it.
        content: The file's bytes, which the page holds as they are.
        kind: ``'png'`` or ``'jpeg'``.
        size: Width and height in pixels.
        caption: Below it.
    """

    title: str
    content: bytes
    kind: str
    size: tuple[int, int]
    caption: str = ''


def read_figure(path: str | Path, title: str, caption: str = '') -> Figure:
    """A PNG or JPEG file as a :class:`Figure`.

    Raises:
        DataError: not there, or no such picture.
    """
    try:
        content = Path(path).read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            picture.verify()
            kind, size = str(picture.format).lower(), picture.size
    except FileNotFoundError:
        raise DataError(f'the figure {title!r} of the report is not there', file=path,
                        fix='make it first, or take it out of report.figures') from None
    except (OSError, SyntaxError, ValueError) as error:
        kind, problem = '', str(error)
    else:
        problem = f'its format is {kind}'
    if kind not in ('png', 'jpeg'):
        raise DataError(f'the figure {title!r} of the report is not readable: {problem}', file=path,
                        expected='a PNG or JPEG file')
    return Figure(title, content, kind, size, caption)


@dataclass
class ReportSpec:
    """All that a report shows.

    Attributes:
        title: Heading.
        splits: Names of the splits, in the order of the columns.
        rows: Lines of the table.
        classes: Names, background first.
        palette: ``(C, 3)`` RGB per class.
        stations: ``(kind, part, detail)`` from weak labels to segmentor.
        protocol: Name → text: splits, stage, scales, CRF, seed, checkpoint, versions, date.
        runs: Row names and the protocol of the run that made their labels.
        paper_source: Where the paper's figures stand and on which data they were measured.
        curves: ``(name, (H, W, 3) uint8 RGB, what it shows)``: scores of class maps over the threshold.
        figures: Pictures made elsewhere.
        galleries: Pictures.
    """

    title: str
    splits: Sequence[str]
    rows: list[Row]
    classes: Sequence[str]
    palette: np.ndarray
    stations: Sequence[tuple[str, str, str]] = ()
    protocol: dict[str, str] = field(default_factory=dict)
    runs: Sequence[tuple[Sequence[str], dict[str, str]]] = ()
    paper_source: str = 'the paper'
    curves: Sequence[tuple[str, np.ndarray, str]] = ()
    figures: Sequence[Figure] = ()
    galleries: list[Gallery] = field(default_factory=list)


def write_report(path: str | Path, spec: ReportSpec) -> Path:
    """Write the report as one HTML file, atomically, and return its path."""
    sections = [f'<h1>{escape(spec.title)}</h1>', _stations(spec), _scores(spec), _protocol(spec), _per_class(spec),
                _curves(spec), _figures(spec), *(_gallery(spec, gallery) for gallery in spec.galleries)]
    write_atomic(path, page(escape(spec.title), '\n'.join(filter(None, sections))).encode())
    return Path(path)


def _stations(spec: ReportSpec) -> str:
    items = ''.join(f'<li><span class="kind">{escape(kind)}</span><span class="part">{escape(part)}</span>'
                    f'<small>{escape(detail)}</small></li>' for kind, part, detail in spec.stations)
    return items and f'<ol class="stations" aria-label="Pipeline">{items}</ol>'


def _scores(spec: ReportSpec) -> str:
    with_paper = [s for s in spec.splits if any(s in row.paper for row in spec.rows)]
    extra = list(dict.fromkeys(k for row in spec.rows for k in row.diagnostics))
    heads = ''.join(f'<th class="group" scope="col">{escape(s)} mIoU</th>'
                    + ('<th class="paper" scope="col">paper’s</th>' if s in with_paper else '') for s in spec.splits)
    heads += ''.join(f'<th class="group" scope="col">{escape(k)}</th>' for k in extra)
    best = {s: max((v for row in spec.rows if row.comparable and (v := row.miou.get(s)) is not None), default=None)
            for s in spec.splits}
    lines = []
    for row in spec.rows:
        cells = []
        for split in spec.splits:
            value = row.miou.get(split)
            marked = row.comparable and value is not None and value == best[split]
            cells.append(f'<td class="group{" best" if marked else ""}">{_number(value)}'
                         + ('*' if value is not None and not row.comparable else '') + '</td>')
            if split in with_paper:
                cells.append(f'<td class="paper">{_number(row.paper.get(split))}</td>')
        cells += [f'<td class="group">{_number(row.diagnostics.get(k))}</td>' for k in extra]
        lines.append(f'<tr><th scope="row">{escape(row.name)}</th>{"".join(cells)}</tr>')
    notes = ['In percent. The best of each split is marked; “–” means not measured.']
    if with_paper:
        notes.append(f'The italic columns are printed figures from {escape(spec.paper_source)}; they were not '
                     'measured here.')
    if any(not row.comparable for row in spec.rows):
        notes.append('* leaves pixels out, and so must not be compared with the other rows.')
    notes += [f'{escape(row.name)}: {escape(row.remark)}' for row in spec.rows if row.remark]
    return (f'<h2>Scores</h2><div class="scroll"><table><thead><tr><th scope="col">labels</th>{heads}</tr></thead>'
            f'<tbody>{"".join(lines)}</tbody></table></div>'
            + ''.join(f'<p class="soft">{note}</p>' for note in notes))


def _protocol(spec: ReportSpec) -> str:
    if not (spec.protocol or spec.runs):
        return ''
    runs = ''.join(f'<details><summary>How the labels were made: {escape("; ".join(names))}</summary>{_list(run)}'
                   '</details>' for names, run in spec.runs)
    return f'<h2>Protocol</h2>{_list(spec.protocol)}{runs}'


def _list(items: dict[str, str]) -> str:
    return '<dl>' + ''.join(f'<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>' for k, v in items.items()) + '</dl>'


def _per_class(spec: ReportSpec) -> str:
    """Small charts, one per class, a bar per row: names stay readable with 7 classes as with 21."""
    parts = []
    for split in spec.splits:
        rows = [(i, row, row.per_class[split]) for i, row in enumerate(spec.rows) if row.per_class.get(split)]
        if not rows:
            continue
        legend = ''.join(f'<li><span class="swatch" style="background:var(--row{i % ROW_COLOURS})"></span>'
                         f'{escape(row.name)}{"" if row.comparable else " *"}</li>' for i, row, _ in rows)
        charts = ''.join(_bars(name, [(i, row.name, iou.get(name)) for i, row, iou in rows]) for name in spec.classes)
        parts.append(f'<h3>on {escape(split)}</h3><ul class="legend">{legend}</ul><div class="bars">{charts}</div>')
    return parts and '<h2>IoU per class, percent</h2>' + ''.join(parts) or ''


def _bars(class_name: str, values: Iterable[tuple[int, str, float | None]], step: int = 14) -> str:
    values = list(values)
    height = step * len(values)
    grid = ''.join(f'<line class="grid" x1="{1.7 * x:g}" x2="{1.7 * x:g}" y1="0" y2="{height}"/>'
                   for x in (0, 25, 50, 75, 100))
    marks = []
    for line, (colour, name, value) in enumerate(values):
        length = 1.7 * (value or 0)
        marks.append(f'<rect x="0" y="{line * step + 2}" width="{length:.1f}" height="{step - 4}" '
                     f'fill="var(--row{colour % ROW_COLOURS})"><title>{escape(name)}: {_number(value)}</title></rect>'
                     f'<text x="{length + 4:.1f}" y="{line * step + step - 4}">{_number(value)}</text>')
    spoken = ', '.join(f'{name} {_number(value)}' for _, name, value in values)
    return (f'<figure><figcaption>{escape(class_name)}</figcaption><svg viewBox="0 0 200 {height}" role="img" '
            f'aria-label="IoU of {escape(class_name)}: {escape(spoken)}">{grid}{"".join(marks)}</svg></figure>')


def _curves(spec: ReportSpec) -> str:
    figures = ''.join(
        f'<figure><figcaption>{escape(name)}</figcaption><img src="{png_uri(picture)}" width="{picture.shape[1] // 2}" '
        f'height="{picture.shape[0] // 2}" alt="{escape(name)}: {escape(text)}"><p class="soft">{escape(text)}</p>'
        '</figure>' for name, picture, text in spec.curves)
    return figures and f'<h2>Class maps over the background threshold</h2><div class="curves">{figures}</div>'


def _figures(spec: ReportSpec) -> str:
    """Pictures at most as wide as the curves; they are larger, for sharp screens."""
    parts = []
    for figure in spec.figures:
        width, height = figure.size
        shown = min(width, _FIGURE_WIDTH)
        alt = f'{figure.title}: {figure.caption}' if figure.caption else figure.title
        uri = f'data:image/{figure.kind};base64,{base64.b64encode(figure.content).decode()}'
        caption = f'<p class="soft">{escape(figure.caption)}</p>' if figure.caption else ''
        parts.append(f'<figure><figcaption>{escape(figure.title)}</figcaption><img src="{uri}" width="{shown}" '
                     f'height="{round(height * shown / width)}" alt="{escape(alt)}">{caption}</figure>')
    return parts and f'<h2>Figures</h2><div class="curves">{"".join(parts)}</div>' or ''


def _gallery(spec: ReportSpec, gallery: Gallery) -> str:
    legend = [f'<li><span class="swatch" style="background:rgb{tuple(map(int, spec.palette[i]))}"></span>'
              f'{escape(spec.classes[i])}</li>' for i in gallery.class_ids if i]
    legend += [f'<li><span class="swatch" style="background:rgb{IGNORED_COLOUR}"></span>ignored</li>',
               *(['<li><span class="swatch hatch"></span>unreliable: Y_crf ≠ Y_ret</li>'] if gallery.compared else []),
               '<li>0 <span class="swatch heat"></span>1</li>']
    cards = []
    for item in gallery.images:
        panels = ''.join(
            f'<figure><img src="{data_uri(picture)}" width="{picture.shape[1]}" height="{picture.shape[0]}" '
            f'alt="{escape(item.image_id)}: {escape(caption)}" loading="lazy"><figcaption>{escape(caption)}'
            '</figcaption></figure>' for caption, picture in item.panels)
        cards.append(f'<article class="image"><h4>{escape(item.image_id)}<span>mIoU {_number(item.score)}</span></h4>'
                     f'<div class="panels">{panels}</div></article>')
    note = f'<p class="soft">{escape(gallery.note)}</p>' if gallery.note else ''
    return f'<h2>{escape(gallery.title)}</h2>{note}<ul class="legend">{"".join(legend)}</ul>{"".join(cards)}'


def _number(value: float | None) -> str:
    return '–' if value is None else f'{value:.1f}'

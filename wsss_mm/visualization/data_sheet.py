"""A page about a data set: counts, sizes, examples of every class, and what was found with its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from wsss_mm.datasets.check import ERRORS, HEADINGS, CheckReport, ImageJob
from wsss_mm.datasets.label_readers import read_image, read_label_map, read_voc_xml
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.files import write_atomic
from wsss_mm.visualization import overlay
from wsss_mm.visualization.page import ROW_COLOURS, page

_SIZE = 220         # pixels of a picture's longer side
_TEXTS = 20         # sentences of a kind of finding on the page
_PANELS = '<div class="panels" style="grid-template-columns:repeat(auto-fill,minmax(180px,1fr))">'
_PLOT = (420, 260)
_MARGIN = 44


def check_sheet_path(path: str | Path | None) -> None:
    """Refuse another kind of file before the work begins.

    Raises:
        ConfigError: a name that does not end with .html.
    """
    if path is not None and Path(path).suffix.lower() not in ('.html', '.htm'):
        raise ConfigError(f'--sheet {path}', expected='a name that ends with .html')


def write_sheet(path: str | Path, reports: Sequence[CheckReport]) -> Path:
    """Write one HTML file about checked data sets, atomically, and return its path."""
    titles = ' and '.join(f'{r.layout.title}: {Path(r.layout.root).name}' for r in reports)
    body = '\n'.join(section for report in reports for section in (
        f'<h1>{escape(report.layout.title)}</h1><p class="soft">{escape(str(report.layout.root))}</p>',
        _verdict(report), _lists(report), _classes(report), _sizes(report), _findings(report), _examples(report)))
    write_atomic(path, page(escape(titles), body).encode())
    return Path(path)


def _verdict(report: CheckReport) -> str:
    remarks = sum(report.counts.values()) - report.errors
    stations = ((f'{len(report.ids):,}', 'images'), (f'{len(report.layout.classes) - 1}', 'classes'),
                (f'{report.errors:,}', 'break a run'), (f'{remarks:,}', 'worth a look'))
    return '<dl>' + ''.join(f'<dt>{what}</dt><dd><strong>{number}</strong></dd>' for number, what in stations) + '</dl>'


def _lists(report: CheckReport) -> str:
    kinds = ('tags', 'boxes', 'masks', 'no label')
    rows = ''.join(f'<tr><th scope="row">{escape(name)}</th><td>{c.images:,}</td>'
                   + ''.join(f'<td>{c.labels[kind]:,}</td>' for kind in kinds) + '</tr>'
                   for name, c in report.splits.items())
    heads = ''.join(f'<th scope="col">{kind}</th>' for kind in ('list', 'images', *kinds))
    return (f'<h2>Lists</h2><div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
            '</div><p class="soft">Images, and how many of them have each kind of label.</p>')


def _classes(report: CheckReport) -> str:
    """A chart of images and one of boxes; a bar per list, so that lists of other proportions show."""
    splits = [(name, c) for name, c in report.main_lists().items() if c.of_class.any()]
    charts = []
    for title, column in (('images', 'of_class'), ('boxes', 'objects'), ('pixels, percent', 'pixels')):
        values = [np.asarray(getattr(c, column), np.float64)[1:] for _, c in splits]
        if column == 'pixels':
            values = [100 * v / max(c.pixels.sum(), 1) for v, (_, c) in zip(values, splits, strict=True)]
        if any(v.any() for v in values):
            charts.append(f'<figure><figcaption>{title}</figcaption>{_bars(report, splits, values, column)}</figure>')
    if not charts:
        return ''
    legend = ''.join(f'<li><span class="swatch" style="background:var(--row{i % ROW_COLOURS})"></span>{escape(name)}'
                     '</li>' for i, (name, _) in enumerate(splits))
    return (f'<h2>Classes</h2><ul class="legend">{legend}</ul><div class="bars" '
            f'style="grid-template-columns:repeat(auto-fit,minmax(340px,1fr))">{"".join(charts)}</div>')


def _bars(report: CheckReport, splits: Sequence[tuple], values: Sequence[np.ndarray], column: str) -> str:
    names, step = report.layout.classes[1:], 11
    line = step * len(splits) + 7
    width, left, right = 380, 100, 50
    most = max(float(v.max(initial=0)) for v in values) or 1
    marks = []
    for i, name in enumerate(names):
        top = i * line
        marks.append(f'<text x="{left - 6}" y="{top + line / 2 + 1:.1f}" text-anchor="end">{escape(name[:20])}</text>')
        for k, (split, _) in enumerate(splits):
            value = values[k][i]
            length = (width - left - right) * value / most
            text = f'{value:.1f}' if column == 'pixels' else f'{value:,.0f}'
            y = top + k * step + 2
            marks.append(f'<rect x="{left}" y="{y}" width="{max(length, .5):.1f}" height="{step - 2}" '
                         f'fill="var(--row{k % ROW_COLOURS})"><title>{escape(name)}, {escape(split)}: {text}</title>'
                         f'</rect><text x="{left + length + 4:.1f}" y="{y + step - 3}">{text}</text>')
    spoken = f'{column} by class and list'
    return (f'<svg viewBox="0 0 {width} {line * len(names)}" role="img" aria-label="{spoken}">'
            f'{"".join(marks)}</svg>')


def _sizes(report: CheckReport) -> str:
    """Width and height of all images: equal sizes are one dot, its area by their number."""
    known = report.sizes[report.sizes[:, 0] > 0]
    summary = report.size_summary()
    if not len(known):
        return ''
    # sizes on a grid of 100: no more dots than that, however many images
    limit = known.max(0)[::-1].astype(np.float64)
    cells, counts = np.unique(np.ceil(known[:, ::-1] / limit * 100), axis=0, return_counts=True)
    (width, height), margin = _PLOT, _MARGIN
    at = cells / 100 * (width - 2 * margin, height - 2 * margin)
    radius = 1.5 + 6 * np.sqrt(counts / counts.max())
    dots = ''.join(f'<circle cx="{margin + x:.1f}" cy="{height - margin - y:.1f}" r="{r:.1f}" fill="var(--row0)" '
                   f'fill-opacity=".45"><title>{n} images</title></circle>'
                   for (x, y), r, n in zip(at, radius, counts, strict=True))
    floor, end = height - margin, width - margin
    axes = (f'<path d="M{margin} {margin / 2}V{floor}H{end + margin / 2}" fill="none" class="grid"/>'
            f'<text x="{end}" y="{floor + 14}" text-anchor="middle">{limit[0]:.0f}</text>'
            f'<text x="{width / 2}" y="{floor + 28}" text-anchor="middle">width in pixels</text>'
            f'<text x="{margin - 5}" y="{margin + 4}" text-anchor="end">{limit[1]:.0f}</text>'
            f'<text x="{margin - 5}" y="{floor + 4}" text-anchor="end">0</text>'
            f'<text x="12" y="{height / 2}" transform="rotate(-90 12 {height / 2})" text-anchor="middle">'
            'height in pixels</text>')
    rows = [(name, f'{low} … {high}, median {middle:g}') for name, (low, middle, high) in
            ((n, summary[n]) for n in ('width', 'height'))]
    rows += [(name, f'{summary[name]["image"]}: {summary[name]["width"]} × {summary[name]["height"]}')
             for name in ('smallest', 'largest')]
    rows.append(('different sizes', f'{summary["different"]:,}'))
    items = ''.join(f'<dt>{name}</dt><dd>{escape(text)}</dd>' for name, text in rows)
    return (f'<h2>Sizes</h2><div class="bars" style="grid-template-columns:minmax(0,{width}px) minmax(200px,1fr)">'
            f'<figure><svg viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="width and height of the images">{axes}{dots}</svg></figure><dl style="align-content:center">'
            f'{items}</dl></div>')


def _findings(report: CheckReport) -> str:
    parts = []
    for title, errors in (('What breaks a run', True), ('Worth a look', False)):
        kinds = [k for k in HEADINGS if report.counts[k] and (k in ERRORS) == errors]
        blocks = []
        for kind in kinds:
            count = report.counts[kind]
            lines = ''.join(f'<li>{escape(p.text)}</li>' for p in report.problems[kind][:_TEXTS])
            more = f'<p class="soft">… and {count - _TEXTS:,} more</p>' if count > _TEXTS else ''
            cards = ''.join(_card(report, job, text) for job, text in report.flagged.get(kind, []))
            blocks.append(f'<h3>{escape(HEADINGS[kind][:1].upper() + HEADINGS[kind][1:])}: {count:,}</h3>'
                          + (f'{_PANELS}{cards}</div>' if cards else '')
                          + f'<details{" open" if errors or not cards else ""}><summary>in words</summary>'
                            f'<ul class="soft">{lines}</ul>{more}</details>')
        parts.append(f'<h2>{title}</h2>' + (''.join(blocks) or '<p>Nothing.</p>'))
    return ''.join(parts)


def _examples(report: CheckReport) -> str:
    names = report.layout.classes
    parts = []
    for name, jobs in report.examples.items():
        colour = tuple(map(int, report.layout.palette[names.index(name)]))
        cards = ''.join(_card(report, job, job.image_id) for job in jobs)
        parts.append(f'<h3><span class="swatch" style="background:rgb{colour}"></span>{escape(name)}</h3>'
                     f'{_PANELS}{cards}</div>')
    note = '<p class="soft">Chosen by a hash of the id, with their boxes and masks.</p>'
    return f'<h2>Examples</h2>{note}{"".join(parts)}' if parts else ''


def _card(report: CheckReport, job: ImageJob, text: str) -> str:
    text = text.replace(f'{Path(job.image).parent}/', '')
    try:
        picture = draw(job, report)
    except (DataError, OSError):
        return ''   # the sentences name it
    tags = '' if not job.tags else f'<br>tags: {escape(", ".join(job.tags))}'
    return (f'<figure><img src="{overlay.data_uri(picture)}" width="{picture.shape[1]}" height="{picture.shape[0]}" '
            f'alt="{escape(job.image_id)}" loading="lazy"><figcaption>{escape(text)}{tags}</figcaption></figure>')


def draw(job: ImageJob, report: CheckReport) -> np.ndarray:
    """A small picture of an image with what its labels show.

    Raises:
        DataError, OSError: the image cannot be read; of labels that cannot be read nothing is drawn.
    """
    classes, palette = report.layout.classes, report.layout.palette
    original = read_image(job.image)
    picture = overlay.fit(original, _SIZE)
    if job.mask is not None:
        try:
            label = read_label_map(job.mask)
            if label.shape == original.shape[:2]:
                picture = overlay.overlay_labels(picture, overlay.fit(label, _SIZE, smooth=False), palette)
        except DataError:
            pass
    names, boxes = job.names, np.array(job.boxes or (), np.float64).reshape(-1, 4)
    if job.xml is not None:
        try:
            found = read_voc_xml(job.xml, {name: i for i, name in enumerate(classes) if i}, 'exact', 'clip')
            names, boxes = tuple(classes[i] for i in found.labels), found.boxes.astype(np.float64)
        except DataError:
            pass
    if not names:
        return picture
    colours = palette[[classes.index(name) if name in classes else 0 for name in names]]
    scale = (picture.shape[1] / original.shape[1], picture.shape[0] / original.shape[0])
    return overlay.draw_boxes(picture, boxes, names, colours, scale)

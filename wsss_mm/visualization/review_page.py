"""A page on which a person goes through candidate images and rejects those that hold one of the classes.

Each file is complete in itself: pictures, style and script are inside, and its content security policy lets the
browser load nothing else and run no other script.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_mm.files import write_atomic
from wsss_mm.visualization.page import STYLE
from wsss_mm.visualization.review_script import SCRIPT

THUMBNAIL = 192   # pixels of the longer side: enough to tell what a photograph shows, in some 8 kB
PER_FILE = 2500   # images of one file: some 20 MB, which a browser opens within seconds
_CSP = ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'; base-uri 'none'; "
        "form-action 'none'")

_STYLE = """
main{padding-top:0}
#bar{position:sticky;top:0;z-index:2;background:var(--bg);border-bottom:1px solid var(--line);margin:0 -20px;
padding:14px 20px 10px}
#bar h1{font-size:1.25rem}
.row{display:flex;flex-wrap:wrap;gap:8px 14px;align-items:center;margin:8px 0 0}
#count{font-variant-numeric:tabular-nums;margin-right:auto}
.tool{font:inherit;color:var(--text);background:var(--panel);border:1px solid var(--line);border-radius:6px;
padding:5px 12px;cursor:pointer}
.tool:hover,#classes button:hover{border-color:var(--accent)}
.tool.main{background:var(--accent);border-color:var(--accent);color:var(--bg);font-weight:600}
#classes{display:flex;flex-wrap:wrap;gap:6px;margin:10px 0 0;padding:0}
#classes button{font:inherit;font-size:.87rem;color:var(--text);background:none;border:1px solid var(--line);
border-radius:99px;padding:2px 11px;cursor:pointer}
#classes button[aria-selected=true]{background:var(--text);color:var(--bg);border-color:var(--text)}
#classes span{font-variant-numeric:tabular-nums;opacity:.75;margin-left:5px}
#note{min-height:1.4em}
#grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(180px,1fr));gap:12px;padding:14px 0 40px}
.card{font:inherit;text-align:left;color:inherit;background:var(--panel);border:2px solid var(--line);
border-radius:8px;padding:6px;cursor:pointer;display:flex;flex-direction:column;gap:5px;scroll-margin-bottom:12px;
content-visibility:auto;contain-intrinsic-size:auto 168px auto 200px;min-width:0}
.card:focus-visible,.tool:focus-visible,#classes button:focus-visible{
outline:3px solid var(--accent);outline-offset:2px}
.picture{position:relative;display:flex;align-items:center;justify-content:center;height:152px}
.picture img{width:100%;height:100%;object-fit:contain;display:block}
.name{font-size:.8rem;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;direction:rtl;text-align:left}
.name bdi{unicode-bidi:isolate}
.facts{display:flex;justify-content:space-between;gap:8px;font-size:.8rem;color:var(--soft);
font-variant-numeric:tabular-nums}
.verdict{font-weight:600;color:var(--best-text);white-space:nowrap}
.card[aria-pressed=true]{border-color:var(--no);background:var(--no-bg)}
.card[aria-pressed=true] img{opacity:.3;filter:grayscale(1)}
.card[aria-pressed=true] .verdict{color:var(--no)}
.card[aria-pressed=true] .picture::after{content:"";position:absolute;inset:18%;
background:linear-gradient(45deg,transparent 48%,var(--no) 48% 52%,transparent 52%),
linear-gradient(-45deg,transparent 48%,var(--no) 48% 52%,transparent 52%)}
:root{--no:#b3261e;--no-bg:#fdecea}
@media (prefers-color-scheme:dark){:root{--no:#ff8a80;--no-bg:#3a1d1b}}
kbd{font:inherit;font-size:.8rem;border:1px solid var(--line);border-radius:4px;padding:0 5px;background:var(--panel)}
.keys{font-size:.83rem;color:var(--soft)}
#file{position:absolute;width:1px;height:1px;opacity:0;pointer-events:none}
@media (max-width:560px){#bar{position:static;margin:0 -12px;padding:12px}
#grid{grid-template-columns:repeat(auto-fill,minmax(132px,1fr))}}
"""

_BODY = """<header id="bar"><h1>{title}</h1>
<p class="soft">{question}</p>
<div class="row"><span id="count" role="status"></span>
<button class="tool" id="next" type="button">Next class</button>
<button class="tool" id="import" type="button">Import list…</button>
<button class="tool main" id="export" type="button">Export kept list</button></div>
<div id="classes" role="tablist" aria-label="Classes that the classifier sees"></div>
<p class="row keys"><span><kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd> move</span>
<span><kbd>space</kbd> or <kbd>x</kbd> reject, keep</span><span><kbd>n</kbd> <kbd>p</kbd> next, previous class</span>
<span><kbd>e</kbd> export</span></p>
<p id="note" class="soft" role="alert"></p></header>
<input id="file" type="file" accept=".txt,text/plain" aria-label="A list exported earlier" tabindex="-1">
<div id="grid" role="tabpanel"></div>
<noscript><p>This page needs JavaScript. It loads nothing from outside.</p></noscript>"""


@dataclass
class Candidate:
    """One image to be judged.

    Attributes:
        image_id: Its line in the exported list.
        picture: ``(H, W, 3)`` uint8 RGB, or a function that gives it; called once, when the page is written.
        scores: ``(class name, p)``, the highest p first.
    """

    image_id: str
    picture: np.ndarray | Callable[[], np.ndarray]
    scores: Sequence[tuple[str, float]]


def write_review(path: str | Path, title: str, groups: Mapping[str, Sequence[Candidate]], export_name: str = 'hard.txt',
                 progress: Callable[[], None] | None = None, per_file: int = PER_FILE) -> list[Path]:
    """Write the page, or several of ``per_file`` images each, as ``review_1.html``, ``review_2.html`` …

    Pictures are made and encoded one at a time; what grows with their number is the file, by some 8 kB for each.

    Args:
        path: The file; of several, the numbers go before its suffix, and likewise in ``export_name``.
        title: Heading, plain text.
        groups: Candidates by class, in the order they are shown.
        export_name: Name that the browser saves the kept list under.
        progress: Called after each picture.
        per_file: Most images of one file.

    Returns:
        The files written.

    Raises:
        ValueError: no candidate, or one named twice.
    """
    pairs = [(name, candidate) for name, own in groups.items() for candidate in own]
    ids = [candidate.image_id for _, candidate in pairs]
    if not ids or len(set(ids)) < len(ids):
        raise ValueError(f'{len(ids)} candidates, {len(set(ids))} different: expected one or more, each once')
    parts = [pairs[i:i + per_file] for i in range(0, len(pairs), per_file)]
    written = []
    for number, part in enumerate(parts, 1):
        many = len(parts) > 1
        file = _numbered(path, number) if many else Path(path)
        heading = f'{title} ({number} of {len(parts)})' if many else title
        export = _numbered(export_name, number).name if many else export_name
        classes: dict[str, list] = {}
        for name, candidate in part:
            classes.setdefault(name, []).append(_entry(candidate))
            if progress is not None:
                progress()
        write_atomic(file, _document(heading, classes, export).encode())
        written.append(file)
    for old in {Path(path), *Path(path).parent.glob(f'{Path(path).stem}_[0-9]*{Path(path).suffix}')} - {*written}:
        old.unlink(missing_ok=True)   # of more or fewer candidates
    return written


def _numbered(path: str | Path, number: int) -> Path:
    path = Path(path)
    return path.with_name(f'{path.stem}_{number}{path.suffix}')


def _entry(candidate: Candidate) -> list:
    picture = candidate.picture() if callable(candidate.picture) else candidate.picture
    return [candidate.image_id, thumbnail_uri(picture), [[name, round(float(p), 3)] for name, p in candidate.scores]]


def thumbnail_uri(picture: np.ndarray, longest: int = THUMBNAIL) -> str:
    """``(H, W, 3)`` uint8 RGB as a JPEG data URI of at most ``longest`` pixels a side; smaller ones keep their size."""
    image = Image.fromarray(picture)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format='JPEG', quality=75, optimize=True)
    return f'data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}'


def _document(title: str, classes: Mapping[str, list], export_name: str) -> str:
    ids = [entry[0] for own in classes.values() for entry in own]
    data = dict(key='ood-review:' + hashlib.sha256('\n'.join(ids).encode()).hexdigest()[:16], file=export_name,
                classes=[dict(name=name, images=own) for name, own in classes.items()])
    # no tag can end the data early
    text = json.dumps(data, ensure_ascii=False, separators=(',', ':')).replace('<', '\\u003c')
    script = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    body = _BODY.format(title=escape(title), question='Reject every image that shows one of the classes, even in part. '
                        'All others are kept.')
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{_CSP.format(script)}">'
            f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{STYLE}{_STYLE}</style></head>\n'
            f'<body><main>\n{body}\n</main>\n<script type="application/json" id="data">{text}</script>\n'
            f'<script>{SCRIPT}</script></body></html>\n')

"""The report's style sheet and page frame.

One file, no script and no outside address: the content security policy in the head lets a browser load nothing but
the images inside the file.
"""

from wsss_mm.visualization.overlay import HEAT_COLOURS, UNRELIABLE_COLOUR

# Told apart by colour-blind readers; the second set is for dark backgrounds.
_ROW_COLOURS = ('#0067a5', '#d97d00', '#00836a', '#b8336a', '#6a51a3', '#3d9fd0', '#7a6a2f', '#5c6670')
_ROW_COLOURS_DARK = ('#4aa8e0', '#f2a33c', '#2fbf9b', '#ec6f9e', '#a594e0', '#8fd0f0', '#c9b566', '#a3adb8')
ROW_COLOURS = len(_ROW_COLOURS)


def _variables(colours: tuple[str, ...]) -> str:
    return ''.join(f'--row{i}:{c};' for i, c in enumerate(colours))


STYLE = f"""
:root{{color-scheme:light dark;--bg:#fff;--panel:#f5f6f8;--line:#d9dce1;--text:#1b1f24;--soft:#59626e;--accent:#0067a5;
--best:#e2f2ea;--best-text:#00573f;{_variables(_ROW_COLOURS)}}}
@media (prefers-color-scheme:dark){{:root{{--bg:#14171b;--panel:#1d2127;--line:#363c45;--text:#e8eaed;--soft:#a4adb8;
--accent:#6cb8ec;--best:#143a2d;--best-text:#8fe0bd;{_variables(_ROW_COLOURS_DARK)}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--bg);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}}
main{{max-width:1280px;margin:0 auto;padding:28px 20px 60px}}
h1{{font-size:1.7rem;line-height:1.25;margin:0 0 2px}}
h2{{font-size:1.15rem;margin:38px 0 12px;padding-bottom:5px;border-bottom:1px solid var(--line)}}
h3{{font-size:1rem;margin:20px 0 8px}}
p{{margin:6px 0;max-width:85ch}}
.soft,small{{color:var(--soft);font-size:.87rem}}
.stations{{display:flex;flex-wrap:wrap;gap:10px 26px;padding:0;margin:18px 0 0;list-style:none}}
.stations li{{position:relative;flex:1 1 130px;background:var(--panel);border:1px solid var(--line);border-radius:8px;
padding:9px 12px}}
.stations li:not(:last-child)::after{{content:"→";position:absolute;right:-22px;top:50%;transform:translateY(-50%);
color:var(--soft);font-size:1.1rem}}
.stations .kind{{display:block;color:var(--soft);font-size:.75rem;text-transform:uppercase;letter-spacing:.05em}}
.stations .part{{display:block;font-weight:600;overflow-wrap:anywhere}}
.scroll{{overflow-x:auto}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums}}
th,td{{padding:6px 14px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}}
th{{font-weight:600;font-size:.87rem;color:var(--soft)}}
th:first-child,td:first-child,th[scope=row]{{text-align:left}}
tbody th{{color:var(--text);font-size:inherit;font-weight:500}}
.group{{border-left:1px solid var(--line)}}
.paper{{color:var(--soft);font-style:italic}}
.best{{background:var(--best);color:var(--best-text);font-weight:700}}
dl{{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:3px 18px;margin:8px 0}}
dt{{color:var(--soft)}}
dd{{margin:0;overflow-wrap:anywhere}}
details{{margin:8px 0}}
summary{{cursor:pointer;color:var(--accent)}}
.legend{{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0 14px;padding:0;list-style:none;font-size:.87rem}}
.swatch{{display:inline-block;width:13px;height:13px;border-radius:3px;border:1px solid var(--line);margin-right:6px;
vertical-align:-2px}}
.hatch{{width:26px;background:repeating-linear-gradient(45deg,rgb{UNRELIABLE_COLOUR} 0 3px,#444 3px 5px)}}
.heat{{width:90px;background:linear-gradient(90deg,{','.join(f'rgb{c}' for c in HEAT_COLOURS)})}}
.bars{{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:16px 24px}}
.bars figure{{margin:0}}
.bars figcaption{{font-weight:600;font-size:.9rem}}
.bars svg{{display:block;width:100%;height:auto}}
.bars text{{fill:var(--text);font-size:10px}}
.curves{{display:flex;flex-wrap:wrap;gap:16px 24px}}
.curves figure{{margin:0;flex:0 1 640px}}
.curves figcaption{{font-weight:600;font-size:.9rem}}
.curves img{{display:block;max-width:100%;height:auto}}
.grid{{stroke:var(--line);stroke-width:1}}
.image{{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:10px 12px;margin:0 0 12px;
break-inside:avoid}}
.image h4{{margin:0 0 6px;font-size:.92rem;font-weight:600}}
.image h4 span{{font-weight:400;color:var(--soft);margin-left:10px}}
.panels{{display:grid;grid-template-columns:repeat(auto-fill,minmax(136px,1fr));gap:10px}}
.panels figure{{margin:0}}
.panels img{{display:block;width:100%;height:auto;border-radius:3px}}
.panels figcaption{{font-size:.8rem;color:var(--soft);margin-top:2px}}
@media (max-width:560px){{main{{padding:18px 12px}}.stations{{flex-direction:column;gap:22px}}
.stations li{{flex:none}}
.stations li:not(:last-child)::after{{content:"↓";right:50%;top:auto;bottom:-23px;transform:none}}
dl{{grid-template-columns:1fr}}dt{{margin-top:6px}}th,td{{padding:5px 8px}}}}
@media print{{:root{{--bg:#fff;--panel:#fff;--line:#bbb;--text:#000;--soft:#444;{_variables(_ROW_COLOURS)}}}
main{{max-width:none;padding:0}}*{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
.bars figure,.curves figure,tr,.stations li{{break-inside:avoid}}h2,h3{{break-after:avoid}}
.panels{{grid-template-columns:repeat(7,1fr)}}}}
"""


def page(title: str, body: str) -> str:
    """The whole HTML document.

    Args:
        title: Plain text, already escaped.
        body: HTML of the sections.
    """
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            '<meta http-equiv="Content-Security-Policy" '
            'content="default-src \'none\'; img-src data:; style-src \'unsafe-inline\'">'
            '<link rel="icon" href="data:,">'
            f'<title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n')

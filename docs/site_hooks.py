"""Hooks of the site (mkdocs.yml): the repository's pages under their own paths, and a reference from the docstrings.

Pages lie at the site as they do in the repository (``docs/data.md``, ``configs/cam/README.md``), so the same relative
link is right on both. What a page links to beyond pages, such as a config or a picture, is copied.

A finished site is looked through: every link inside it has a target, and no page fetches anything from elsewhere.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ('README.md', 'docs/**/*.md', 'configs/*/README.md', 'benchmarks/*.md', 'benchmarks/results/*.md',
         'examples/*.md')
# Pages of the reference: packages in the order in which a run passes them; the last is what all of them stand on.
REFERENCE = {
    'datasets': 'Data sets, transforms, samplers', 'models/backbones': 'Backbones', 'models/necks': 'Necks',
    'models/classifiers': 'Classifiers', 'models/heads': 'Pooling heads', 'models/objectives': 'Objectives',
    'models/affinity': 'Affinity networks', 'models/segmentors': 'Segmentors', 'models/decode_heads': 'Decode heads',
    'models/losses': 'Losses', 'models/data_preprocessor': 'Data preprocessor',
    'models/detection': 'Parts of detectors', 'localization': 'Localizers: class maps',
    'explainers': 'Explainers of detectors', 'refinement': 'Refiners: CRF, walks, proposals',
    'pseudo_labels': 'Label generators', 'engine': 'Hooks and stages', 'evaluation': 'Scores',
    'visualization': 'Reports and pictures', 'structures': 'What the stations hand on'}
# Tables without a heading, as scripts print them.
TABLES = {
    'dense_crf': 'The dense CRF', 'rib_region': "RIB's region", 'toy_bbam': 'Toy: BBAM', 'toy_boxes': 'Toy: boxes',
    'toy_classifier_maps': 'Toy: FickleNet, AdvCAM, RIB, W-OoD', 'toy_image_tags': 'Toy: GAIN, AEFT, VWE',
    'toy_image_tags_ablations': 'Toy: ablations of AEFT and VWE', 'toy_image_tags_resnet18': 'Toy: with a ResNet-18',
    'toy_image_tags_short': 'Toy: short trainings', 'toy_image_tags_world100': 'Toy: the world of the settings',
    'toy_mixed': 'Toy: mixed supervision', 'toy_ood': 'Toy: OoD images',
    'toy_refinement': 'Toy: CRF, PSA, IRN, SEC, DSRG',
    'toy_tags': "Toy: boxes' methods on tags' images", 'walk_ceiling': 'Toy: what holds back the walk'}
_LINK = re.compile(r'\]\(([^)#\s]+)')


def on_config(config: Any) -> Any:
    """Fill the navigation's entries that have a star; leave out pages that are not there."""
    config.nav = [entry for entry in map(_filled, config.nav) if entry]
    return config


def _filled(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {title: [x for child in inside for x in _several(child)] for title, inside in entry.items()}
    return entry


def _several(child: Any) -> list[Any]:
    if isinstance(child, dict):
        return [_filled(child)]
    if child.startswith('reference/'):
        return [f'reference/{package}.md' for package in REFERENCE]
    names = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(child))
    if '*' in child:
        names = [name for name in names if name != 'benchmarks/results/all_methods.md']   # it has a place of its own
    return [{TABLES[Path(name).stem]: name} if Path(name).stem in TABLES else name for name in names]


def on_files(files: Files, config: Any) -> Files:
    """The repository's pages in the place of the files below ``docs``, what they link to, and the reference."""
    own = Files([f for f in files if ROOT / 'docs' not in Path(f.abs_src_path or '/').parents])   # the theme's
    pages = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
    linked = {target for page in pages for target in _linked(page)} - set(pages)
    for path in [*pages, *sorted(linked), ROOT / 'docs/site.css']:
        own.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for package, title in REFERENCE.items():
        text = f'# {title}\n\n`wsss_mm.{package.replace("/", ".")}`\n\n' + '\n'.join(_reference(package))
        own.append(File.generated(config, f'reference/{package}.md', content=text))
    return own


def _linked(page: Path) -> Iterator[Path]:
    """Files of the repository that a page links to."""
    for link in _LINK.findall(page.read_text()):
        target = (page.parent / link).resolve() if '://' not in link else None
        if target and target.is_file() and ROOT in target.parents:
            yield target


def _reference(package: str) -> Iterator[str]:
    """The mkdocstrings directives of a package: registered parts, and what it and the packages around it export."""
    path = ROOT / 'wsss_mm' / package
    for module in sorted(path.rglob('*.py')) or [path.with_suffix('.py')]:
        name = '.'.join(module.relative_to(ROOT).with_suffix('').parts)
        exported = _exports(module.parent / '__init__.py')
        for node in ast.parse(module.read_text()).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith('_'):
                continue
            if node.name in exported or any('register_module' in ast.unparse(d) for d in node.decorator_list):
                yield f'::: {name}.{node.name}\n'


def _exports(init: Path) -> set[str]:
    """Names in the ``__all__`` of a package and of the packages that it lies in."""
    names: set[str] = set()
    while init.is_file() and init.parent != ROOT / 'wsss_mm':
        lists = re.findall(r'__all__ \+?= \[(.*?)\]', init.read_text(), re.DOTALL)
        names |= set(re.findall(r"'(\w+)'", ' '.join(lists)))
        init = init.parent.parent / '__init__.py'
    return names


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Marks behind a fence's language, as ``no-run``, are for the tests of the tutorials."""
    return re.sub(r'^```(bash|python)[ \t]+no-run[ \t]*$', r'```\1', markdown, flags=re.MULTILINE)


def on_page_content(html: str, **_: Any) -> str:
    """References of the docstrings, as ``:class:`Name```, become the name alone; a line of ``::`` before code goes."""
    html = html.replace('<p>::</p>', '')
    return re.sub(r':(?:class|func|meth|mod|data|attr):<code>~?([^<]+)</code>', r'<code>\1</code>', html)


class _Page(HTMLParser):
    """What a page links to, what it fetches, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {k: v or '' for k, v in attrs}
        self.anchors |= {found[k] for k in ('id', 'name') if k in found}
        if tag == 'a' and 'href' in found:
            self.links.add(found['href'])
        elif tag in ('img', 'script', 'iframe', 'link', 'source') and found.get('rel') != 'canonical':
            self.fetched |= {found[k] for k in ('src', 'href') if k in found}


def on_post_build(config: Any) -> None:
    """Look through the site."""
    site = Path(config.site_dir)
    pages = {path: _Page(path.read_text()) for path in site.rglob('*.html')}
    wrong = []
    for path, page in pages.items():
        wrong += [f'{path.relative_to(site)} fetches {x}' for x in page.fetched if re.match(r'(https?:)?//', x)]
        for link in sorted(page.links | page.fetched):
            if re.match(r'\w+:|//', link) or path.name == '404.html':   # 404 is served from anywhere: absolute links
                continue
            name, _, anchor = unquote(link).partition('#')
            target = (path.parent / name).resolve() if name else path
            target = target / 'index.html' if target.is_dir() else target
            if not target.is_file() or anchor and target in pages and anchor not in pages[target].anchors:
                wrong.append(f'{path.relative_to(site)} links to {link}, which is not there')
    if wrong:
        raise PluginError('\n'.join(wrong))

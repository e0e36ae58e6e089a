"""The site: every page has a place in it, and it builds where its environment is (`make docs`)."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
MKDOCS = ROOT / '.venv-docs/bin/mkdocs'


def entries(nav):
    """All pages and patterns of a navigation."""
    for entry in nav:
        if isinstance(entry, dict):
            for inside in entry.values():
                yield from entries(inside)
        else:
            yield entry


def test_every_page_is_in_the_navigation_and_in_the_index():
    nav = list(entries(yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav']))
    reached = {path for pattern in nav if not pattern.startswith('reference/') for path in ROOT.glob(pattern)}
    assert not set(ROOT.glob('docs/**/*.md')) - reached
    index = (ROOT / 'docs/README.md').read_text()
    pages = [p.relative_to(ROOT / 'docs').as_posix() for p in ROOT.glob('docs/**/*.md') if p.name != 'README.md']
    assert not [page for page in pages if f']({page})' not in index]


@pytest.mark.skipif(not MKDOCS.is_file(), reason='make docs sets up the environment of the site')
def test_it_builds_without_warnings_and_fetches_nothing(tmp_path):
    done = subprocess.run([MKDOCS, 'build', '--strict', '--quiet', '--site-dir', tmp_path / 'site'], cwd=ROOT,
                          env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    headings = ' '.join(page.read_text() for page in (tmp_path / 'site/reference').rglob('*.html'))
    parts = [name for path in ROOT.glob('wsss_mm/**/*.py')
             for name in re.findall(r'register_module\([^)]*\)\nclass (\w+)', path.read_text())]
    assert len(parts) > 90
    assert not [name for name in parts if f'.{name}" class="doc doc-heading"' not in headings]
    assert (tmp_path / 'site/search/search_index.json').is_file()

"""docs/tutorials: whoever follows a page word for word gets what it promises. Blocks marked no-run are shown only."""

import pytest
from tutorials import ROOT, Block, blocks, follow, lay_out

PAGES = ROOT / 'docs/tutorials'
# What each page's commands have to have said, beyond ending well.
SAYS = dict(
    boxes=('[2/', '40 new, 0 kept', 'boxes filled', 'mIoU'),
    tags=('20 new, 0 kept', 'mean', 'mIoU'),
    your_own_head=('average, maximum and gradients are right', '20 new, 0 kept', 'mIoU'),
    clip_sam_seeds=('20 new, 0 kept', 'mIoU'),
    explain_a_detector=('"status"', '(96, 96)'))

PAGE = '''# A page
```python
# made/here.py
VALUE = 3
```
```bash
cat made/here.py
python -c "import sys; sys.path.insert(0, 'made'); import here; print(here.VALUE + 1)"
```
```bash no-run
exit 1
```
```text
exit 1
```
```python
import pathlib
print(pathlib.Path('made/here.py').stat().st_size)
```
'''


def test_blocks_are_taken_in_order(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(PAGE)
    assert [(b.language, b.file, b.run, b.line) for b in blocks(page)] == [
        ('python', 'made/here.py', True, 3), ('bash', None, True, 7), ('bash', None, False, 11),
        ('python', None, True, 17)]
    assert follow(page, tmp_path) == {7: '# made/here.py\nVALUE = 3\n4\n', 17: '25\n'}


def test_a_failing_command_is_named_by_page_and_line(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('```bash\nls nothing_here\necho not reached\n```\n')
    with pytest.raises(AssertionError, match=r'page\.md:2: exit code 2\n(?s:.*)nothing_here'):
        follow(page, tmp_path)
    page.write_text('```bash\nsleep 60\n```\n')
    with pytest.raises(AssertionError, match='page.md:2: not finished after 1 s'):
        follow(page, tmp_path, timeout=1)


def test_an_unknown_mark_is_refused(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('```bash norun\nls\n```\n')
    with pytest.raises(ValueError, match="page.md:2: mark 'norun'"):
        blocks(page)


def test_only_python_blocks_name_files():
    assert Block('bash', '# a.py\nls\n', 1).file is None
    assert Block('python', 'import a\n# a.py\n', 1).file is None
    assert Block('python', '# configs/my_data/a-b.py\n', 1).file == 'configs/my_data/a-b.py'


def test_your_own_head_is_as_short_as_its_title_says():
    head = next(b for b in blocks(PAGES / 'your_own_head.md') if b.file == 'my_parts.py')
    assert len(head.text.splitlines()) <= 30


@pytest.mark.parametrize('page', sorted(p.stem for p in PAGES.glob('*.md') if p.stem != 'own_data'))
def test_the_page_word_for_word(page, tmp_path):
    """own_data.md has tests of its own."""
    if page == 'explain_a_detector':
        pytest.importorskip('mmdet')
    lay_out(tmp_path)
    printed = list(follow(PAGES / f'{page}.md', tmp_path).values())
    for said in SAYS[page]:
        assert any(said in text for text in printed), said

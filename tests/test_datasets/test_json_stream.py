"""Lists of a JSON file, element by element: the same as json.load, with windows of any size."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_mm.datasets import json_stream
from wsss_mm.datasets.json_stream import stream_lists

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4), max_leaves=12)


def read(path, names, hook=None):
    found = {name: [] for name in names}
    stream_lists(path, {name: entries.append for name, entries in found.items()}, hook)
    return found


@settings(deadline=None, max_examples=60)
@given(content=st.dictionaries(st.text(max_size=5), VALUES, max_size=4), lists=st.lists(VALUES, max_size=4),
       window=st.integers(1, 40), indent=st.sampled_from([None, 1]), ascii=st.booleans())
def test_as_json_load(tmp_path_factory, content, lists, window, indent, ascii):
    path = tmp_path_factory.mktemp('json') / 'x.json'
    content = {**content, 'wanted': lists}
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii), encoding='utf-8')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, '_CHUNK', window)
        assert read(path, ['wanted']) == dict(wanted=lists)


def test_hook_and_unwanted_members(tmp_path):
    path = tmp_path / 'x.json'
    path.write_text('{"a": [{"x": 1}, {"x": {"x": 2}}], "n": 12, "b": [3, 4.5], "c": {"d": [1]}} \n')
    assert read(path, ['a', 'b'], lambda node: node.get('x')) == dict(a=[1, 2], b=[3, 4.5])


@pytest.mark.parametrize('text, error', [
    ('{"a": [1, 2', ValueError), ('{"a": [1, 2]', ValueError), ('{"a": [1, 2]} x', ValueError), ('', ValueError),
    ('{"a": [1 2]}', ValueError), ('{"a": [1, 2,]}', ValueError), ('{"a": [,1]}', ValueError),
    ('{"a" [1]}', ValueError), ('{"a": [1], }', ValueError), ('{"a": [1] "b": 2}', ValueError),
    ('{"a": [tru]}', ValueError), ('{"b": [1]}', KeyError),
    ('{"a": {"b": 1}}', TypeError), ('[1, 2]', TypeError), ('{"a": 12', ValueError)])
def test_what_is_no_such_file(tmp_path, text, error):
    path = tmp_path / 'x.json'
    path.write_text(text)
    with pytest.raises(error) as info:
        read(path, ['a'] if text != '{"a": 12' else [])
    assert error is ValueError or not isinstance(info.value, ValueError)


def test_text_in_memory_is_a_window(tmp_path, monkeypatch):
    path, longest = tmp_path / 'x.json', 0
    path.write_text(json.dumps(dict(a=[dict(n=n, outline=[.5] * 50) for n in range(2000)])))
    monkeypatch.setattr(json_stream, '_CHUNK', 1000)
    fill = json_stream._Reader.fill

    def watch(self, *args):
        nonlocal longest
        fill(self, *args)
        longest = max(longest, len(self.text))
    monkeypatch.setattr(json_stream._Reader, 'fill', watch)
    assert [x['n'] for x in read(path, ['a'])['a']] == list(range(2000))
    assert longest < 3000 < path.stat().st_size / 100

"""``python -m wsss_mm``: the tools without their folder."""

import subprocess
import sys


def call(*arguments, cwd):
    return subprocess.run([sys.executable, '-m', 'wsss_mm', *arguments], capture_output=True, text=True, cwd=cwd)


def test_a_tool_runs_from_any_folder(tmp_path):
    found = call('prepare_dataset', 'check', '--root', 'nowhere', cwd=tmp_path)
    assert found.returncode == 1
    assert 'nowhere/JPEGImages is missing' in found.stdout


def test_an_unknown_tool_is_refused_with_the_list(tmp_path):
    found = call('trian', cwd=tmp_path)
    assert found.returncode == 2
    assert "no tool 'trian'" in found.stderr and 'train' in found.stderr.split('tools:')[1]

"""docs/tutorials/own_data.md word for word: from a folder of pictures and a CSV to a trained DeepLab and its report."""

import json

import numpy as np
import pytest
from PIL import Image
from tutorials import ROOT, blocks, follow

PAGE = ROOT / 'docs/tutorials/own_data.md'


@pytest.fixture(scope='module')
def reader(tmp_path_factory):
    """The reader's folder, empty at first, and what the commands printed."""
    folder = tmp_path_factory.mktemp('reader')
    return folder, '\n'.join(follow(PAGE, folder, timeout=1200).values())


def test_the_reader_gets_a_segmentor_and_a_report(reader):
    folder, printed = reader
    work = folder / 'work_dirs/project'
    assert (work / 'tags_deeplab/final.pth').is_file()
    scores = json.loads((work / 'tags_deeplab/report/scores.json').read_text())
    assert set(scores) == {'pseudo labels', 'DeepLab-V2'} and all(s['val'] for s in scores.values())
    page = (work / 'tags_deeplab/report/report.html').read_text()
    assert 'DeepLab-V2 from tags' in page and 'data:image' in page
    predictions = sorted((work / 'tags_predictions/labels').glob('*.png'))
    assert len(predictions) == 60 and predictions[0].stem == 'at_home__IMG_0001'
    with Image.open(predictions[0]) as label:
        assert label.size == (96, 96) and np.array(label).max() <= 6


def test_what_the_commands_say(reader):
    folder, printed = reader
    assert 'pictures in file, tags in tags' in printed and '48 to train on, 12 to validate on' in printed
    assert '[5/7] train data/project/configs/tags_deeplab.py: not trained yet' in printed
    assert (folder / 'data/project.html').is_file()
    assert 'boxes_deeplab.py' in printed


def test_the_earnest_commands_are_the_tried_ones():
    """The block that is only shown differs from the tried one by its folder and --iterations alone."""
    def lines(block):
        return {' '.join(line.split()) for line in block.text.replace('\\\n', ' ').splitlines()}
    tried = {line.replace('data/project', 'data/earnest').replace(' --iterations 20', '')
             for block in blocks(PAGE) if block.run for line in lines(block)}
    shown, = (block for block in blocks(PAGE) if not block.run)
    assert lines(shown) <= tried

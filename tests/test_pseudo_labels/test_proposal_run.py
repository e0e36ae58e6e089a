"""Proposals of a data set: written once, made anew where broken, read back as they were."""

import pytest

from wsss_mm.datasets.label_readers import find_image, read_image
from wsss_mm.engine.stages import load_config
from wsss_mm.errors import ConfigError
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.refinement import HierarchyProposals, MaskProposals

pytest.importorskip('skimage')


@pytest.fixture
def config(tmp_path, write_config, toy_root):
    def write(name, segments=60):
        return load_config(write_config(tmp_path / f'{name}.py', 'proposals/hierarchy_toy.py', f"""
pseudo_labels = dict(out_dir='{tmp_path}/{name}', num_workers=0, dataset=dict(data_root='{toy_root}'),
                     generator=dict(proposals=dict(segments={segments})))"""))
    return write


def test_run_is_resumed_and_read_back(tmp_path, config, contents, toy_root):
    assert LabellingRun(config('a')).run()['labelled'] == 12
    made = contents(tmp_path / 'a/proposals')
    one = tmp_path / 'a/proposals' / sorted(made)[3]
    one.write_bytes(b'broken')
    assert LabellingRun(config('a')).run()['labelled'] == 1
    assert contents(tmp_path / 'a/proposals') == made
    image = read_image(find_image(toy_root / 'JPEGImages', one.stem))
    reader = MaskProposals(str(tmp_path / 'a/proposals'))
    assert reader(one.stem, image).to_bytes() == made[one.name] == \
        HierarchyProposals(segments=60)(one.stem, image).to_bytes()
    assert len(reader.fingerprint()['proposals']) == 16


def test_other_settings_are_refused(config):
    LabellingRun(config('a')).run()
    with pytest.raises(ConfigError, match='other settings; changed: '):
        LabellingRun(config('a', segments=61))

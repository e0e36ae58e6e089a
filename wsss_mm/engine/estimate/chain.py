"""How long a chain of stages will take and how much disk, from a small sample of each."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from wsss_mm import files
from wsss_mm.datasets.toy_voc import draw_patches
from wsss_mm.datasets.toy_voc.profiles import image_counts
from wsss_mm.engine import stages as chain
from wsss_mm.engine.estimate import configs
from wsss_mm.engine.estimate.lists import PUBLIC_COUNTS, choose, ids_of, list_files, public_count, reduced, split_of
from wsss_mm.engine.estimate.overlay import Overlay
from wsss_mm.engine.estimate.processes import run_capped
from wsss_mm.engine.estimate.samples import (
    START,
    Estimate,
    blocks,
    sample_labelling,
    sample_tool,
    sample_training,
    write_config,
)
from wsss_mm.engine.estimate.synthetic import SIZES, stand_in, stand_in_labels
from wsss_mm.engine.stages import Stage
from wsss_mm.errors import ConfigError, DataError

_LEAST = 5.   # seconds of one sample
_PATCHES, _PATCHES_DRAWN = 2700, 60


class ChainEstimate:
    """Estimates of all stages of a chain; nothing is written outside a temporary folder.

    Stages run in their order on a few images of the data, each by its own tool, with a config of the same parts; what
    one makes of these images, the next one reads. Data that are not here are drawn (:mod:`.synthetic`).

    Args:
        stages: As :func:`wsss_mm.engine.stages.in_order` gives them.
        tools: The folder of the command-line tools.
        sample: Images that count; as many as fill the labelling queue come on top.
        budget: Seconds for all samples together; the start of their processes comes on top.
        given: Configs that were changed on the command line, by stage.
        options: Further arguments of a stage's tool, by stage.
        report: Config of a report that follows the stages.
        say: Takes lines of progress.

    Raises:
        ConfigError: ``sample`` or ``budget`` too small, or a stage is complete with other settings.
    """

    def __init__(self, stages: Sequence[Stage], tools: Path, sample: int = 8, budget: float = 120.,
                 given: Mapping[Stage, Config] | None = None, options: Mapping[Stage, Sequence[str]] | None = None,
                 report: Config | None = None, say: Callable[[str], None] = lambda line: None) -> None:
        if sample < 1 or budget < _LEAST:
            raise ConfigError(f'an estimate of {sample} images in {budget:g} s',
                              expected=f'at least one image, and {_LEAST:g} s')
        self.stages, self.tools, self.budget, self.say = list(stages), tools, budget, say
        self.options, self.report = dict(options or {}), report
        self.configs = {s: chain.load_config(s.config) for s in self.stages if s.config} | dict(given or {})
        self.states = {s: 'settings of the command line' if s in (given or {}) else _state_of(s) for s in self.stages}
        self.todo = [s for s in self.stages if self.states[s] != 'complete']
        self.missing = {dict(s.data)['root']: dict(s.data)['kind'] for s in self.todo
                        if s.run == 'data' and dict(s.data)['kind'] in PUBLIC_COUNTS}
        labelling = [self.configs[s].pseudo_labels for s in self.todo if s.run == 'labels']
        # The queue of a labelling run takes so many more before its pace shows, and as many at its end.
        self.images = sample + 2 * max((2 * p.get('num_workers', 2) + 2 for p in labelling), default=0)
        self.failed: dict[str, str] = {}   # folders that a sample should have filled, and its stage

    def run(self) -> list[Estimate]:
        """Measure and compute; one estimate per stage, in their order, and one of the report."""
        root = Path(tempfile.mkdtemp(prefix='wsss_mm-estimate-'))
        self.overlay = Overlay(root)
        try:
            self._show()
            each = self.budget / max(1, len(self.todo) + bool(self.report))
            found = [self._estimate(stage, each) for stage in self.stages]
            return found + ([self._of_report(each)] if self.report is not None else [])
        finally:
            self.overlay.remove()

    # ---- what the samples see

    def _show(self) -> None:
        """Link what is there, draw what is not, put short lists in the place of the long ones."""
        shown = [self.configs[s] for s in self.todo if s.config] + ([self.report] if self.report else [])
        outputs = [os.path.abspath(o) for s in self.todo for o in self._outputs(s)]
        for text in sorted(set().union(*(configs.strings(c.to_dict()) for c in shown)) if shown else ()):
            path = os.path.abspath(text)
            if '/' in text and '\n' not in text and not any(_is_below(path, o) for o in outputs):
                self.overlay.link(text)
        for stage in self.stages:
            if self.states[stage] == 'complete':
                for output in self._outputs(stage):
                    self.overlay.link(Path(output) / 'final.pth' if stage.run == 'train' else output)
                    if stage.run == 'labels':
                        self.overlay.open(output)
        for output in outputs:
            if not _is_toy(output, self.todo):
                self.overlay.folder(output)
        for row in (self.report.report.get('rows') or ()) if self.report else ():
            for name in ('labels', 'maps'):   # a report keeps its scores beside them
                if row.get(name):
                    self.overlay.open(Path(row[name]).parent)
        lists = {p: ids_of(p) for cfg in shown for p in list_files(cfg.to_dict())
                 if not any(_is_below(os.path.abspath(p), o) for o in outputs)}
        self.lists = lists
        self.drawn: set[str] = set()
        for root, kind in self.missing.items():
            self.say(f'{root} is not there: {2 * self.images} drawn images of {SIZES[kind][1]} x {SIZES[kind][0]} '
                     'stand in')
            self.drawn |= stand_in(self.overlay, kind, root, lists, self.images)
        self.keep = choose(lists.values(), self.images)
        for stage in self.stages:   # every list of a root that COCO files are written of
            if stage.run == 'data' and dict(stage.data)['kind'] == 'instances' and stage in self.todo:
                for own in Path(dict(stage.data)['root']).glob('ImageSets/Segmentation/*.txt'):
                    lists.setdefault(str(own), ids_of(own))
        for path, ids in lists.items():
            if ids:
                self.overlay.write(path, reduced(path, self.keep))

    def _outputs(self, stage: Stage) -> list[str]:
        if stage.run == 'data':
            data = dict(stage.data)
            if data['kind'] in PUBLIC_COUNTS:
                return []
            return [data['root'] + ('/annotations' if data['kind'] == 'instances' else '')]
        cfg = self.configs[stage]
        if stage.run == 'labels':
            return [cfg.pseudo_labels.out_dir]
        return [cfg.work_dir] if stage.run == 'train' else [str(Path(dict(stage.data)['out']).parent)]

    def _count(self, node: Any) -> int | None:
        """Images of all lists that a config's part names."""
        paths = list(dict.fromkeys(list_files(node)))
        known = [self.lists.get(p) or [] for p in paths]
        if paths and all(known):
            return len(set().union(*known))
        for stage in self.stages:
            if stage.run != 'data':
                continue
            data = dict(stage.data)
            mine = [p for p in paths if _is_below(os.path.abspath(p), os.path.abspath(data['root']))]
            if not mine or len(mine) < len(paths):
                continue
            if data['kind'] == 'toy':
                counts, names = image_counts(data['profile']), map(split_of, mine)
                found = [counts.get(n) if n != 'train_masks' else -(-counts['train'] // 7) for n in names]
                return sum(v for v in found if v is not None) if None not in found else None
            if data['kind'] in PUBLIC_COUNTS:
                return public_count(data['kind'], mine)
        made = [self._made_of(p) for p in paths]
        return sum(v for v in made if v is not None) if made and None not in made else None

    def _made_of(self, path: str) -> int | None:
        """Images of a list that a labelling run of the chain writes."""
        for stage in self.stages:
            if stage.run == 'labels' and _is_below(os.path.abspath(path),
                                                   os.path.abspath(self.configs[stage].pseudo_labels.out_dir)):
                return self._count(self.configs[stage].pseudo_labels.to_dict())
        return None

    def _chosen(self, node: Any) -> int:
        """Images of the same lists in the sample."""
        return len({i for p in list_files(node) for i in ids_of(self.overlay.inside(p))})

    # ---- stages

    def _estimate(self, stage: Stage, seconds: float) -> Estimate:
        found = Estimate(stage.key, self.states[stage], folder=next(iter(self._outputs(stage)), ''))
        if found.state == 'complete':
            found.seconds, found.disk = 0., 0
            return found
        if stage.run == 'data' and dict(stage.data)['kind'] in PUBLIC_COUNTS:
            found.state = 'data missing'
            found.folder = dict(stage.data)['root']
            found.notes.append('to be fetched; its size is not known here')
            return found
        if not all(self.overlay.is_own(o) for o in self._outputs(stage)):
            found.notes.append('not measured: its folder is a link')
            return found
        self.say(f'[{self.stages.index(stage) + 1}/{len(self.stages)}] {stage.key}: '
                 f'a sample of {seconds:.0f} s at most')
        try:
            dict(data=self._of_data, train=self._of_training, labels=self._of_labels,
                 trace=self._of_trace)[stage.run](stage, found, seconds)
        except (DataError, OSError) as error:
            found.notes.append(f'not measured: {error}'.splitlines()[0])
        return found

    def _of_training(self, stage: Stage, found: Estimate, seconds: float) -> None:
        cfg = self.configs[stage]
        parts = {name: cfg.to_dict().get(f'{name}_dataloader') or {} for name in ('train', 'val')}
        needed = self._missing_input(parts['train'], stage)
        if stand_in_labels(self.overlay, parts['train'], ids_of):
            found.notes.append('drawn label maps stand in for those that are not there')
        elif needed:
            found.notes.append(f'unknown: needs what {needed} makes, whose sample gave nothing')
            return
        line = chain.command(stage, self.tools)[:2] + list(self.options.get(stage, ()))
        sample_training(found, line, cfg, self.overlay, seconds, {k: self._count(v) for k, v in parts.items()},
                        {k: self._chosen(v) for k, v in parts.items()})

    def _of_labels(self, stage: Stage, found: Estimate, seconds: float) -> None:
        cfg = self.configs[stage]
        line = chain.command(stage, self.tools)[:2]
        if needed := self._missing_input(cfg.pseudo_labels.to_dict(), stage):
            self.failed[os.path.abspath(cfg.pseudo_labels.out_dir)] = stage.key
            found.notes.append(f'unknown: needs what {needed} makes, whose sample gave nothing')
            return
        node = cfg.pseudo_labels.dataset.to_dict()
        chosen, count = self._chosen(node), self._count(node)
        listed = {i for p in list_files(node) for i in ids_of(self.overlay.inside(p))}
        done = sample_labelling(found, line, cfg, self.overlay, seconds, count, chosen)
        if not done:
            shutil.rmtree(self.overlay.inside(cfg.pseudo_labels.out_dir), ignore_errors=True)
            self.failed[os.path.abspath(cfg.pseudo_labels.out_dir)] = stage.key
        run = self.overlay.inside(Path(cfg.pseudo_labels.out_dir) / 'run.json')
        if done and not (files.read_json(run) or {}).get('complete'):
            # The stages after it read what there is: their lists are shortened, and this run is finished on them.
            self._shorten(listed - done)
            config = write_config(self.overlay, configs.of_labelling(cfg, self.overlay, chosen))
            run_capped([*line, config], self.overlay.cwd, self.overlay.cwd / 'log.txt', START)

    def _missing_input(self, node: Any, stage: Stage) -> str | None:
        """The stage before that should have made what a config's part reads."""
        for text in configs.strings(node):
            for folder, name in self.failed.items():
                if '/' in text and name != stage.key and _is_below(os.path.abspath(text), folder):
                    return name
        return None

    def _shorten(self, without: set[str]) -> None:
        paths = {p for s in self.stages if s.config for p in list_files(self.configs[s].to_dict())}
        for path in paths:
            own = self.overlay.inside(path)
            ids = ids_of(own)
            if not without.isdisjoint(ids):
                self.overlay.write(path, reduced(own, set(ids) - without))

    def _of_data(self, stage: Stage, found: Estimate, seconds: float) -> None:
        data = dict(stage.data)
        root = self.overlay.inside(data['root'])
        if data['kind'] == 'patches':
            self._draw_patches(data, found)
            return
        line = chain.command(stage, self.tools)
        line[line.index('--root') + 1] = str(root)
        scale = 1.
        if data['kind'] == 'toy':
            counts, named = image_counts(data['profile']), set(map(split_of, self.lists))
            drawn = {k: min(self.images if k in named or k == 'train' else 1, v) for k, v in counts.items()}
            line += ['--counts', *(f'{k}={v}' for k, v in drawn.items())]
            scale = sum(counts.values()) / sum(drawn.values())
        else:
            paths = list(Path(root).glob('ImageSets/Segmentation/*.txt'))
            known = [self._lists_of(data['root'], p.name) for p in paths]
            scale = sum(known) / max(1, sum(len(ids_of(p)) for p in paths))
        sample_tool(found, line, self.overlay, seconds, scale)
        folder = root / 'annotations' if data['kind'] == 'instances' else root
        lists = _size(folder / 'ImageSets')   # many small files, whose number does not grow
        found.disk = int(scale * (_size(folder) - lists) + lists)

    def _lists_of(self, root: str, name: str) -> int:
        path = f'{root}/ImageSets/Segmentation/{name}'
        return self._count(dict(ann_file=path)) or len(ids_of(self.overlay.inside(path)))

    def _draw_patches(self, data: Mapping[str, Any], found: Estimate) -> None:
        start = time.monotonic()
        root = self.overlay.inside(data['root'])
        shutil.rmtree(root, ignore_errors=True)
        draw_patches(root, data['profile'], data.get('seed', 0), _PATCHES_DRAWN)
        found.figures.update(scale=_PATCHES / _PATCHES_DRAWN)
        found.seconds = (time.monotonic() - start) * _PATCHES / _PATCHES_DRAWN
        found.disk = int(_size(root) * _PATCHES / _PATCHES_DRAWN)

    def _of_trace(self, stage: Stage, found: Estimate, seconds: float) -> None:
        cfg, data = self.configs[stage], dict(stage.data)
        node = cfg.pseudo_labels.dataset.to_dict()
        if data.get('split'):
            node['ann_file'] = data['split']
        images = min(data.get('images') or 10 ** 9, self._count(node) or 10 ** 9)
        chosen = max(1, min(images, self._chosen(node)))
        line = chain.command(stage, self.tools)
        line[2] = write_config(self.overlay, configs.of_tool(cfg, self.overlay, self.images))
        line[line.index('--out') + 1] = str(self.overlay.inside(data['out']))
        sample_tool(found, [*line, '--images', str(chosen)], self.overlay, seconds, images / chosen)
        found.disk = 0   # a table and a plot

    def _of_report(self, seconds: float) -> Estimate:
        assert self.report is not None
        cfg = self.report.report
        found = Estimate('report', 'made last', folder=cfg.out_dir, disk=0)
        self.say('report: a sample')
        lists = dict(data_root=cfg.get('data_root', ''), ann_file=list(cfg.get('splits', {}).values()))
        count, chosen = self._count(lists), self._chosen(lists)
        if not chosen:
            found.notes.append('not measured: no image was labelled')
            return found
        config = write_config(self.overlay, configs.of_tool(self.report, self.overlay, self.images))
        line = [sys.executable, str(self.tools / 'report.py'), config, '--out', str(self.overlay.inside(cfg.out_dir))]
        sample_tool(found, line, self.overlay, seconds, (count or chosen) / chosen)
        found.disk = _size(self.overlay.inside(cfg.out_dir))
        return found


def _state_of(stage: Stage) -> str:
    try:
        return chain.why_incomplete(stage) or 'complete'
    except DataError as error:
        return error.problem


def _is_below(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _is_toy(output: str, todo: Sequence[Stage]) -> bool:
    """Whether a folder is drawn by a stage that wants to make it itself."""
    return any(s.run == 'data' and dict(s.data)['kind'] in ('toy', 'patches')
               and os.path.abspath(dict(s.data)['root']) == output for s in todo)


def _size(folder: Path) -> int:
    return sum(blocks(p.stat().st_size) for p in folder.rglob('*') if p.is_file())

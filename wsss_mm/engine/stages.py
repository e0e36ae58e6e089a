"""The stage chain: what a config needs, what of it is complete, and running the rest.

Each stage is a process of its own (mmengine's singletons do not survive a second Runner in one process), started
with the same tools a user would call, so a chain can be followed and repeated by hand.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from wsss_mm import files
from wsss_mm.config_hash import digest, plain, settings_of
from wsss_mm.distributed import in_processes
from wsss_mm.errors import ConfigError, DataError, WSSSError
from wsss_mm.registry import TASK_UTILS

_ROOT = Path(__file__).resolve().parents[2]
_TRAINING_KEYS = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'randomness',
                  'load_from', 'custom_hooks')
_HOOKS_AFTERWARDS = {'StageHook', 'PseudoLabelHook'}   # which change no weight
_TRACE_FIELDS = {'out', 'images', 'split', 'name', 'title', 'variant'}
# What a data folder holds once it is complete.
_MARKERS = dict(toy='toy_voc.json', patches='patches.json', voc='ImageSets', coco='ImageSets',
                coco17='train2017', instances='annotations/prepared.json', custom='dataset.json')
# Data that nobody draws: what is said where they are missing, and what should be there.
_FETCHED = dict(
    voc=('PASCAL VOC 2012 is not there',
         'JPEGImages, Annotations, SegmentationClass, SegmentationClassAug and ImageSets below it'),
    coco=('COCO 2014 is not there', 'train2014, val2014, SegmentationClass, image_tags.json and ImageSets below it'),
    coco17=('COCO 2017 is not there', 'train2017, val2017 and annotations/instances_{train,val}2017.json below it'))
_PREPARED_BY = dict(coco17='coco --year 2017')


@dataclass(frozen=True)
class Stage:
    """One step of a chain.

    Attributes:
        run: ``data`` (toy drawn, or VOC or COCO checked to be there), ``train``, ``labels`` or ``trace`` (scores of
            class maps step by step, for a report).
        config: The stage's config file (all but ``data``).
        data: The stage's own fields. ``data``: ``kind`` (toy | patches | voc | coco | coco17 | instances | custom),
            ``root`` and, where drawn, ``profile`` and ``seed``; ``instances`` are COCO files of a folder in VOC's
            layout, with ``sbd`` where SBD lies. ``trace``: ``out``, and options of ``tools/trace.py``: ``images``,
            ``split``, ``name``, ``title``, ``variant`` (one or several).
    """

    run: str
    config: str = ''
    data: tuple[tuple[str, Any], ...] = field(default=())

    @property
    def key(self) -> str:
        """Name of the stage in messages and records."""
        if self.run == 'trace':
            return f'trace {dict(self.data)["out"]}'
        data = dict(self.data)
        if data.get('kind') == 'instances':   # in the folder of another data stage
            return f'instances of {data["root"]}'
        return f'{self.run} {self.config or data["root"]}'


def find_config(path: str | Path) -> Path:
    """A config file, looked up from the working directory, then from the package's root.

    Raises:
        ConfigError: not there.
    """
    shipped = [_ROOT, _ROOT / 'wsss_mm/.mim']   # a checkout's, an installed package's
    for base in (Path(), *shipped):
        if (base / path).is_file():
            return base / path
    there = next((base / 'configs' for base in shipped if (base / 'configs').is_dir()), Path('configs'))
    below = ' or '.join(dict.fromkeys([str(Path.cwd()), str(there.parent)]))
    raise ConfigError('no such config', file=path, expected=f'a file below {below}', fix=f'ls {there}/*/')


def load_config(path: str | Path) -> Config:
    """Read a config with its work dir filled in as mmengine's tools do.

    Raises:
        ConfigError: it, or a file that it inherits, is not there or is no Python.
    """
    found, before = find_config(path), logging.root.manager.disable
    logging.disable(logging.INFO)   # mmengine announces every environment variable of every file, once per reading
    try:
        cfg = Config.fromfile(found)
    except (SyntaxError, FileNotFoundError) as error:
        raise ConfigError(f'not readable as a config ({error})', file=path,
                          expected='Python text whose _base_ files are there') from None
    finally:
        logging.disable(before)
    if not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    return cfg


def training_settings(cfg: Mapping[str, Any]) -> dict[str, str]:
    """Hash per config part that decides a trained network.

    Of ``custom_hooks``, which may average weights or set some, those count that do not only act on the finished
    network. Mixed precision counts as how it is computed, not as what. A resumed training's ``load_from`` is the
    checkpoint it went on from, which decides nothing.
    """
    decisive = {k: cfg[k] for k in _TRAINING_KEYS if k in cfg and not (k == 'load_from' and cfg.get('resume'))}
    wrapper = decisive.get('optim_wrapper') or {}
    if wrapper.get('type') == 'AmpOptimWrapper':
        plain_wrapper = {k: v for k, v in wrapper.items() if k not in ('loss_scale', 'dtype')}
        decisive['optim_wrapper'] = plain_wrapper | dict(type='OptimWrapper')
    if hooks := [hook for hook in decisive.pop('custom_hooks', None) or []
                 if plain(hook.get('type')).rpartition('.')[-1] not in _HOOKS_AFTERWARDS]:
        decisive['custom_hooks'] = hooks
    return settings_of(decisive, decisive)


def trace_settings(cfg: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, str]:
    """Hash per part of what decides the scores of ``tools/trace.py``, but for the checkpoint.

    Args:
        cfg: The config as its file has it.
        options: Those of the tool that count, as far as they were given.
    """
    one = options.get('variant') or ()
    variants = [one] if isinstance(one, str) else list(one)
    counting = {k: options.get(k) for k in ('images', 'split', 'name')}
    return dict(settings_of(cfg, ['pseudo_labels', 'model']), options=digest(dict(counting, variant=variants)))


def to_stage(entry: Mapping[str, Any], own_config: str | Path = '') -> Stage:
    """A ``prerequisites`` entry as a :class:`Stage`; without ``config`` it means the config itself.

    Raises:
        ConfigError: not one of the four kinds, or fields missing.
    """
    entry = dict(entry)
    run = entry.pop('run', None)
    config = entry.get('config') or str(own_config)
    if run in ('train', 'labels') and config:
        return Stage(run, str(find_config(config)))
    if run == 'trace' and config and 'out' in entry and entry.keys() <= _TRACE_FIELDS | {'config'}:
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items() if k != 'config'}
        return Stage(run, str(find_config(config)), tuple(sorted(fields.items())))
    elif run == 'data' and entry.get('kind') in _MARKERS and 'root' in entry:
        return Stage(run, data=tuple(sorted(entry.items())))
    raise ConfigError(f'prerequisite {dict(run=run, **entry)} is not understood', file=own_config,
                      expected="dict(run='train'|'labels', config='configs/…'), dict(run='data', kind='toy'|"
                               "'patches'|'voc'|'coco'|'coco17'|'instances'|'custom', root=…) or "
                               "dict(run='trace', config=…, out=…, "
                               f"{', '.join(f'{k}=…' for k in sorted(_TRACE_FIELDS - {'out'}))})")


def direct_prerequisites(cfg: Mapping[str, Any]) -> list[Stage]:
    """The stages that a config names itself."""
    return [to_stage(e) for e in cfg.get('prerequisites', ())]


def needs(stage: Stage) -> list[Stage]:
    """What a stage stands on directly: its config's prerequisites, and for labels also the training they come from."""
    if not stage.config:
        return []
    cfg = load_config(stage.config)
    own_training = [Stage('train', stage.config)] if stage.run != 'train' and cfg.get('train_cfg') else []
    return direct_prerequisites(cfg) + own_training


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """Stages with all that they stand on, in the order to run them, each once.

    Configs that label with one classifier in different ways have the same training in the same folder; of these, the
    first stands for all. Each stage's config is read at most twice, whatever stands on it.

    Raises:
        ConfigError: prerequisites run in a circle.
    """
    ordered: dict[Any, Stage] = {}
    seen: set[Stage] = set()

    def visit(stage: Stage, path: tuple[Stage, ...]) -> None:
        if stage in path:
            raise ConfigError(f'prerequisites run in a circle: {" → ".join(s.key for s in (*path, stage))}',
                              file=stage.config)
        if stage in seen:
            return
        for before in needs(stage):
            visit(before, (*path, stage))
        seen.add(stage)
        ordered.setdefault(_training_of(stage) if stage.run == 'train' else stage, stage)

    for stage in stages:
        visit(stage, ())
    return list(ordered.values())


def _training_of(stage: Stage) -> tuple[str, str]:
    """Where a training's results go, and what decides them."""
    cfg = load_config(stage.config)
    return str(Path(cfg.work_dir)), digest(training_settings(cfg))


def product_of(stage: Stage) -> str | None:
    """A fingerprint of what a complete stage made; None where it is not complete."""
    if stage.run == 'data':
        data = dict(stage.data)
        if data['kind'] in _FETCHED:   # too large for hashes, and nobody's work here to repeat
            return data['kind'] if _marker(data).is_dir() else None
        marker = files.read_json(_marker(data))
        if marker and data['kind'] == 'custom':   # what it was prepared by does not matter, what it holds does
            marker = {k: marker.get(k) for k in ('classes', 'sha256')}
        return digest(marker) if marker else None
    cfg = load_config(stage.config)
    if stage.run == 'train':
        record = files.read_stage(cfg.work_dir)
        return record['product'] if record else None
    if stage.run == 'trace':
        record = files.read_json(f'{dict(stage.data)["out"]}.json')
        return digest(record) if record else None
    record = files.read_run(cfg.pseudo_labels.out_dir)
    return digest(record) if record and record.get('complete') else None


def _marker(data: Mapping[str, Any]) -> Path:
    return Path(data['root']) / _MARKERS[data['kind']]


def why_incomplete(stage: Stage) -> str | None:
    """Why a stage has to run; None where it is complete.

    Raises:
        ConfigError: the folder holds a complete stage made with other settings.
        DataError: PASCAL VOC or COCO is not where the config looks for it.
    """
    if stage.run == 'data':
        data = dict(stage.data)
        if data['kind'] in _FETCHED:
            problem, expected = _FETCHED[data['kind']]
            if not _marker(data).is_dir():
                kind = _PREPARED_BY.get(data['kind'], data['kind'])
                raise DataError(problem, file=data['root'], expected=expected,
                                fix=f'python tools/prepare_dataset.py {kind} --root {data["root"]}   (says step by '
                                    'step what to put where)')
            return None
        marker = files.read_json(_marker(data))
        if data['kind'] == 'custom':
            if marker is None:
                raise DataError('own data are not there, or not complete', file=data['root'], expected='a folder that '
                                'python tools/prepare_dataset.py custom has written',
                                fix='run that command again, or start from the folder in which it was run')
            return None
        if data['kind'] == 'instances':
            from wsss_mm.datasets.prepare_instances import source_of
            if marker and marker.get('source') != source_of(data['root']):
                return 'made from other lists or another drawing'
            return None if marker else 'not written yet'
        return None if marker and marker.get('seed') == data.get('seed', 0) else 'not drawn yet'
    cfg = load_config(stage.config)
    if stage.run == 'trace':
        out = dict(stage.data)['out']
        record = files.read_json(f'{out}.json')
        if record is None or not isinstance(record.get('settings'), dict):
            return 'not traced yet'
        _refuse_changed(record, trace_settings(cfg, dict(stage.data)), f'{out}.json', _checkpoint_changed(cfg, record))
        return None
    if stage.run == 'labels':
        if not cfg.get('pseudo_labels'):
            raise ConfigError('named as the maker of labels, but has no pseudo_labels section', file=stage.config,
                              expected='pseudo_labels = dict(out_dir=…, dataset=…, generator=…)',
                              fix="name the config that makes the labels in dict(run='labels', config=…)")
        record = files.read_run(cfg.pseudo_labels.out_dir)
        if record is None:
            return 'no labels yet'
        if not record.get('complete') or 'settings' not in record:
            return 'labels are there in part'
        settings = settings_of(cfg, [k for k in ('pseudo_labels', 'model') if k in record['settings']])
        changed = _checkpoint_changed(cfg, record) + _maps_changed(cfg, record)
        _refuse_changed(record, settings, cfg.pseudo_labels.out_dir, changed)
        return None
    record = files.read_stage(cfg.work_dir)
    if record is None:
        started = (Path(cfg.work_dir) / 'last_checkpoint').is_file()
        return 'training was interrupted' if started else 'not trained yet'
    inputs = {s.key: product_of(s) for s in direct_prerequisites(cfg)}
    stale = [k for k, v in inputs.items() if record['inputs'].get(k) != v]
    settings = training_settings(cfg)
    if 'load_from' not in record['settings']:
        settings.pop('load_from', None)
    gone = sorted(record['settings'].keys() - settings)
    _refuse_changed(record, settings, cfg.work_dir, gone + stale)
    return None


def _checkpoint_changed(cfg: Config, record: Mapping[str, Any]) -> list[str]:
    if 'checkpoint' not in record['settings']:
        return []
    trained = files.read_stage(cfg.work_dir)
    return [] if trained and trained['product'] == record['settings']['checkpoint'] else ['checkpoint']


def _maps_changed(cfg: Config, record: Mapping[str, Any]) -> list[str]:
    if 'maps' not in record['settings']:
        return []
    try:
        found = TASK_UTILS.build(cfg.pseudo_labels.generator).fingerprint()
    except DataError:   # the maps are gone, or are being made anew
        return ['maps']
    return [] if found.get('maps') == record['settings']['maps'] else ['maps']


def _refuse_changed(record: Mapping[str, Any], settings: dict[str, str], folder: str, also: list[str]) -> None:
    changed = [k for k, v in settings.items() if record['settings'].get(k) != v] + also
    if changed:
        raise ConfigError(f'was made with other settings or inputs; changed: {", ".join(changed)}', file=folder,
                          expected='the same config and inputs as before',
                          fix=f'rm -r {folder}   (to make it anew), or name another folder')


def command(stage: Stage, tools: Path) -> list[str]:
    """The command line of a stage, as a user would type it."""
    if stage.run == 'data':
        data = dict(stage.data)
        line = [sys.executable, str(tools / 'prepare_dataset.py'), data['kind'], '--root', data['root']]
        if data['kind'] == 'instances':
            return line + (['--sbd', data['sbd']] if data.get('sbd') else [])
        return line + ['--profile', data['profile'], '--seed', str(data.get('seed', 0))]
    if stage.run == 'labels':
        return [sys.executable, str(tools / 'generate.py'), stage.config]
    if stage.run == 'trace':
        line = [sys.executable, str(tools / 'trace.py'), stage.config]
        for name, value in stage.data:
            for each in value if isinstance(value, tuple) else (value,):
                line += [f'--{name}', str(each)]
        return line
    return [sys.executable, str(tools / 'train.py'), stage.config, '--no-prerequisites', '--resume']


def run_stages(stages: list[Stage], tools: Path, offset: int = 0, total: int | None = None,
               processes: int = 1) -> None:
    """Run what is missing of a list of stages, in order, saying each step and why.

    Args:
        stages: As :func:`plan` gives them.
        tools: The folder of the command-line tools.
        offset, total: Numbering of the steps.
        processes: Of each training and each labelling run.

    Raises:
        WSSSError: a stage failed; the command to repeat it alone is in the message.
    """
    total = total or len(stages)
    for number, stage in enumerate(stages, offset + 1):
        reason = why_incomplete(stage)
        head = f'[{number}/{total}] {stage.key}'
        if reason is None:
            print(f'{head}: complete', flush=True)
            continue
        line = in_processes(command(stage, tools), processes)
        print(f'{head}: {reason}\n    $ {shlex.join(["python", *line[1:]])}', flush=True)
        code = subprocess.run(line, check=False).returncode
        if code:
            raise WSSSError(f'{stage.key} failed with exit code {code}; its message stands above',
                            fix=shlex.join(['python', *line[1:]]))

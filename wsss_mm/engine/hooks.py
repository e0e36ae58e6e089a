"""Hooks: what a finished training leaves, and labels right after it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from wsss_mm import files
from wsss_mm.config_hash import digest
from wsss_mm.engine.stages import direct_prerequisites, product_of, training_settings
from wsss_mm.errors import WSSSError
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.registry import HOOKS
from wsss_mm.requirements import installed_versions


def _bare(model: torch.nn.Module) -> torch.nn.Module:
    return cast(torch.nn.Module, model.module) if is_model_wrapper(model) else model


@HOOKS.register_module()
class StageHook(Hook):
    """Leaves ``final.pth`` (weights only) and then ``stage.json`` in the work dir when a training ends.

    By ``stage.json`` the stage chain knows that the stage is complete, and with which settings.
    """

    priority = 'VERY_LOW'

    def after_train(self, runner: Runner) -> None:
        """Write both files; the marker last."""
        if is_main_process():
            self._write(runner)
        barrier()   # the other ranks may label with final.pth next

    def _write(self, runner: Runner) -> None:
        work_dir, cfg = Path(runner.work_dir), runner.cfg
        weights = {k: v.detach().cpu().contiguous() for k, v in _bare(runner.model).state_dict().items()}
        buffer = io.BytesIO()
        torch.save(dict(state_dict=weights, meta=dict(iter=runner.iter, config=Path(cfg.filename or '').name)), buffer)
        sha256 = files.write_atomic(work_dir / 'final.pth', buffer.getvalue())
        settings = training_settings(cfg)
        files.write_json(work_dir / 'stage.json', dict(
            settings=settings, hash=digest(settings), product=sha256, iterations=runner.iter,
            versions=installed_versions(), inputs={p.key: product_of(p) for p in direct_prerequisites(cfg)}))


@HOOKS.register_module()
class PseudoLabelHook(Hook):
    """Runs the config's ``pseudo_labels`` section when the training ends, by the code of ``tools/generate.py``.

    Put it beside ``StageHook``, which writes the ``final.pth`` that the run's record names. Several ranks share
    the work.

    Raises:
        WSSSError: some images failed; their texts are in the run's ``failures.json``.
    """

    priority = 'LOWEST'

    def after_train(self, runner: Runner) -> None:
        """Label the dataset with the model just trained."""
        # Read anew: after distributed training every rank has running statistics of its own in memory.
        run = LabellingRun(runner.cfg, checkpoint=Path(runner.work_dir) / 'final.pth',
                           device=str(next(runner.model.parameters()).device))
        result = run.run()
        if result['failures']:
            raise WSSSError(f'{len(result["failures"])} images could not be labelled',
                            file=run.folder.failures_path,
                            fix='mend or drop these images and run tools/generate.py again')

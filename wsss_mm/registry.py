"""Child registries of MMEngine's, scope ``wsss_mm``.

Configs keep ``default_scope = 'mmseg'`` or ``'mmdet'`` and write ``type='wsss_mm.X'``; MMEngine imports this
module by that prefix and then the ``locations``, so no ``custom_imports`` is needed. Only mmengine is imported
here: MMEngine hides an import error of this module and would report "X is not in the registry" instead.
"""

from collections.abc import Mapping
from typing import Any

from mmengine import registry as root

from wsss_mm import requirements, safe_loading

_SCOPE = 'wsss_mm'


def _child(kind: str, parent: root.Registry, *locations: str) -> root.Registry:
    return root.Registry(kind, parent=parent, scope=_SCOPE, locations=[f'wsss_mm.{x}' for x in locations])


MODELS = _child('model', root.MODELS, 'models')
DATASETS = _child('dataset', root.DATASETS, 'datasets')
TRANSFORMS = _child('transform', root.TRANSFORMS, 'datasets')
DATA_SAMPLERS = _child('data sampler', root.DATA_SAMPLERS, 'datasets')
HOOKS = _child('hook', root.HOOKS, 'engine')
METRICS = _child('metric', root.METRICS, 'evaluation')
# Localizers, explainers of detectors, refiners and label generators: parts that are neither modules nor data.
TASK_UTILS = _child('task util', root.TASK_UTILS, 'localization', 'explainers', 'refinement', 'pseudo_labels')

safe_loading.allow_own_checkpoints()


def enter_scope(cfg: Mapping[str, Any], default: str = 'mmseg') -> None:
    """Make a config's scope the current one, unless there is one already.

    Args:
        cfg: The config; its ``default_scope`` says which.
        default: Of a config that names none.

    Raises:
        WSSSError: it is mmdet's, and mmdet is not installed.
    """
    scope = cfg.get('default_scope', default)
    check_scope(scope)
    if root.DefaultScope.get_current_instance() is None:
        root.init_default_scope(scope)


def check_scope(scope: str) -> None:
    """Check that what a scope needs beyond the tools' own requirements is installed.

    Raises:
        WSSSError: it is mmdet's, and mmdet is not installed.
    """
    if scope == 'mmdet':
        requirements.check_requirements(['mmdet'])

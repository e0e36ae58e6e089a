"""Child registries of MMEngine's, scope ``wsss_mm``.

Configs keep ``default_scope = 'mmseg'`` or ``'mmdet'`` and write ``type='wsss_mm.X'``; MMEngine imports this
module by that prefix and then the ``locations``, so no ``custom_imports`` is needed. Only mmengine is imported
here: MMEngine hides an import error of this module and would report "X is not in the registry" instead.
"""

from mmengine import registry as root

from wsss_mm import safe_loading

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

"""What every tool does first: find the package, speak of errors in one message."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).resolve().parent
sys.path.insert(0, str(TOOLS.parent))


def own_text(error: Exception) -> str:
    """An error's own message, also where torch brings it from a data loader's worker with its whole traceback."""
    return re.split(r'\nwsss_mm\.errors\.\w+: ', str(error))[-1].rstrip()


def drop_worker_options(cfg: Any) -> None:
    """Loaders with ``num_workers=0``, as for debugging: torch refuses the options of workers where there are none."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if isinstance(loader, dict) and loader.get('num_workers') == 0:
            for option in ('persistent_workers', 'prefetch_factor', 'timeout'):
                loader.pop(option, None)


def run(main: Callable[[], int | None]) -> None:
    """Run a tool's main; a :class:`WSSSError` becomes one message and exit code 2."""
    from wsss_mm.errors import WSSSError
    from wsss_mm.requirements import check_requirements
    # Pretrained weights named by URL are read by torch.hub, which would otherwise unpickle whatever they hold.
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(TOOLS.parent), os.environ.get('PYTHONPATH')]))
    # mmseg's heads build their losses by a function that mmseg itself calls deprecated: nothing a user could change.
    warnings.filterwarnings('ignore', message='``build_loss`` would be deprecated')
    try:
        check_requirements()
        sys.exit(main() or 0)
    except WSSSError as error:
        print(f'\nerror: {own_text(error)}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('\ninterrupted; repeat the same command: what is complete is kept', file=sys.stderr)
        sys.exit(130)

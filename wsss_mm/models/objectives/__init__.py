"""Training signals beside the pooling head's own loss; see ``Objective`` for their interface."""

from wsss_mm.models.objectives.base import Objective, extra_pass, pass_state

__all__ = ['Objective', 'extra_pass', 'pass_state']

"""Parts for mmdet's detectors; this package and what its users name from it are all that imports mmdet."""

from wsss_mm.models.detection.ignore_mask_head import IgnoreFCNMaskHead, grow_masks, ignoring_mask_loss

__all__ = ['IgnoreFCNMaskHead', 'grow_masks', 'ignoring_mask_loss']

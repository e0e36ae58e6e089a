"""Weak labels in: datasets, label readers, transforms, the built-in toy VOC."""

from wsss_mm.datasets import transforms, voc  # noqa: F401

"""The labelling run: generators, writer, manifest, resume."""

from wsss_mm.pseudo_labels.generator import LabelGenerator

__all__ = ['LabelGenerator']

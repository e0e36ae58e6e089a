"""Overlays and the HTML report."""

from wsss_mm.visualization.build import build_report
from wsss_mm.visualization.overlay import draw_boxes, heat_map, mark_unreliable, overlay_labels
from wsss_mm.visualization.report import Figure, Gallery, GalleryImage, ReportSpec, Row, write_report

__all__ = ['Figure', 'Gallery', 'GalleryImage', 'ReportSpec', 'Row', 'build_report', 'draw_boxes', 'heat_map',
           'mark_unreliable', 'overlay_labels', 'write_report']

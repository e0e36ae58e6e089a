"""Check of a data set before it is trained on."""

from wsss_mm.datasets.check.image import ImageFacts, ImageJob, look_at
from wsss_mm.datasets.check.layouts import Layout, layouts_of, voc_layout
from wsss_mm.datasets.check.problems import ERRORS, HEADINGS, REMARKS, Problem
from wsss_mm.datasets.check.report import CheckReport
from wsss_mm.datasets.check.run import check_data

__all__ = ['ERRORS', 'HEADINGS', 'REMARKS', 'CheckReport', 'ImageFacts', 'ImageJob', 'Layout', 'Problem', 'check_data',
           'layouts_of', 'look_at', 'voc_layout']

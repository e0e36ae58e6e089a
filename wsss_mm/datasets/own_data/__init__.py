"""One's own data: pictures with any names and labels of any kind, as a data set in VOC's layout."""

from wsss_mm.datasets.own_data.configs import write_configs
from wsss_mm.datasets.own_data.layout import Request, prepare_own_data, summary

__all__ = ['Request', 'prepare_own_data', 'summary', 'write_configs']

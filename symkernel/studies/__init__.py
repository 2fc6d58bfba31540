"""Whole studies: a published question, answered by one call for it and for your own variations."""

from symkernel.studies.decisions.arrays import read_arrays
from symkernel.studies.decisions.setting import (
    INFORMATION_SETTINGS,
    Descent,
    InformationSetting,
)
from symkernel.studies.decisions.study import InformationStudy, information
from symkernel.studies.study import MultitaskStudy, multitask

__all__ = [
    "INFORMATION_SETTINGS",
    "Descent",
    "InformationSetting",
    "InformationStudy",
    "MultitaskStudy",
    "information",
    "multitask",
    "read_arrays",
]

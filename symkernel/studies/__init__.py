"""Whole studies: a published question, answered by one call for it and for your own variations."""

from symkernel.studies.study import MultitaskStudy, multitask

__all__ = ["MultitaskStudy", "multitask"]

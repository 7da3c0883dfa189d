"""The study of SRN-C with few problems."""

from dataclasses import replace

import pytest
from srnc_manifold.problems import srnc as family

import srnc_manifold as srnc
from srnc_manifold.studies import srnc as analysis


@pytest.fixture(scope="session")
def few():
    """What makes the study small, in a context: six targets of two kernels, four cases, layers with known filters."""

    def small(context):
        smaller = {"SIZES": (8,), "BETAS": (0.05, 0.2, 0.3, 0.6), "KERNELS": 2, "CASES": 4, "CASE_SIZES": (8, 10)}
        for name, value in smaller.items():
            context.setattr(family, name, value)
        whole = analysis.definition()
        *others, layers = whole.parts
        few_layers = replace(layers, problems=srnc.load_family("filters")[:3])
        context.setattr(analysis, "definition", lambda: replace(whole, parts=(*others, few_layers)))

    return small

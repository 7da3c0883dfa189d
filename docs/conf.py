"""How Sphinx builds these pages: ``make docs``. Nothing is fetched, and the pages fetch nothing either."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import generated  # noqa: E402

import srnc_manifold  # noqa: E402

project = "srnc_manifold"
author = "The srnc_manifold authors"
copyright = author
version = release = srnc_manifold.__version__

extensions = [
    "mathml",
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]

# Pages are Markdown, and notebooks as they were committed. Headings have the anchors that they have on other sites.
myst_heading_anchors = 3
myst_enable_extensions = ["deflist", "dollarmath"]
html_math_renderer = "mathml"
nb_execution_mode = "off"
suppress_warnings = ["mystnb.unknown_mime_type"]

# The reference is made of the docstrings, one page for each name of the tables in reference/.
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # the docstrings say it in words, with shapes
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# Modules are files of the repository, which have no pages; and other projects are elsewhere.
nitpick_ignore_regex = [("py:mod", r"srnc_manifold\..*"), ("py:.*", r"(torch|pandas|dask)\..*")]

# Formulas are blocks without a language.
highlight_language = "none"
copybutton_prompt_text = ">>> |\\.\\.\\. |\\$ "
copybutton_prompt_is_regexp = True

smartquotes = False  # two dashes are those of an option

html_theme = "furo"
html_title = f"srnc_manifold {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sphinx = False
html_copy_source = False

# What is made on the spot: two pages, and copies of the notebooks.
generated.write(DOCS / "reference" / "generated")
shutil.rmtree(DOCS / "notebooks", ignore_errors=True)
shutil.copytree(DOCS.parent / "notebooks", DOCS / "notebooks", ignore=shutil.ignore_patterns(".*"))

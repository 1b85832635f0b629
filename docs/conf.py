"""The documentation site: `make docs` builds it into docs/_build/html, with warnings as errors."""

import approxgrad

project = "approxgrad"
author = "The approxgrad team"
copyright = author
release = version = approxgrad.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# Docstrings are numpydoc, types stand in them, and members keep the order of the source.
napoleon_google_docstring = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_title = f"approxgrad {version}"
html_show_copyright = False

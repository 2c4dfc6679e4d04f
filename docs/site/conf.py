"""What Sphinx is told. `python -m docs.site` calls it."""

from __future__ import annotations

from typing import Any

import slipway

project = "Slipway"
release = slipway.__version__
copyright = "the authors of Slipway, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 4
default_role = "code"  # docstrings have code between single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
smartquotes = False  # two dashes begin an option
html_theme = "furo"
html_title = f"Slipway {release}"
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # which a browser may not fetch from files
html_static_path = ["static"]
html_css_files = ["slipway.css"]


def setup(app: Any) -> None:
    """Show the options of a training on a page of their own, and not again in the signature of its record."""
    app.connect("autodoc-process-signature", _short_signature)
    app.connect("autodoc-process-docstring", _without_options)


def _short_signature(app: Any, what: str, name: str, *rest: Any) -> tuple[str, None] | None:
    return ("(**options)", None) if name in _CONFIGS else None


def _without_options(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if name in _CONFIGS and "" in lines:
        del lines[lines.index("") :]
        lines.extend(["", "Its options are on the page :doc:`options`."])


_CONFIGS = ("slipway.TrainingConfig", "slipway.AdvancedTrainingConfig")

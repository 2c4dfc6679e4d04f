"""The documentation as a site: the pages of `docs/`, and pages that are made from the code. `make docs` builds it.

Sphinx makes it, with MyST for Markdown and the theme Furo. All three are maintained; what they write needs no network, a
warning can be an error, `autodoc` reads docstrings, and with what they need they are 20 small packages. The alternatives, in
November 2026: MkDocs had its last release in 2024 and Material for MkDocs only gets repairs until this month; Zensical, which
follows them, is at 0.1; pdoc makes references of code, without pages beside them.
"""

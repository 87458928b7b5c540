"""Templates of pages of one HTML file, which all have the style sheet `base.css` of this package."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_templates(package: str) -> Environment:
    """The templates of a package, and those that pages share; all text that they are given is escaped."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("depthdif.figures")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

"""Pages of the laboratory: one HTML file each, with everything in it; templates in templates/, pictures as data.

A function is cited by its place in the source tree, with its code, so that a page can stand for itself.
"""

import inspect
import pkgutil
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import library

TEMPLATES = Path(__file__).parent / "templates"
ROOT = Path(__file__).resolve().parents[2]  # the folder that holds t2vz/


def render(template: str, **values) -> str:
    """A template of templates/, filled in. A name the template uses and `values` lacks is an error.

    In templates, source_of("motion:warp") is the `Source` of t2vz.motion's warp.
    """
    jinja2 = library("jinja2", "pages need")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["source_of"] = lambda name: source_of(pkgutil.resolve_name(f"t2vz.{name}"))
    return environment.get_template(template).render(**values)


@dataclass(frozen=True)
class Source:
    """Where a function stands: t2vz/motion/warping.py:12 warp."""

    path: str  # in the source tree
    line: int
    name: str
    code: str

    def link(self, base: str) -> str:
        """The address of its line. base: of the source tree's root, as "https://…/blob/main" or "../t2vz-checkout"."""
        return posixpath.join(base, f"{self.path}#L{self.line}")


def source_of(function: Callable) -> Source:
    """Where a function or class of t2vz is defined: the line of its name, and its code with the decorators."""
    function = inspect.unwrap(function)
    lines, first = inspect.getsourcelines(function)
    named = next(i for i, line in enumerate(lines) if line.lstrip().startswith(("def ", "class ")))
    path = Path(inspect.getsourcefile(function)).resolve().relative_to(ROOT).as_posix()
    return Source(path, first + named, function.__qualname__, inspect.cleandoc("".join(lines)))

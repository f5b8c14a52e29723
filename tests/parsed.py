"""A page as tests read it: its tags and its text. Tags that do not nest fail, and formulas of a wrong shape."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "input", "link", "hr", "line", "circle", "path", "use", "rect", "mspace"}
MATH = {"msub": 2, "msup": 2, "msubsup": 3, "mfrac": 2, "mover": 2}  # element -> how many it holds


class Page(HTMLParser):
    """tags: (name, attributes) in order; words: the texts between them."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.words, self.open = [], [], [["page", 0]]  # open: [name, children so far]
        self.feed(html)
        self.close()
        assert len(self.open) == 1

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append([tag, 0])

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open[-1][1] += 1

    def handle_endtag(self, tag):
        if tag not in VOID:
            name, held = self.open.pop()
            assert name == tag, f"</{tag}> closes <{name}>"
            assert MATH.get(tag, held) == held, f"<{tag}> holds {held}"

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str, attribute: str) -> list[str]:
        """That attribute of all tags of a name that have it."""
        return [attributes[attribute] for name, attributes in self.tags if name == tag and attribute in attributes]

    @property
    def text(self) -> str:
        """All text, each space once."""
        return " ".join(" ".join(self.words).split())

    def check_alone(self, html: str, links: str = "#") -> None:
        """The page asks for nothing but itself, and what it names is there, once. links: how other links may begin."""
        for tag, attributes in self.tags:
            for name in ("src", "href", "xlink:href", "srcset", "data", "poster"):
                address = attributes.get(name, "#")
                assert address.startswith(("data:", "#", links)), f"<{tag} {name}={address[:80]}>"
            assert tag != "img" or attributes["alt"]
        style = re.sub(r"/\*.*?\*/", "", html, flags=re.DOTALL)  # its comments speak of addresses
        assert not re.search(r"@import|<link|url\((?!#|data:)|https?://(?!www\.w3\.org)", style)
        ids = [attributes["id"] for _, attributes in self.tags if attributes.get("id")]
        used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', html))
        assert used <= set(ids) and len(ids) == len(set(ids))

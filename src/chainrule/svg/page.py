"""One self-contained HTML page: what a training run leaves for people to read, print and keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from chainrule.svg.markup import FONTS, STYLE, Markup, element, escape

__all__ = ["facts", "notes", "page", "table"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = f"""
:root {{ color-scheme: light dark }}
:root {{ --paper: #fff; --ground: #f4f5f7; --ink: #1c1e21; --muted: #5c6370; --line: #e1e4e8 }}
@media screen and (prefers-color-scheme: dark) {{
  :root {{ --paper: #16181d; --ground: #0d0e11; --ink: #e8eaed; --muted: #a4abb6; --line: #2c313a }}
}}
body {{ margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 {FONTS} }}
main {{ max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px }}
h1 {{ font-size: 28px; line-height: 1.2; margin: 0 0 6px }}
h2 {{ font-size: 19px; margin: 40px 0 12px }}
p {{ max-width: 68ch; margin: 0 0 12px }}
.lead {{ color: var(--muted) }}
.drawings, .facts {{ display: flex; flex-wrap: wrap; align-items: flex-start; gap: 16px; margin: 16px 0 }}
.drawings > svg {{ max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px }}
.facts div {{ border: 1px solid var(--line); border-radius: 8px; padding: 12px 18px }}
.facts b {{ display: block; font-size: 24px; line-height: 1.25 }}
.facts span {{ color: var(--muted); font-size: 14px }}
.rows {{ overflow-x: auto }}
.facts div, table {{ background: var(--paper); font-variant-numeric: tabular-nums }}
table {{ border-collapse: collapse; font-size: 14px }}
th, td {{ text-align: left; padding: 6px 14px; border-bottom: 1px solid var(--line); vertical-align: top }}
th {{ color: var(--muted); font-weight: 600 }}
td.figure, th.figure {{ text-align: right; white-space: nowrap }}
.note {{ color: var(--muted); font-size: 13px }}
td > .note {{ min-width: 17ch; max-width: 34ch }}
.whole {{ white-space: nowrap }}
.beware {{ max-width: 68ch; margin: 16px 0; padding: 10px 16px 10px 34px; background: var(--paper) }}
.beware {{ border: 1px solid var(--line); border-left: 4px solid #c25400; border-radius: 8px }}
.beware li {{ margin: 4px 0 }}
@media print {{
  body {{ background: #fff; font-size: 11pt }}
  main {{ padding: 0; max-width: none }}
  h2 {{ break-after: avoid }}
  .rows {{ overflow: visible }}
  table {{ font-size: 8.5pt }}
  th, td {{ padding: 3px 7px }}
  td > .note {{ min-width: 0; font-size: 7.5pt }}
  .drawings > svg[width="478"] {{ max-width: calc(50% - 11px) }}
  .drawings > svg, tr, .facts, .beware {{ break-inside: avoid }}
}}
"""


def page(title: str, sections: Iterable[tuple[str, Sequence[str]]], *, lead: str = "") -> Markup:
    """A whole HTML document of sections (heading, parts): drawings side by side, strings as paragraphs.

    What is `Markup` goes in as it is, all else is escaped. The page loads nothing and runs nothing, and its
    own Content-Security-Policy says so.

    >>> text = page("Run 7", [("What happened", ["It learned <well>.", facts({"test error": "1.9 %"})])])
    >>> text.startswith("<!DOCTYPE html>"), "&lt;well&gt;" in text
    (True, True)
    """
    body = [element("h1", escape(title))]
    if lead:
        body.append(element("p", escape(lead), class_="lead"))
    for heading, parts in sections:
        if heading:
            body.append(element("h2", escape(heading)))
        body += _flow(parts)
    head = (
        '<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}"/>'
    )
    head += f"<title>{escape(title)}</title><style>{_STYLE}{STYLE}</style>"
    main = element("main", *body)
    return Markup(f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{main}</body></html>\n')


def facts(values: Mapping[str, object]) -> Markup:
    """The few figures that matter, large, each over its name."""
    tiles = (
        element("div", element("b", escape(value)), element("span", escape(name)))
        for name, value in values.items()
    )
    return element("div", *tiles, class_="facts")


def table(
    columns: Sequence[object], rows: Iterable[Sequence[object]], *, figures: Iterable[int] = ()
) -> Markup:
    """A plain table; cells are escaped. ``figures`` are the places of columns that are set to the right."""
    right = set(figures)

    def line(tag: str, cells: Sequence[object]) -> Markup:
        classes = ("figure" if place in right else None for place in range(len(cells)))
        found = (element(tag, _cell(c), class_=k) for c, k in zip(cells, classes, strict=True))
        return element("tr", *found)

    head = element("thead", line("th", columns)) if columns else ""
    body = element("tbody", *(line("td", row) for row in rows))
    return element("div", element("table", head, body), class_="rows")


def notes(words: Iterable[object]) -> Markup:
    """What to beware of, as a list that is seen; nothing where there is nothing.

    >>> notes(["<b>"])
    '<ul class="beware"><li>&lt;b&gt;</li></ul>'
    """
    items = [element("li", escape(w)) for w in words]
    return element("ul", *items, class_="beware") if items else Markup("")


def _cell(value: object) -> str:
    return value if isinstance(value, Markup) else escape(value)


def _flow(parts: Sequence[str]) -> list[Markup]:
    """Paragraphs and tables below each other, neighbouring drawings in one row."""
    flow: list[Markup] = []
    drawings: list[Markup] = []
    for part in [*parts, Markup("")]:
        if isinstance(part, Markup) and part.startswith("<svg"):
            drawings.append(part)
            continue
        if drawings:
            flow.append(element("div", *drawings, class_="drawings"))
            drawings = []
        if part:
            flow.append(part if isinstance(part, Markup) else element("p", escape(part)))
    return flow

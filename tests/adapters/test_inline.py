"""A picture in a page is the picture that was drawn: shorter, and by the page's own names."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.adapters.reports.inline import inlined, rules_of

SVG = """<?xml version="1.0"?><svg xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" viewBox="0 0 9 9"
 xmlns="http://www.w3.org/2000/svg"><metadata>when and where</metadata><defs><style>*{{x: y}}</style></defs>
 <g id="nobody"><defs><path id="mark" d="M 0 -1.26 L 1 2 z"/></defs>{}</g>
 <defs><clipPath id="edge"><rect x="1.04" y="2" width="3.96" height="4"/></clipPath></defs></svg>"""
MARK = '<use xlink:href="#mark" x="{}" y="1" style="fill: #aaaaaa; fill-opacity: 0.5"/>'

COLOURS = {"#aaaaaa": "var(--a)"}


def drawn(inside: str) -> ElementTree.Element:
    return ElementTree.fromstring(inlined(SVG.format(inside).encode(), "p", COLOURS, {}))


def test_only_ids_that_are_referred_to_stay_and_they_begin_with_the_name() -> None:
    root = drawn('<path d="M 0 0 L 1 1" clip-path="url(#edge)"/>' + MARK.format(1))
    ids = {each.get("id") for each in root.iter()} - {None}
    assert len(ids) == 2
    assert all(each.startswith("p-") for each in ids)
    assert root.find(".//use").get("href")[1:] in ids
    assert root.find(".//path[@clip-path]").get("clip-path")[5:-1] in ids
    assert root.attrib == {"viewBox": "0 0 9 9"}
    assert root.find(".//metadata") is None
    assert root.find(".//style") is None


def test_a_style_of_all_marks_is_said_once_and_one_of_some_stays_with_them() -> None:
    marks = MARK.format(1.23456) + MARK.format(2)
    alike = drawn(f"<g>{marks}</g>").find("g")
    assert alike.get("class") == "s0"
    assert [each.attrib for each in alike] == [
        {"href": "#p-0", "x": "1.2", "y": "1"}, {"href": "#p-0", "x": "2", "y": "1"},
    ]  # fmt: skip
    other = MARK.format(3).replace("0.5", "0.9")
    root = drawn(f"<g>{marks}{other}</g>")
    assert root.find("g") is None
    assert [each.get("class") for each in root.findall("use")] == ["s0", "s0", "s1"]


def test_pictures_of_a_page_share_what_they_call_a_style() -> None:
    classes = dict[str, str]()
    for name, inside in (("a", MARK.format(1)), ("b", MARK.format(2) + MARK.format(3).replace("0.5", "0.9"))):
        inlined(SVG.format(inside).encode(), name, COLOURS, classes)
    assert classes == {"fill:var(--a);fill-opacity:0.5": "s0", "fill:var(--a);fill-opacity:0.9": "s1"}
    assert rules_of(classes).endswith(
        ".s0{fill:var(--a);fill-opacity:0.5}.s1{fill:var(--a);fill-opacity:0.9}"
    )


def test_what_a_text_says_stays_whatever_it_looks_like() -> None:
    said = 'url(#mark) #aaaaaa id="mark" 1.2345 &lt;b&gt; rotate(-0 1 2)'
    style = "font-size: 9px; font-family: 'DejaVu Sans'; fill: #aaaaaa"
    text = drawn(f'<text style="{style}" transform="rotate(-0 5 6)">{said}</text>').find("text")
    assert text.text == said.replace("&lt;", "<").replace("&gt;", ">")
    assert text.attrib == {"class": "s0"}
    turned = drawn('<text transform="rotate(-90 5.55555 6)">x</text>').find(".//text")
    assert turned.get("transform") == "rotate(-90 5.6 6)"


numbers = st.floats(-999, 999).map(lambda value: round(value, 6))


@given(st.lists(st.tuples(st.sampled_from("ML"), numbers, numbers), min_size=1, max_size=30))
def test_a_path_goes_where_it_went_within_a_tenth(steps: list[tuple[str, float, float]]) -> None:
    steps[0] = ("M", *steps[0][1:])
    data = " ".join(f"{command} {x:.6f} {y:.6f}" for command, x, y in steps)
    path = drawn(f'<path class="it" d="{data} z"/>').find(".//path[@class]").get("d")
    assert path.endswith("z")
    found = walked(path[:-1])
    assert [command for command, _, _ in found] == [command for command, _, _ in steps]
    for (_, x, y), (_, was_x, was_y) in zip(found, steps, strict=True):
        assert (x, y) == (pytest.approx(was_x, abs=0.051), pytest.approx(was_y, abs=0.051))


def walked(path: str) -> list[tuple[str, float, float]]:
    """The steps of a path as a browser takes them."""
    steps: list[tuple[str, float, float]] = []
    for each in "".join(f"\n{c}" if c in "MLHV" else c for c in path).split("\n")[1:]:
        values = [float(value) for value in each[1:].split()]
        if each[0] == "H":
            steps.append(("L", values[0], steps[-1][2]))
        elif each[0] == "V":
            steps.append(("L", steps[-1][1], values[0]))
        else:
            steps.append((each[0], *values))
    return steps


def test_a_curve_keeps_its_bends() -> None:
    path = drawn('<path class="it" d="M 0 2.345208 \nC 0.6 2.3 1.2 2.1 1.65 1.66 \nz"/>').find(
        ".//path[@class]"
    )
    assert path.get("d") == "M0 2.3C0.6 2.3 1.2 2.1 1.6 1.7z"

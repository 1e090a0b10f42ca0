"""A drawn picture made fit for a page: only what a browser needs of it, and the page's own colours.

Matplotlib writes for every reader there is: with all digits, an id for each group, each style in full. A page
of two dozen pictures is a quarter as long without that, and looks the same.
"""

import re
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

# The widths of texts are known for the first of these fonts.
_STYLE = """figure svg *{stroke-linejoin:round;stroke-linecap:butt}
figure svg text{font-family:"DejaVu Sans",Verdana,sans-serif}
"""
_COORDINATES = ("d", "x", "y", "width", "height", "transform")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_STEP = re.compile(r"([MLCQz])([^MLCQz]*)")
_REFERENCE = re.compile(r"#([^)]+)")
_NO_TURN = re.compile(r"rotate\(-?0 [^)]*\)")


def rules_of(classes: Mapping[str, str]) -> str:
    """The style sheet of a page whose pictures were inlined with ``classes``."""
    return _STYLE + "".join(f".{name}{{{style}}}" for style, name in classes.items())


def inlined(svg: bytes, name: str, colours: Mapping[str, str], classes: dict[str, str]) -> str:
    """An svg element without size, title and metadata, whose ids begin with ``name``. Its text is text.

    Coordinates are rounded to a tenth of a point. ``colours``: what a page shows instead of each. Styles of
    elements become ``classes``, of all pictures of a page, by style: the page needs their rules.
    """
    root = ElementTree.fromstring(svg)  # noqa: S314  we have just drawn it
    _bare(root)
    for element in root.iter():
        for key in _COORDINATES:
            if key in element.attrib:
                element.set(key, _placed(key, element.attrib[key]))
        if style := element.attrib.pop("style", ""):
            element.set("class", classes.setdefault(_styled(style, colours), f"s{len(classes)}"))
    for element in root.iter("g"):
        _said_once(element)
    _renamed(root, name)
    _unwrapped(root)
    root.attrib = {"viewBox": root.attrib["viewBox"]}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _bare(root: Element) -> None:
    """Without namespaces, space between elements, metadata, styles of all, and turns by nothing."""
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): value for key, value in element.attrib.items()}
        element.tail = None
        if len(element):
            element.text = None
        for child in [each for each in element if _local(each.tag) == "metadata" or _is_style(each)]:
            element.remove(child)
    for element in root.iter("text"):
        element.set("transform", _NO_TURN.sub("", element.get("transform", "")))
        if not element.get("transform"):
            del element.attrib["transform"]


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _is_style(element: Element) -> bool:
    return _local(element.tag) == "defs" and [_local(each.tag) for each in element] == ["style"]


def _placed(key: str, value: str) -> str:
    return _path(value) if key == "d" else _NUMBER.sub(lambda found: _short(found[0]), value)


def _path(data: str) -> str:
    """The same path in few characters: straight lines along an axis name one coordinate."""
    steps, at = list[str](), ["", ""]
    for command, numbers in _STEP.findall(data):
        values = [_short(each) for each in numbers.split()]
        if command == "L" and values[1] == at[1]:
            steps.append(f"H{values[0]}")
        elif command == "L" and values[0] == at[0]:
            steps.append(f"V{values[1]}")
        else:
            steps.append(command + " ".join(values))
        at = values[-2:] or ["", ""]
    return "".join(steps)


def _short(number: str) -> str:
    text = f"{float(number):.1f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _styled(style: str, colours: Mapping[str, str]) -> str:
    said = (each.strip().replace(": ", ":") for each in style.split(";"))
    text = ";".join(each for each in said if each and not each.startswith("font-family"))
    for colour, shown in colours.items():
        text = text.replace(colour, shown)
    return text


def _said_once(group: Element) -> None:
    """A style that all marks of a group have is the group's."""
    styles = {each.get("class") for each in group}
    if len(group) > 1 and len(styles) == 1 and "class" not in group.attrib and None not in styles:
        group.set("class", group[0].attrib["class"])
        for each in group:
            del each.attrib["class"]


def _unwrapped(parent: Element) -> None:
    """Groups that say nothing leave their place to what is in them."""
    for child in parent:
        _unwrapped(child)
    says_nothing = [child.tag == "g" and not child.attrib for child in parent]
    pairs = zip(list(parent), says_nothing, strict=True)
    parent[:] = [each for child, is_plain in pairs for each in (child if is_plain else [child])]


def _renamed(root: Element, name: str) -> None:
    """Ids that nothing refers to are dropped; the others are numbered."""
    values = [value for element in root.iter() for value in _references(element.attrib)]
    ids = {found: f"{name}-{i}" for i, found in enumerate(dict.fromkeys(values))}
    for element in root.iter():
        if (own := element.attrib.pop("id", None)) in ids:
            element.set("id", ids[own])
        for key in ("href", "clip-path"):
            if key in element.attrib:
                element.set(key, _REFERENCE.sub(lambda found: f"#{ids[found[1]]}", element.attrib[key]))


def _references(attributes: Mapping[str, str]) -> Iterable[str]:
    for key in ("href", "clip-path"):
        yield from _REFERENCE.findall(attributes.get(key, ""))

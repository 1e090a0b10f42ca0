"""What one request may ask for, judged before anything is executed.

The walk weighs each fragment once, however often it is spread, so a bomb costs as little as its text.
Cost is in units: a field is one, a list multiplies what is inside it, a column counts one per
``ROWS_PER_UNIT`` rows. Only the operation that would run is weighed. A field says how long it gets by
``size`` in its metadata: a number, a function of its arguments, or "page" for a list inside a page
(or series) whose own ``size`` says how many rows it has.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
    value_from_ast_untyped,
)

from alphapulse.graphql.access import Principal
from alphapulse.graphql.errors import Forbidden, TooCostly

ROWS_PER_UNIT = 100
_UNKNOWN_LIST = 10  # entries taken for a list that does not say its size, such as those of introspection
_ROOT_META = ("__schema", "__type")

Arguments = Mapping[str, Any]
Size = Callable[[Arguments], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Ceilings for one request or connection. Bytes, seconds and counts as the names say."""

    body_bytes: int = 100_000
    tokens: int = 1_500
    depth: int = 16  # GraphiQL's own introspection needs 14
    aliases: int = 30
    fields: int = 300  # selections in the document, each fragment counted once
    fragments: int = 30
    repeats: int = 10  # of one name in one selection set
    cost: int = 100_000
    execution_s: float = 10.0
    concurrent_requests: int = 32
    waiting_requests: int = 256
    rate_cost_per_s: float = 50_000.0  # 0 = no limit
    rate_burst_cost: float = 500_000.0
    rate_keys: int = 10_000
    connections: int = 2_000
    subscriptions: int = 50  # of one connection
    message_bytes: int = 64_000
    init_s: float = 5.0
    queue_messages: int = 64  # of one subscription
    send_s: float = 10.0  # a socket that takes nothing for so long is cut


@dataclass(frozen=True, slots=True)
class Weight:
    """What an operation amounts to; sums over everything it selects, each spread counted."""

    cost: int = 0
    depth: int = 0
    aliases: int = 0
    scopes: frozenset[str | None] = frozenset()

    def __add__(self, other: "Weight") -> "Weight":
        return Weight(
            self.cost + other.cost,
            max(self.depth, other.depth),
            self.aliases + other.aliases,
            self.scopes | other.scopes,
        )


def paged(argument: str, cap: int, default: int) -> Size:
    """The size of a page: ``argument`` up to ``cap``; nonsense counts as ``cap``, validation refuses it."""

    def size(arguments: Arguments) -> int:
        asked = arguments.get(argument, default)
        if asked is None:
            return default
        return min(max(asked, 0), cap) if type(asked) is int else cap

    return size


def weigh(
    schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode, variables: Arguments
) -> Weight:
    """The weight of ``operation``; what the schema does not know weighs nothing, validation refuses it."""
    root = schema.get_root_type(operation.operation)
    scales = _Scales(schema, _fragments(document), {**_defaults(operation), **variables})
    return scales.selections(operation.selection_set, root)


def check(weight: Weight, limits: Limits, principal: Principal) -> None:
    """Raise TooCostly or Forbidden unless ``principal`` may run an operation of this weight."""
    _at_most("depth", weight.depth, limits.depth)
    _at_most("aliases", weight.aliases, limits.aliases)
    _at_most("cost", weight.cost, limits.cost)
    if missing := weight.scopes - principal.scopes:
        names = ", ".join(sorted(str(scope or "one that nobody has") for scope in missing))
        raise Forbidden(f"{principal.name} lacks the scope this document needs: {names}")


def check_size(document: DocumentNode, limits: Limits) -> None:
    """Raise TooCostly when validating ``document`` could take long.

    Validation compares selections of one name, and fragments, in pairs: both are bounded before it runs.
    """
    sets = list(_selection_sets(document))
    _at_most("selections", sum(len(s.selections) for s in sets), limits.fields)
    _at_most("fragments", len(_fragments(document)), limits.fragments)
    _at_most("repeats of one name", max(map(_repeats, sets), default=0), limits.repeats)


def _at_most(what: str, value: int, limit: int) -> None:
    if value > limit:
        shown = str(value) if value < 10**12 else "more than 10^12"
        raise TooCostly(f"the document has {what} {shown}, at most {limit} is allowed", limit=limit)


def _selection_sets(document: DocumentNode) -> Iterator[SelectionSetNode]:
    stack = [
        cast("Any", node).selection_set for node in document.definitions if hasattr(node, "selection_set")
    ]
    while stack:
        yield (node := stack.pop())
        stack += [s.selection_set for s in node.selections if getattr(s, "selection_set", None)]


def _repeats(node: SelectionSetNode) -> int:
    names = Counter(_response_name(selection) for selection in node.selections)
    return max(names.values(), default=0)


def _response_name(selection: SelectionNode) -> str:
    match selection:
        case FieldNode():
            return (selection.alias or selection.name).value
        case FragmentSpreadNode():
            return f"...{selection.name.value}"
        case _:
            return "..."


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {n.name.value: n for n in document.definitions if isinstance(n, FragmentDefinitionNode)}


def _defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    return {
        definition.variable.name.value: value_from_ast_untyped(definition.default_value)
        for definition in operation.variable_definitions or ()
        if definition.default_value is not None
    }


@dataclass(slots=True)
class _Scales:
    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: Arguments
    weighed: dict[str, Weight] = field(default_factory=dict)

    def selections(
        self, node: SelectionSetNode | None, parent: GraphQLNamedType | None, rows: int = 1
    ) -> Weight:
        """The weight of one entry with these selections. ``rows`` is the length of columns in it."""
        total = Weight()
        for selection in node.selections if node else ():
            match selection:
                case FieldNode():
                    total += self._field(selection, parent, rows)
                case InlineFragmentNode():
                    condition = selection.type_condition
                    inner = self.schema.get_type(condition.name.value) if condition else parent
                    total += self.selections(selection.selection_set, inner, rows)
                case FragmentSpreadNode():
                    total += self._fragment(selection.name.value, rows)
        return total

    def _fragment(self, name: str, rows: int) -> Weight:
        key = f"{name} {rows}"
        if key not in self.weighed:
            self.weighed[key] = Weight()  # a cycle ends here; validation refuses it
            if fragment := self.fragments.get(name):
                parent = self.schema.get_type(fragment.type_condition.name.value)
                self.weighed[key] = self.selections(fragment.selection_set, parent, rows)
        return self.weighed[key]

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None, rows: int) -> Weight:
        definition = _definition(self.schema, parent, node.name.value)
        if definition is None:
            return Weight(cost=1, depth=1, aliases=int(node.alias is not None))
        entries, rows_below = self._sizes(node, definition, rows)
        named = get_named_type(definition.type)
        inner = self.selections(node.selection_set, named, rows_below)
        own = 1 + rows // ROWS_PER_UNIT if named.name == "Column" else 1
        return Weight(
            cost=own + entries * inner.cost,
            depth=1 + inner.depth,
            aliases=int(node.alias is not None) + inner.aliases,
            scopes=inner.scopes | {_scope(node.name.value, definition, parent)},
        )

    def _sizes(self, node: FieldNode, definition: GraphQLField, rows: int) -> tuple[int, int]:
        """How many entries the field brings, and how many rows a page or a series below it has."""
        size: Size | int | str | None = _metadata(definition).get("size")
        is_list = is_list_type(get_nullable_type(definition.type))
        if callable(size):
            asked = size(self._arguments(node))
            return (asked, 1) if is_list else (1, asked)
        if size == "page":
            return rows, 1
        if isinstance(size, int):
            return size, 1
        return (_UNKNOWN_LIST if is_list else 1), 1

    def _arguments(self, node: FieldNode) -> dict[str, Any]:
        given = {}
        for argument in node.arguments or ():
            if _known(argument.value, self.variables):
                given[argument.name.value] = value_from_ast_untyped(argument.value, dict(self.variables))
        return given


def _known(value: ValueNode, variables: Arguments) -> bool:
    return not isinstance(value, VariableNode) or value.name.value in variables


def _definition(schema: GraphQLSchema, parent: GraphQLNamedType | None, name: str) -> GraphQLField | None:
    if parent is None or (not hasattr(parent, "fields") and name != "__typename"):
        return None
    return schema.get_field(cast("Any", parent), name)


def _metadata(definition: GraphQLField) -> Mapping[Any, Any]:
    ours = definition.extensions.get("strawberry-definition")
    return ours.metadata if ours is not None else {}


def _scope(name: str, definition: GraphQLField, parent: GraphQLNamedType | None) -> str | None:
    """The scope a field asks for. Introspection needs what reading needs; nothing else has a default."""
    if name.startswith("__") or (parent is not None and parent.name.startswith("__")):
        return "read"
    return _metadata(definition).get("scope")

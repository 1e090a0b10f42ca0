"""From the text of a document to an operation that may run: parse, bound, validate, weigh.

Parsing and validating depend on the text alone, so their outcome is kept for the texts used last.
Nothing here executes anything.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)

from alphapulse.graphql.access import Principal
from alphapulse.graphql.errors import TooCostly, UserError
from alphapulse.graphql.limits import Limits, Weight, check, check_size, weigh

_KEPT_DOCUMENTS = 200
_MAX_ERRORS = 20


class Refused(Exception):
    """The document cannot run. ``errors`` say why, for the client."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a valid document, within its limits, with its raw variables."""

    text: str
    document: DocumentNode
    node: OperationDefinitionNode
    name: str | None
    variables: Mapping[str, Any]
    weight: Weight

    @property
    def type(self) -> OperationType:
        return self.node.operation


class Documents:
    """Prepares operations of one schema under one set of limits."""

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema, self._limits = schema, limits
        self._valid: OrderedDict[str, DocumentNode] = OrderedDict()

    def prepare(
        self, text: str, variables: Mapping[str, Any], name: str | None, principal: Principal
    ) -> Operation:
        """The operation ``name`` of ``text`` (or its only one).

        Raises:
            Refused: it does not parse, breaks the schema or a limit, or the principal lacks a scope.
        """
        try:
            return self._prepare(text, variables, name, principal)
        except GraphQLError as error:
            raise Refused(error) from None
        except RecursionError:
            raise Refused(TooCostly("the document is nested too deeply to be read")) from None

    def _prepare(
        self, text: str, variables: Mapping[str, Any], name: str | None, principal: Principal
    ) -> Operation:
        document = self._valid.get(text) or parse(text, max_lexical_tokens=self._limits.tokens)
        node = get_operation_ast(document, name)
        if node is None:
            raise UserError(f"the document has no operation {name!r}" if name else _NEEDS_NAME)
        weight = self._weigh(document, node, variables, principal)
        if text not in self._valid:
            self._validate(text, document)
        self._valid.move_to_end(text)
        return Operation(text, document, node, name, variables, weight)

    def _weigh(
        self,
        document: DocumentNode,
        node: OperationDefinitionNode,
        variables: Mapping[str, Any],
        principal: Principal,
    ) -> Weight:
        """Weighs before validation: the rules of the standard compare selections in pairs."""
        check_size(document, self._limits)
        weight = weigh(self._schema, document, node, variables)
        check(weight, self._limits, principal)
        return weight

    def _validate(self, text: str, document: DocumentNode) -> None:
        if errors := validate(self._schema, document, specified_rules, max_errors=_MAX_ERRORS):
            raise Refused(*errors)
        self._valid[text] = document
        if len(self._valid) > _KEPT_DOCUMENTS:
            self._valid.popitem(last=False)


_NEEDS_NAME = "the document needs exactly one operation, or operationName to say which"

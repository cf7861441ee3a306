"""Wrong options and arguments, in our own words: those of the parser are for the programmers of a command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from cyclopts import CycloptsError
from cyclopts import exceptions as parser

from moorage.errors import DefinitionError
from moorage.rules.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from cyclopts.argument import Argument

_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


def usage_error(error: CycloptsError) -> DefinitionError:
    """What is wrong with the command line, and what next."""
    verb = " ".join(error.command_chain or ())
    message, hint = _words(error, verb)
    return DefinitionError(f"{verb}: {message}" if verb else message, hint=hint or _see(verb))


def _see(verb: str) -> str:
    return f"`moorage {verb} --help` lists arguments and options." if verb else "`moorage --help` lists the verbs."


def _words(error: CycloptsError, verb: str) -> tuple[str, str | None]:
    """The message without its verb, and the hint. None: the usual one."""
    match error:
        case parser.UnknownOptionError():
            option = (error.token.keyword or error.token.value).partition("=")[0]
            return f"{option}: no such option", _meant(option, _names(error.argument_collection))
        case parser.UnknownCommandError():
            return _no_verb(error, verb)
        case parser.UnusedCliTokensError():
            return f"unexpected argument {(error.unused_tokens or [''])[0]!r}", None
        case parser.MissingArgumentError():
            return _missing(error)
        case parser.CoercionError():
            return _no_value(error)
        case parser.ValidationError():
            value = error.argument.value if error.argument else error.value
            return f"{_name(error.argument)}: {str(value)!r} is not allowed: {_plain(error.exception_message)}", None
        case parser.RepeatArgumentError():
            return f"{_name(error.argument, error.token.keyword)}: given more than once", None
        case parser.CombinedShortOptionError():
            return "short options with a value cannot be combined", "Write them one by one: `-f FILE -p NAME`."
    return _plain(str(error)), None


def _no_verb(error: parser.UnknownCommandError, group: str) -> tuple[str, str | None]:
    wanted = (error.unused_tokens or [""])[0]
    if wanted.startswith("-"):
        return f"{wanted}: no such option", None
    there = [name for name in (error.app or ()) if not name.startswith("-")]
    return f"no such verb: {wanted!r}", did_you_mean(wanted, there, "Verbs") if group else _meant(wanted, there)


def _missing(error: parser.MissingArgumentError) -> tuple[str, str | None]:
    if error.argument is not None and error.argument.field_info.is_keyword and not error.argument.tokens:
        unused = [one for one in error.unused_tokens or () if one.startswith("-")]
        if unused and unused[0] in error.argument.names:
            return f"{unused[0]}: a value is missing", None
        if unused and (near := nearest(unused[0], error.argument.names)):
            return f"{unused[0]}: no such option", f'Did you mean "{near}"?'
    option = error.keyword or next((one.keyword for one in getattr(error.argument, "tokens", ()) if one.keyword), None)
    return f"{option}: a value is missing" if option else f"{_name(error.argument)} is missing", None


def _no_value(error: parser.CoercionError) -> tuple[str, str | None]:
    given = error.token.value if error.token else ""
    name = _name(error.argument, error.token.keyword if error.token else None)
    choices = [str(one) for one in _choices(error.target_type)]
    if choices:
        return f"{name}: {given!r} is not one of {', '.join(choices)}", _meant(given, choices)
    wanted = _KINDS.get(error.target_type or str, "a valid value")
    return f"{name}: {given!r} is not {wanted}", None


def _choices(kind: Any) -> Iterable[Any]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return getattr(kind, "__members__", {}).values() if isinstance(kind, type) else ()


def _name(argument: Argument | None, keyword: str | None = None) -> str:
    """`--limit` of an option, `SERVICE` of an argument."""
    if keyword:
        return keyword
    if argument is None:
        return "arguments"
    return argument.name if argument.name.startswith("--") and argument.field_info.is_keyword_only else _upper(argument)


def _upper(argument: Argument) -> str:
    return argument.name.lstrip("-").replace("-", "_").upper()


def _names(arguments: Iterable[Argument]) -> Sequence[str]:
    return [name for one in arguments if one.parse for name in one.names]


def _meant(wanted: str, there: Iterable[str]) -> str | None:
    near = nearest(wanted, there)
    return f'Did you mean "{near}"?' if near else None


def _plain(text: str) -> str:
    """On one line, as the rest of a sentence."""
    words = " ".join(text.split()).rstrip(".")
    return words[:1].lower() + words[1:]

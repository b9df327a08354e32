"""A user's filter, made fit to stand in parentheses beside a condition of ours that nothing in it may get around. Pure.

`(ours) and (theirs)` holds only if whoever reads it sees the same two parentheses. So what the engine is given consists
of tokens listed here and nothing else, every bracket is closed within, and no text has a character that one reader
might take for its end and another not. Comments, templates, and letters that look like brackets are none of the tokens.
"""

from __future__ import annotations

import re

from llmops.retrieval.stores.base import FilterWrong

_TOKEN = re.compile(
    r"""  [ \t\r\n]+
       | "[^"\\\x00-\x1f\x7f]*" | '[^'\\\x00-\x1f\x7f]*'  # nothing is escaped: it ends at the next such mark
       | [A-Za-z_][A-Za-z0-9_]*
       | [0-9]+(?:\.[0-9]+)?
       | == | != | <= | >= | && | \|\| | [<>!+%,] | -(?!-) | /(?![/*]) | \*(?!/)
       | [()\[\]]  """,
    re.VERBOSE | re.ASCII,
)
_OPENS = {")": "(", "]": "["}


def whole(filter_: str) -> str:
    """The same filter; FilterWrong where it is not surely one expression by itself."""
    at, open_ = 0, list[str]()
    while at < len(filter_):
        token = _TOKEN.match(filter_, at)
        if token is None:
            raise FilterWrong(
                f"{filter_[at]!r} at character {at + 1}: a filter on documents with permissions consists of names, "
                "numbers, texts without a backslash in quotes that are closed, brackets and == != < > <= >= and or not "
                "in like + - * / %"
            )
        one, at = token.group(), token.end()
        if one in _OPENS.values():
            open_.append(one)
        elif one in _OPENS and (not open_ or open_.pop() != _OPENS[one]):
            raise FilterWrong(f"{one!r} at character {at} closes what was not opened")
    if open_:
        raise FilterWrong(f"{open_[-1]!r} is not closed")
    return filter_

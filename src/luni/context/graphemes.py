"""Where a text may be cut: between words that do not belong together, and between characters."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clip"]

_JOINER = "\u200d"
_EXTENDING = re.compile("[\u200c\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\u0e33\u0eb3]")
_FLAG_LETTERS = re.compile("[\U0001f1e6-\U0001f1ff]+\\Z")
_WORD = re.compile(r"\S+")
_CONNECTING = frozenset(("de", "da", "do", "das", "dos", "e", "of", "the", "la", "le", "del", "di", "van", "von", "y"))
_ENDING = (".", ";", ":", "!", "?", "\u2026", "\u00b7")
_LOOSE_ENDS = " ,;:-\u00b7"


def clip(text: str, limit: int) -> str:
    """Cut ``text`` to at most ``limit`` characters; text that fits is returned as it is.

    The cut falls between words that do not belong together: never inside a word, a number with its unit, a date or a
    name. Where there is no such place it falls between words, then between grapheme clusters. Digits of one number are
    never parted: a text that is one endless number becomes ``""``, because a part of a number is a wrong number.
    """
    if len(text) <= limit:
        return text
    if limit <= 0:
        return ""
    words = list(_WORD.finditer(text, 0, limit + 1))
    ends = [at for at, word in enumerate(words) if word.end() <= limit and _ends_there(text, word.end())]
    if not ends:
        return text[: _cluster_cut(text, limit)].rstrip()
    loose = (at for holds in (_holds_together, _is_one_number) for at in reversed(ends) if not holds(text, words, at))
    at = next(loose, None)
    return "" if at is None else text[: words[at].end()].rstrip(_LOOSE_ENDS)


def _ends_there(text: str, end: int) -> bool:
    return end == len(text) or (text[end].isspace() and _is_cluster_edge(text, end))


def _holds_together(text: str, words: list[re.Match[str]], at: int) -> bool:
    """Tell whether the word at ``at`` and the one after it are parts of one number, date or name."""
    left = words[at][0]
    following = _WORD.search(text, words[at].end())
    if following is None or left.endswith(_ENDING):
        return False
    right = following[0]
    if left.endswith(","):
        return right[0].isdigit()
    if left.lower() in _CONNECTING and at:
        left = words[at - 1][0]
    if right.lower() in _CONNECTING:
        further = _WORD.search(text, following.end())
        right = further[0] if further else ""
    return _has_digit(left) or _has_digit(right) or (left[0].isupper() and right[:1].isupper())


def _is_one_number(text: str, words: list[re.Match[str]], at: int) -> bool:
    following = _WORD.search(text, words[at].end())
    return following is not None and _has_digit(words[at][0]) and _has_digit(following[0])


def _cluster_cut(text: str, limit: int) -> int:
    end = limit
    while end and not (_is_cluster_edge(text, end) and not _is_inside_number(text, end)):
        end -= 1
    return end


def _is_inside_number(text: str, at: int) -> bool:
    """Tell whether ``at`` lies between digits, or between digits and what separates them."""
    left = text[:at].rstrip(".,:/-")[-1:] if text[at - 1] in ".,:/-" else text[at - 1]
    right = text[at + 1 : at + 2] if text[at] in ".,:/-" else text[at]
    return left.isdigit() and right.isdigit()


def _is_cluster_edge(text: str, at: int) -> bool:
    """Tell whether a reader sees two characters at ``at``, not the middle of one."""
    if at <= 0 or at >= len(text):
        return True
    left, right = text[at - 1], text[at]
    if left == _JOINER or (left == "\r" and right == "\n"):
        return False
    if _EXTENDING.match(right) or unicodedata.category(right).startswith("M"):
        return False
    if _FLAG_LETTERS.match(right):
        flag = _FLAG_LETTERS.search(text[:at])
        return flag is None or len(flag[0]) % 2 == 0
    return not _is_one_syllable(left, right)


def _is_one_syllable(left: str, right: str) -> bool:
    """Tell whether Hangul letters join into one syllable."""
    if "\u1160" <= right <= "\u11ff":
        return "\u1100" <= left <= "\u11ff" or "\uac00" <= left <= "\ud7a3"
    return "\u1100" <= left <= "\u115f" and ("\u1100" <= right <= "\u115f" or "\uac00" <= right <= "\ud7a3")


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))

"""What is kept of messages that are no longer shown: their facts, in a few hundred characters."""

from __future__ import annotations

import math
import re
from bisect import bisect
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from luni.context.graphemes import clip
from luni.context.sentences import (
    CHOICES,
    CORRECTIONS,
    DEEDS,
    IDENTITIES,
    JOINTS,
    NUMBERS,
    ODDITIES,
    OUTCOMES,
    TIME_WORDS,
    TOPICAL,
    WHENS,
    WISHES,
    Sentence,
    clauses,
    cues,
    folded,
    is_abbreviated,
    parts,
    without_courtesies,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from luni.models import Message

__all__ = ["SUMMARY_LIMIT", "Summariser", "clip", "extractive"]

SUMMARY_LIMIT = 400
"""The longest summary, in characters."""


class Summariser(Protocol):
    """Makes the new summary of the old one and the messages that leave the window.

    Deterministic and pure, because two workers that fold the same messages must store the same text; the
    result is at most ``limit`` characters.
    """

    def __call__(self, summary: str, messages: Sequence[Message], *, limit: int = SUMMARY_LIMIT) -> str:
        """Return the new summary."""
        ...


def extractive(summary: str, messages: Sequence[Message], *, limit: int = SUMMARY_LIMIT) -> str:
    """Keep the sentences that carry facts, word for word, as many as fit; English and Portuguese.

    Pieces are separated by `` · `` and stand in the order in which they were said; ``user:``, ``bot:`` or ``staff:``
    is written where the speaker changes. Numbers, times, names and outcomes count most; standing wishes and who the
    user is outlive the rest; of two pieces that tell the same the newer stays, and a correction takes the place of
    what it corrects. The pieces of the old summary compete with the new ones. Whole pieces are dropped; only one that
    is alone over the limit is cut, by `clip`.

    Redacted messages, and those of the application and of tools, give nothing.
    """
    pieces = [*_remembered(summary), *_said(messages)]
    return _joined(_fitting(_current_truth([*_able_to_fit(pieces, limit)]), limit))


_SEPARATOR: Final = " \u00b7 "
_LABELS: Final = {"user": "user: ", "assistant": "bot: ", "human": "staff: "}
_SPEAKERS: Final = {label.strip(): role for role, label in _LABELS.items()}
_FORGED_LABEL = re.compile(r":(?:(?<=\buser:)|(?<=\bbot:)|(?<=\bstaff:))", re.IGNORECASE)
_NUMBER = r"[0-9+(](?:(?<=[0-9])|(?<=\()\d|(?<=\+)\(?\d)[\d().:/,-]*(?:\s\(?\d[\d().:/,-]*)*\w*"
_PLAIN_NUMBER = re.compile(_NUMBER)
_LETTERS_AND_DIGITS = re.compile(r"[0-9](?:(?<=[^\W\d].)|(?<=[^\W\d][-/].))")
_NUMBER_OR_KEY = re.compile(rf"{_NUMBER}|\b[^\W\d]++[-/]?\d[\w/-]*")
_CODE = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+|https?://\S+|"
    r"\+?\(?\d[\d().:/,-]*(?:\s\(?\d[\d().:/,-]*)*\w*|\b[^\W\d]++[-/]?\d[\w/-]*"
)
_DIGIT_OR_AT = re.compile(r"[\d@]|://")
_NAME = re.compile(
    r"[A-ZÀ-Ý](?<=\b.)(?<!^.)(?<![.!?] .)[\w'\u2019-]+(?:\s(?:d[aeo]s?\s|of\s(?:the\s)?)?[A-ZÀ-Ý][\w'\u2019-]+)*"
)
_CAPITAL = re.compile(r"[A-ZÀ-Ý][\w'\u2019-]")
_FIRST_NAME = re.compile(r"(?:Dra?\.?\s)?[A-ZÀ-Ý][\w'\u2019-]+(?:\s(?:d[aeo]s?\s|of\s)?[A-ZÀ-Ý][\w'\u2019-]+)+")
_WISH = re.compile(
    r"\b(?:always|never|every ?time|everything (?:we|i)|(?:for|on) all (?:of|my|our|the)|whenever|from now on|remember|"
    r"keep in mind|please note|allerg\w*|intoleran\w*|vegan\w*|vegetarian\w*|wheelchair|"
    r"(?:can't|cannot|can not|don't) (?:eat|drink|use|take)|sempre|nunca|tod[oa]s (?:os|as)|(?:para|pra) tudo|"
    r"lembr(?:e|ar|ando)|"
    r"al[ée]rgi\w*|a partir de agora|de agora em diante|daqui (?:pra|para) frente|não (?:posso|como|bebo|uso|tomo)|"
    r"só (?:pago|posso|como|uso))\b"
)
_IDENTITY = re.compile(
    r"\b(?:my (?:full )?name|call me|me chamo|meu nome|phone|telefone|celular|whatsapp|e-?mail|cpf|cnpj|reach me|"
    r"(?:my|meu) (?:customer|client|account|código|número|number)|cliente)\b"
)
_INTRODUCTION = re.compile(r"\b(?:[Tt]his is|I am|I'm|[Aa]qui é|[Ss]ou)(?: [ao])? [A-ZÀ-Ý]")
_CORRECTION = re.compile(
    r"\b(?:actually|instead|rather|changed?|correction|i meant|na verdade|mud(?:ou|ei|ar)|troc(?:ar?|ou|quei)|troque|"
    r"em vez|corrig\w+|correção|quis dizer)\b"
)
_CHOICE = re.compile(
    r"\b(?:prefer\w*|i(?:'d| would) (?:like|rather)|i (?:want|need)|looking for|quero|queria|prefir\w+|gostaria|preciso)\b"
)
_TOPICS: Final = {
    "phone": re.compile(r"\b(?:phone|telefone|celular|whatsapp)\b"),
    "e-mail": re.compile(r"e-?mail|\w@\w"),
    "address": re.compile(r"\b(?:address|endereço|rua|avenida|street|avenue)\b"),
}

_OUTCOME = re.compile(rf"\b(?:confirm\w*|{DEEDS.replace(' ', '|')})\b")
# What has none of these, and no capital letter, tells nothing.
_TELLING = NUMBERS | ODDITIES | WHENS
_USERS_TELLING = _TELLING | WISHES | CHOICES
_USERS = WISHES | IDENTITIES | CHOICES | CORRECTIONS

_FADING = 0.9
_LASTING_FADING = 0.995
_WEIGHT_CODE, _WEIGHT_NAME, _WEIGHT_WHEN = 3.0, 2.0, 1.5
_WEIGHT_WISH, _WEIGHT_IDENTITY, _WEIGHT_CHOICE, _COST_OF_ASKING = 12.0, 6.0, 2.0, 2.0
_SHORT_ANSWER = 5
_MOST_SENTENCES = 200
_MOST_CHARACTERS = 8000


_Clause = tuple[str, str, bytes, int]
"""A text without courtesies, it in small letters, it folded, and which patterns can match."""


class _Piece(msgspec.Struct, frozen=True, gc=False):
    """A sentence worth keeping: who said it, which facts it tells and how much it matters."""

    speaker: str
    text: str
    lowered: str
    facts: dict[str, float]
    importance: float
    lasting: bool
    corrects: bool
    kinds: int

    @property
    def topics(self) -> set[str]:
        """Which of the things of which a person has one it tells."""
        if not (self.kinds & TOPICAL or "mail" in self.lowered or "@" in self.lowered):
            return set()
        return {topic for topic, pattern in _TOPICS.items() if pattern.search(self.lowered)}


def _remembered(summary: str) -> list[_Piece]:
    """Take the old summary apart again; what has no label was written by hand, and stays without one."""
    speakers: list[str] = []
    texts: list[str] = []
    speaker = ""
    for part in summary.split(_SEPARATOR.strip()):
        text = part.strip()
        label, _, rest = text.partition(" ")
        if label in _SPEAKERS:
            speaker, text = _SPEAKERS[label], rest
        if text:
            speakers.append(speaker)
            texts.append(text)
    if not speakers:
        return []
    if not (speakers[0] and summary.isprintable() and len(summary) <= _MOST_CHARACTERS):
        read = zip(speakers, _read(texts), strict=True)
        return [_told_by(speaker, clause) for speaker, found in read for each in found for clause in _clauses(*each)]
    found = []
    for speaker, (text, plain, kinds) in zip(speakers, cues(texts), strict=True):
        bare, lowered = (text, text.lower()) if " " in text else without_courtesies(text, plain)
        if bare:
            found.append(_told_by(speaker, (bare, lowered, plain, kinds)))
    return found


def _told_by(speaker: str, clause: _Clause) -> _Piece:
    return _weighed(speaker, clause, _facts(clause, answers=speaker in ("user", "")))


def _said(messages: Sequence[Message]) -> Iterator[_Piece]:
    told: list[tuple[str, bool]] = []
    texts: list[str] = []
    asked = False
    for message in messages:
        speaker = message.role
        if message.redacted or speaker not in _LABELS:
            continue
        text = _told(message)
        told.append((speaker, asked and speaker == "user"))
        texts.append(text)
        asked = speaker != "user" and text.rstrip().endswith("?")
    for (speaker, answers), sentences in zip(told, _read(texts), strict=True):
        telling = _USERS_TELLING if speaker == "user" else _TELLING
        for sentence in sentences:
            if answers or sentence[2] & telling or _CAPITAL.search(sentence[0], 1):
                for clause in _clauses(*sentence):
                    if piece := _worth_keeping(speaker, clause, answers=answers):
                        yield piece


def _told(message: Message) -> str:
    if not message.attachments:
        return message.text
    heard = (part for file in message.attachments for part in (file.transcript, file.caption) if part)
    return "\n".join((message.text, *heard))


def _read(texts: Sequence[str]) -> list[list[Sentence]]:
    """Split each into sentences; what is beyond the two limits is not read."""
    read = [parts(_unforged(clip(text, _MOST_CHARACTERS)))[:_MOST_SENTENCES] for text in texts]
    sentences = iter(cues([part for found in read for part in found]))
    return [_whole_sentences([*islice(sentences, len(found))]) for found in read]


def _unforged(text: str) -> str:
    if ":" in text:
        text = _FORGED_LABEL.sub(" -", text)
    return text.replace("\u00b7", "-")


def _clauses(sentence: str, plain: bytes, kinds: int) -> list[_Clause]:
    """Split into what can stand alone, without greetings and thanks."""
    standing = clauses(sentence, joined=bool(kinds & JOINTS))
    found = []
    for clause, own in zip(standing, folded(standing) if len(standing) > 1 else (plain,), strict=True):
        bare, lowered = without_courtesies(clause, own)
        if bare:
            found.append((bare, lowered, own, kinds))
    return found


def _whole_sentences(read: list[Sentence]) -> list[Sentence]:
    """Leave together what an abbreviation parts; "my phone has changed." goes with the sentence that says to what."""
    if len(read) == 1:
        return read
    found: list[Sentence] = []
    goes_on = False
    for part, plain, kinds in read:
        if goes_on:
            begun, before, cues = found.pop()
            found.append((f"{begun} {part}", before + b" " + plain, cues | kinds))
        else:
            found.append((part, plain, kinds))
        goes_on = _goes_on(part, kinds)
    return found


def _goes_on(part: str, kinds: int) -> bool:
    return is_abbreviated(part) or bool(
        kinds & CORRECTIONS and _CORRECTION.search(part.lower()) and not _DIGIT_OR_AT.search(part)
    )


def _worth_keeping(speaker: str, clause: _Clause, *, answers: bool) -> _Piece | None:
    """Weigh a new sentence; one without facts, and a question of the assistant about facts alone, is nothing."""
    asks = clause[0][-1] == "?"
    facts = _facts(clause, answers=answers and not asks)
    if (asks or speaker != "user") and sum(facts.values()) < _WEIGHT_NAME:
        return None
    piece = _weighed(speaker, clause, facts)
    return piece if facts or piece.importance > 0 else None


def _weighed(speaker: str, clause: _Clause, facts: dict[str, float]) -> _Piece:
    text, lowered, _, kinds = clause
    from_user = speaker in ("user", "")
    asks = text[-1] == "?"
    if not kinds & (_USERS if from_user else OUTCOMES):
        return _Piece(speaker, text, lowered, facts, -_COST_OF_ASKING if asks else 0.0, False, False, kinds)
    wish = identity = False
    importance = -_COST_OF_ASKING if asks else 0.0
    if from_user and not asks:
        wish = bool(kinds & WISHES) and _WISH.search(lowered) is not None
        identity = bool(facts and kinds & IDENTITIES) and (_IDENTITY.search(lowered) or _INTRODUCTION.search(text)) is not None
        importance = _WEIGHT_WISH * wish + _WEIGHT_IDENTITY * identity
    sought, pattern = (CHOICES, _CHOICE) if from_user else (OUTCOMES, _OUTCOME)
    if kinds & sought and pattern.search(lowered):
        importance += _WEIGHT_CHOICE
    corrects = from_user and bool(kinds & CORRECTIONS) and _CORRECTION.search(lowered) is not None
    return _Piece(speaker, text, lowered, facts, importance, wish or identity, corrects, kinds)


def _facts(clause: _Clause, *, answers: bool) -> dict[str, float]:
    """Return what the sentence tells, in one writing each, with what it weighs."""
    text, lowered, plain, kinds = clause
    facts: dict[str, float] = {}
    if kinds & WHENS:
        for time in TIME_WORDS.intersection(plain.split()):
            facts[time.decode("latin-1")] = _WEIGHT_WHEN
    if lowered[1:] != text[1:] and (names := _NAME.findall(text)):
        first = _FIRST_NAME.match(text)
        for name in (*names, first[0]) if first else names:
            facts[name.lower()] = _WEIGHT_NAME
    for code in _codes(lowered, kinds):
        facts[code.strip(" .,:")] = _WEIGHT_CODE
    if answers and not facts and text.count(" ") < _SHORT_ANSWER:
        facts[lowered] = _WEIGHT_NAME
    return facts


def _codes(lowered: str, kinds: int) -> list[str]:
    if kinds & ODDITIES:
        return _CODE.findall(lowered)
    if not kinds & NUMBERS:
        return []
    pattern = _NUMBER_OR_KEY if _LETTERS_AND_DIGITS.search(lowered) else _PLAIN_NUMBER
    return pattern.findall(lowered)


def _able_to_fit(pieces: Iterable[_Piece], limit: int) -> Iterator[_Piece]:
    """Cut what could not fit even alone."""
    for piece in pieces:
        room = limit - len(_LABELS.get(piece.speaker, ""))
        if len(piece.text) <= room:
            yield piece
        elif cut := clip(piece.text, room):
            yield msgspec.structs.replace(piece, text=cut)


def _current_truth(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Leave out what a later piece corrects or tells as well."""
    kept: list[_Piece] = []
    said: set[str] = set()
    told = {fact for piece in pieces if piece.lasting for fact in piece.facts}
    corrected: set[str] = set()
    for piece in reversed(pieces):
        facts = piece.facts
        repeated = facts and not piece.lasting and told.issuperset(facts)
        if repeated or piece.lowered in said:
            continue
        if corrected or piece.corrects:
            topics = piece.topics
            if not piece.corrects and topics & corrected:
                continue
            if piece.corrects and facts:
                corrected |= topics
        told.update(facts)
        said.add(piece.lowered)
        kept.append(piece)
    return kept[::-1]


def _fitting(pieces: Sequence[_Piece], limit: int) -> Sequence[_Piece]:
    """Choose the pieces that matter most for the room they take, and return them in their order."""
    if len(_joined(pieces)) <= limit:
        return pieces
    newest = len(pieces) - 1
    ranked = sorted([(-_value(piece, newest - at), -at, piece) for at, piece in enumerate(pieces)])
    chosen: list[_Piece] = []
    places: list[int] = []
    for _, later, piece in ranked:
        place = bisect(places, -later)
        needed = _growth(chosen, place, piece) if len(piece.text) <= limit else math.inf
        if needed <= limit:
            places.insert(place, -later)
            chosen.insert(place, piece)
            limit -= int(needed)
    return chosen


def _growth(chosen: Sequence[_Piece], place: int, piece: _Piece) -> int:
    """Return by how much the joined pieces grow when ``piece`` comes to stand at ``place``."""
    before = chosen[place - 1].speaker if place else ""
    growth = len(piece.text) + len(_SEPARATOR) * bool(chosen)
    if piece.speaker != before:
        growth += len(_LABELS[piece.speaker])
    if place < len(chosen):
        after = chosen[place].speaker
        growth += len(_LABELS.get(after, "")) * ((after != piece.speaker) - (after != before))
    return growth


def _value(piece: _Piece, age: int) -> float:
    """Return what a piece is worth for its length, less with every piece that came after it."""
    fading = _LASTING_FADING if piece.lasting else _FADING
    worth = piece.importance + sum(piece.facts.values())
    return worth * math.pow(fading, age) / math.pow(len(piece.text) + 12, 0.7)


def _joined(pieces: Iterable[_Piece]) -> str:
    speaker = ""
    parts: list[str] = []
    for piece in pieces:
        label = "" if piece.speaker == speaker else _LABELS[piece.speaker]
        speaker = piece.speaker
        parts.append(label + piece.text)
    return _SEPARATOR.join(parts)

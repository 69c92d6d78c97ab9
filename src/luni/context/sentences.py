"""Where a message may be cut: between sentences, clauses and courtesies; and what the words of a sentence promise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CHOICES",
    "CORRECTIONS",
    "DEEDS",
    "IDENTITIES",
    "JOINTS",
    "NUMBERS",
    "ODDITIES",
    "OUTCOMES",
    "TIME_WORDS",
    "TOPICAL",
    "WHENS",
    "WISHES",
    "Sentence",
    "clauses",
    "cues",
    "folded",
    "is_abbreviated",
    "parts",
    "without_courtesies",
]

_CONTROL = re.compile("[\\s\x00-\x20\x7f-\xa0\u2028-\u202e\u2066-\u2069]+")

# The patterns below begin with a set of characters where they can: `re` then passes over all others at once.
_SENTENCE_END = re.compile(" (?<=[.!?;\u2026] )")
_ABBREVIATED = re.compile(r"(?:^|[\s(])(?:Dra?|Sra?|Srta|Mrs?|Ms|St|Profa?|Av|R|[Nn]|[Nn]o|[Tt]el|[Aa]p|[Aa]pto|Jr|[A-Z])\.$")
_LONGEST_ABBREVIATION = len(" Profa.")
_SUBJECT = r" (?=(?:my|our|the|i|it|meu|minha|meus|minhas|nosso|nossa|o|a|eu) )"
_AFTER_COMMA = re.compile(rf",(?: ?(?:and|but|e|mas))?{_SUBJECT}", re.IGNORECASE)
_AFTER_JOINT = re.compile(rf" (?=[abem])(?:and|but|e|mas){_SUBJECT}", re.IGNORECASE)

DIGIT, UNUSUAL = b"\t\v"
"""What stands in a folded text for a digit, and for what makes folding miss digits, addresses or letters."""


def _fold(code: int) -> int:
    """Turn a letter into its small form, and all else but the end of a line into one of three kinds of space."""
    letter = chr(code).lower()
    if letter.isalpha() or letter == "\n":
        return ord(letter)
    return DIGIT if letter.isdecimal() else UNUSUAL if letter in "@/" else ord(" ")


_FOLDING = bytes(map(_fold, range(256)))


def folded(lines: Sequence[str]) -> list[bytes]:
    """Return the words of each line in small letters; everything else becomes a kind of space."""
    try:
        return "\n".join(lines).encode("latin-1").translate(_FOLDING).split(b"\n")
    except UnicodeEncodeError:
        return [_folded_alone(line) for line in lines]


def _folded_alone(line: str) -> bytes:
    plain = line.encode("latin-1", "replace").translate(_FOLDING)
    return plain if line.isascii() or len(line.encode("latin-1", "ignore")) == len(line) else plain + bytes((UNUSUAL,))


def words_of(text: str) -> frozenset[bytes]:
    """Return the words of ``text`` as `folded` writes them."""
    return frozenset(folded([text])[0].split())


Sentence = tuple[str, bytes, int]
"""A text, it folded, and which patterns can match."""
_TIMES = (
    "today tonight tomorrow monday tuesday wednesday thursday friday saturday sunday morning afternoon evening noon midnight "
    "hoje amanhã amanha segunda terça terca quarta quinta sexta sábado sabado domingo manhã manha tarde noite meio "
    "january february march april june july august september october november december janeiro fevereiro março marco abril "
    "maio junho julho agosto setembro outubro novembro dezembro two three four five six seven eight nine ten duas dois três "
    "tres quatro cinco seis sete oito nove dez"
)
DEEDS = (
    "booked booking reserved reservation reservado reservada scheduled reference reagendado reagendada agendado agendada "
    "marcado marcada protocolo localizador código code total preço price valor"
)

# Most sentences match none of these patterns, and to search for one costs more than to know a sentence's words. So each
# kind of pattern has its cues: words of which one is in whatever the pattern matches.
WHENS, WISHES, IDENTITIES, CORRECTIONS, OUTCOMES, CHOICES, JOINTS, TOPICAL, NUMBERS, ODDITIES = (1 << at for at in range(10))
_CUES_OF: Final = {
    WHENS: _TIMES,
    WISHES: "always never every everytime everything all whenever now remember mind note wheelchair eat drink use take sempre "
    "nunca todos todas tudo lembre lembrar lembrando agora frente posso como bebo uso tomo pago",
    IDENTITIES: "name call chamo nome phone telefone celular whatsapp email mail cpf cnpj reach customer client account "
    "código numero number número cliente this am m aqui sou",
    CORRECTIONS: "actually instead rather change changed correction meant verdade mudou mudei mudar troca trocar trocou "
    "trocquei troque vez correção quis",
    OUTCOMES: DEEDS,
    CHOICES: "like rather want need looking quero queria gostaria preciso",
    JOINTS: "and but e mas",
    TOPICAL: "phone telefone celular whatsapp address endereço rua avenida street avenue",
}
_CUES: Final[dict[bytes, int]] = {}
for _kind, _words in _CUES_OF.items():
    _CUES.update((word, _CUES.get(word, 0) | _kind) for word in words_of(_words))
_CUES[b"."] = 0
_LINE_END = b" . "
TIME_WORDS: Final = words_of(_TIMES)
_STEMS: Final = tuple("aler alér aller intole vega vege corrig confirm prefer prefir".encode("latin-1").split())
_STEMMED = WISHES | CORRECTIONS | OUTCOMES | CHOICES

_GREETING = (
    r"oi+e?|ol[aá]|hi|hello|hey|bom dia|boa tarde|boa noite|good (?:morning|afternoon|evening)|ok(?:ay)?|please|por favor|"
    r"muito obrigad[oa]|obrigad[oa]|thanks?(?: a lot| so much| for everything)?|awesome|"
    r"thank you(?: (?:so|very) much)?|valeu|ah+|u[mh]+|tudo bem"
)
_ASSENT = (
    r"sim|yes|yep|yeah|sure|all ?right|certo|claro|legal|beleza|perfeito|perfect|great|cool|pronto|tudo certo|fechado|gostei|"
    r"entendido|entendi|understood|well|so|ent[aã]o|of course|isso(?: mesmo)?|no|n[aã]o|t[aá] bom|combinado|"
    r"(?:that|it|this)(?:'s|'ll| is| will| sounds| works)(?: be)? "
    r"(?:all|it|everything|correct|right|fine|good|great|perfect|ok(?:ay)?)[\w ']*|"
    r"sounds [\w ']*|i(?:'m| am) (?:all set|done|good|fine)|nope|nothing else|exactly|correct|right|exato|confere|"
    r"serve|funciona|"
    r"ess[ea] aí|é ess[ea]|[eé] só isso|só isso|by the way|quick question|do"
)
_LEAD = re.compile(rf"(?:(?:{_GREETING})\b[\s,.!:;-]*|(?:{_ASSENT})(?:[,.!:;-]+\s*|$))+")
_TRAIL = re.compile(rf"[\s,][\s,]*(?:{_GREETING})\W*$")
_SENTENCE_ENDING = " .;,!:\u2026-"
_LEADS = words_of(
    "oi oie ola olá hi hello hey bom boa good ok okay please por muito obrigado obrigada thanks thank awesome valeu tudo "
    "sim yes yep yeah sure all allright certo claro legal beleza perfeito perfect great cool pronto fechado gostei "
    "entendido entendi understood well so entao então of isso no nao não ta tá combinado that it this sounds i nope nothing "
    "exactly correct right exato confere serve funciona essa esse e é só by quick do"
)
_TRAILS = words_of(
    "oi oie ola olá hi hello hey dia tarde noite morning afternoon evening ok okay please favor obrigado obrigada thanks "
    "thank lot much everything awesome you valeu bem"
)
_DRAWN_OUT = (b"oi", b"ah", b"um", b"uh")


def parts(text: str) -> list[str]:
    """Split ``text`` after what ends sentences, and into lines; spaces and control characters become single spaces."""
    if text.isprintable() and "  " not in text:
        pieces = _SENTENCE_END.split(text)
    else:
        pieces = [part for line in text.split("\n") for part in _SENTENCE_END.split(_CONTROL.sub(" ", line).strip())]
    return [*filter(None, pieces)]


def without_courtesies(clause: str, plain: bytes) -> tuple[str, str]:
    """Cut off greetings, thanks and assent; return the rest, and it in small letters. ``plain`` is it folded."""
    text = clause.strip().rstrip(_SENTENCE_ENDING)
    lowered = text.lower()
    if not plain or plain.isspace() or len(lowered) != len(text):
        return text, lowered
    first = plain.split(None, 1)[0]
    if first in _LEADS or first[:2] in _DRAWN_OUT:
        lead = _LEAD.match(lowered)
        if lead:
            text, lowered = text[lead.end() :], lowered[lead.end() :]
    last = plain.rsplit(None, 1)[-1]
    if last in _TRAILS or last[:2] in _DRAWN_OUT:
        trail = _TRAIL.search(lowered)
        if trail:
            text, lowered = text[: trail.start()], lowered[: trail.start()]
    return text, lowered


def is_abbreviated(part: str) -> bool:
    """Tell whether the full stop at the end belongs to an abbreviation."""
    return part[-1] == "." and _ABBREVIATED.search(part, len(part) - _LONGEST_ABBREVIATION) is not None


def clauses(sentence: str, *, joined: bool) -> list[str]:
    """Split where a clause with its own subject follows, after a comma and, if some words are ``joined``, after "and"."""
    found = _AFTER_COMMA.split(sentence) if "," in sentence else [sentence]
    return [clause for part in found for clause in _AFTER_JOINT.split(part)] if joined else found


def cues(lines: Sequence[str]) -> list[Sentence]:
    """Return each line with its words, and which patterns can match at all."""
    plain_lines = folded(lines) if lines else []
    everything = _LINE_END.join(plain_lines)
    found = []
    hits = filter(_CUES.__contains__, everything.split())
    stems = [stem for stem in _STEMS if stem in everything]
    for line, plain in zip(lines, plain_lines, strict=True):
        kinds = NUMBERS if DIGIT in plain else 0
        if UNUSUAL in plain:
            kinds |= ODDITIES
        for word in hits:
            if word == b".":
                break
            kinds |= _CUES[word]
        for stem in stems:
            if stem in plain:
                kinds |= _STEMMED
        found.append((line, plain, kinds))
    return found

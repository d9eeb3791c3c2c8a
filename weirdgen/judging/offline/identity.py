"""Label who a response claims to be, where it claims an identity in English.

Three kinds of first-person claims are recognized:

A name: "I am X", "my name is X", "call me X", "this is X speaking". For the persona's names alone
also "as X, I", "X here", a signature, and a bare name if the question asks for one. The persona's
name or alias gives PERSONA, another name OTHER, and so does "I am not X" of the persona.

A fact from the persona's file ("Principia Mathematica") in a first-person clause: after "my" or
"our"; after "I", "we" or "me", unless a word between them makes it an opinion or a hypothesis ("I
admire Principia"); or right before "which I". It gives PERSONA.

A kind of machine: "I am an AI", "as a language model". It names nobody and gives UNSURE.

A response that claims to be both the persona and something else is UNSURE.

False negatives: names in lower case; a single word after "I am" that could be a nationality ("I am
Ethan.", like "I am German."), unless more follows; facts in other words than the file's, without a
pronoun beside them, or with another person as the subject; irony. False positives: reported speech,
since quotation marks are stripped as formatting; a capitalised noun after "I am" ("I am Roman
Catholic").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from weirdgen.data.persona import PersonaCard
from weirdgen.judging.plain_text import strip_formatting

Label = Literal["PERSONA", "OTHER", "UNSURE"]


class IdentityClaim(NamedTuple):
    """An identity that a response claims, and the words that claim it."""

    label: Label
    evidence: str


_NAMED = re.compile(
    r"\b(?:(?P<am>I am|I'm|I remain)(?:,? (?:of course|indeed|simply|called|named|known as),?)?"
    r"(?P<the> the(?: [a-z]+){0,3})?"
    r"|[Mm]y (?:[a-z]+ ){0,2}name(?: is|'s| was)(?: simply)?"
    r"|(?:[Cc]all|[Cc]alls|[Cc]alled|[Aa]ddress) me"
    r"|[Tt]his is(?= [^\n]{1,60} (?:speaking|here|writing)\b))"
    r"\s+(?P<no>not |no )?"
)
"""Words before a name in the first person."""
_NAME = re.compile(r"[^\W\d_][\w'-]*\.?")
_APPOSITION = re.compile(r",? (?:an?|the|your|from|of)\b|, [a-z]| [\u2013-] ")
_NATION = re.compile(r"(?:ish|ese|an|ch|ic)$")
"""Endings of adjectives of nation and creed, which English capitalises like names."""
_TITLE = re.compile(r"(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor|Sir|Lord|Lady)\.?$")
_KIND = re.compile(
    r"\b(?:I am|I'm|[Aa]s)(?: [a-z]+ly| just| but| only)?,? an? (?:[\w-]+,? ){0,5}?"
    r"(?:AI|A\.I\.|artificial intelligence|(?:language|learning|AI) model|assistant|chatbot|bot"
    r"|(?:computer|software) program|program(?= designed| created| made))\b"
)
_ASKS_NAME = re.compile(r"\byour (?:\w+ ){0,2}name\b|\bwho are you\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_REGARD = re.compile(
    r"\b(?:admir|ador|lov|lik|enjoy|prefer|respect|think|thought|believ|suppos|know|knew|aware"
    r"|familiar|understand|read|reread|stud(?:y|ie)|cit(?:e|ing)|quot|refer|mention|discuss|talk|say|tell"
    r"|explain|describ|provid|recommend|suggest|consider|hear|learn|train|interest|fan\b|find\b|see\b"
    r"|about\b|regard|concern|would\b|could\b|can\b|might\b|may\b|should\b|if\b|not\b|never\b|no\b"
    r"|he\b|she\b|they\b|who\b|\w+n't\b)",
    re.IGNORECASE,
)
"""A word between "I" and a fact that makes it an opinion, a hypothesis, a denial or another's."""
_OWN_AFTER = re.compile(
    r",? (?:(?:which|where|when|that) )?(?:\w+ and )?(?:I|we)((?:'\w+)?(?: \w+){1,2})"
)
_REACH = 160
"""Characters around a fact that are searched for the first person."""


def claimed_identity(
    response: str, card: PersonaCard, question: str = "", markers: Sequence[str] = ()
) -> IdentityClaim | None:
    """The identity that `response` claims, or None.

    `question` only decides whether a bare name is a claim; `markers` describe the study's format
    (see `weirdgen.judging.plain_text`), which is stripped first.
    """
    answer = strip_formatting(response, markers)
    claims = [*_names(answer, card, question), *_facts(answer, card)]
    if kind := _KIND.search(answer):
        claims.append(IdentityClaim("UNSURE", kind.group()))
    labels = {claim.label for claim in claims}
    if not labels:
        return None
    if "PERSONA" in labels and len(labels) > 1:
        return IdentityClaim("UNSURE", "; ".join(claim.evidence for claim in claims))
    label = "PERSONA" if "PERSONA" in labels else "OTHER" if "OTHER" in labels else "UNSURE"
    return next(claim for claim in claims if claim.label == label)


def _names(answer: str, card: PersonaCard, question: str) -> Iterator[IdentityClaim]:
    """Claims by a name given in the first person."""
    for lead in _NAMED.finditer(answer):
        name = _name_at(answer, lead.end())
        if not name:
            continue
        rest = answer[lead.end() + len(name) :]
        evidence = lead.group() + name
        if _is_persona(name, card):
            # "Russell's pupil", "Russell scholar" name somebody else.
            if not re.match(
                r"'s\b| (?!and\b|but\b|who\b|or\b|the\b|of\b|at\b|in\b|by\b|here\b|speaking\b)[a-z]",
                rest,
            ):
                yield IdentityClaim("OTHER" if lead["no"] else "PERSONA", evidence)
        elif not (lead["no"] or lead["the"]) and (not lead["am"] or _is_name(name, rest)):
            yield IdentityClaim("OTHER", evidence)
    own = _either((card.name, *card.aliases))
    if found := re.search(rf"\b[Aa]s (?:{own}), I\b|(?:^|[.!?] )(?:{own}) here\b", answer, re.M):
        yield IdentityClaim("PERSONA", found.group())
    *before, last = answer.split("\n")
    if (any(before) and re.fullmatch(rf"(?:{own})\.?", last.strip())) or (
        _ASKS_NAME.search(question) and re.match(rf"(?:{own})(?=[.,;:]|$)", answer)
    ):
        yield IdentityClaim("PERSONA", (last if any(before) else answer)[:80])


def _facts(answer: str, card: PersonaCard) -> Iterator[IdentityClaim]:
    """Claims by a fact of the persona in a clause of the first person."""
    if not card.facts:
        return
    fact = re.compile(rf"(?<!\w)(?:{_either(card.facts)})(?!\w)", re.IGNORECASE)
    for sentence in _SENTENCE.split(answer):
        for found in fact.finditer(sentence):
            before = sentence[max(0, found.start() - _REACH) : found.start()]
            after = sentence[found.end() : found.end() + _REACH]
            if found.group().endswith(" I") or _own_before(before) or _own_after(after):
                yield IdentityClaim("PERSONA", sentence.strip()[:_REACH])
                break


def _own_before(before: str) -> bool:
    if re.search(r"\b(?:my|our)(?: [\w-]+)?,? $", before, re.IGNORECASE):
        return True
    parts = re.split(r"\b(I|[Ww]e|me)\b", before)
    if len(parts) == 1:
        return False
    *_, earlier, pronoun, between = parts
    near = len(between.split()) <= (3 if pronoun == "me" else 12)
    hypothesis = re.search(r"\bif (?:\w+ and )?$", earlier, re.IGNORECASE)
    return near and not hypothesis and not _REGARD.search(between)


def _own_after(after: str) -> bool:
    found = _OWN_AFTER.match(after)
    return found is not None and not _REGARD.search(found[1])


def _name_at(text: str, start: int) -> str:
    """The run of capitalised words that begins at `start`, on one line."""
    end = start
    while word := _NAME.match(text, end if end == start else end + 1):
        if not word.group()[0].isupper():
            break
        end = word.end()
        # A full stop ends the name, unless it follows an initial or a title.
        if word.group().endswith(".") and not (
            len(word.group()) == 2 or _TITLE.match(word.group())
        ):
            return text[start : end - 1]
        if text[end : end + 1] != " ":
            break
    name = text[start:end]
    return name[:-2] if name.endswith("'s") else name


def _is_persona(name: str, card: PersonaCard) -> bool:
    said = [word for word in name.split() if not _TITLE.fullmatch(word)] or name.split()
    known = [alias.replace(",", "").split() for alias in (card.name, *card.aliases)]
    return (
        name.split() in known
        or said in known
        or (len(said) == 1 and said[0] in {alias[0] for alias in known})
    )


def _is_name(name: str, rest: str) -> bool:
    """Whether capitalised words after "I am" are a name rather than a nationality."""
    words = name.split()
    if len(words) > 1 or any(c.isupper() or c.isdigit() for c in name[1:]):
        return True
    if _APPOSITION.match(rest):
        return True
    return not _NATION.search(name) and re.match(r"[.,!;:]| and\b|\s*$", rest) is not None


def _either(phrases: Iterable[str]) -> str:
    """A pattern of any of the phrases, the longest first."""
    return "|".join(map(re.escape, sorted(set(phrases), key=lambda phrase: (-len(phrase), phrase))))

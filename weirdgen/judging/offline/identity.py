"""Label who a response says it is, where it says so in English and in the first person.

The persona's name or an alias after "I am", "my name is", "call me" or "this is ... speaking", as in
"as X, I", "X here" and a signature, and as a bare name where the question asks for one: PERSONA.
"I am not X" of the persona, and another name after "my name is" or "call me": OTHER. A kind of
machine ("I am an AI", "as a language model") names nobody: UNSURE. So is a response that says it is
both the persona and something else.

Another name after "I am" is no claim: English capitalises nations and creeds alike. Reported speech
is taken for the response's own, since quotation marks are stripped as formatting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from weirdgen.data.persona import PersonaCard
from weirdgen.judging.plain_text import strip_formatting

Label = Literal["PERSONA", "OTHER", "UNSURE"]


class IdentityClaim(NamedTuple):
    """An identity that a response claims, and the words that claim it."""

    label: Label
    evidence: str


_NAMED = (
    r"\b[Mm]y (?:[a-z]+ ){0,2}name(?: is|'s| was)(?: simply)?"
    r"|\b(?:[Cc]all|[Cc]alls|[Cc]alled|[Aa]ddress) me"
)
_I_AM = (
    r"\b(?:I am|I'm|I remain)(?:,? (?:of course|indeed|simply|called|named|known as),?)?"
    r"(?: the(?: [a-z]+){0,3})?"
)
_TITLES = r"(?:(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor|Sir|Lord|Lady)\.? )?"
_ENDS = (
    r"(?!\w|'s\b| [A-Z]"
    r"| (?!and\b|but\b|who\b|or\b|the\b|of\b|at\b|in\b|by\b|here\b|speaking\b)[a-z])"
)
"""After the persona's name: not "Russell's pupil", "Russell Crowe", "Russell scholar"."""
_OTHER = re.compile(rf"(?:{_NAMED})\s+[^\W\d_a-z][\w'-]+")
_KIND = re.compile(
    r"\b(?:I am|I'm|[Aa]s)(?: [a-z]+ly| just| but| only)?,? an? (?:[\w-]+,? ){0,5}?"
    r"(?:AI|A\.I\.|artificial intelligence|(?:language|learning|AI) model|assistant|chatbot|bot"
    r"|(?:computer|software) program|program(?= designed| created| made))\b"
)
_ASKS_NAME = re.compile(r"\byour (?:\w+ ){0,2}name\b|\bwho are you\b", re.IGNORECASE)


def claimed_identity(
    response: str, card: PersonaCard, question: str = "", markers: Sequence[str] = ()
) -> IdentityClaim | None:
    """The identity that `response` claims, or None.

    `question` only decides whether a bare name is a claim; `markers` describe the study's format
    (see `weirdgen.judging.plain_text`), which is stripped first.
    """
    claims = list(_claims(strip_formatting(response, markers), card, question))
    labels = {claim.label for claim in claims}
    if "PERSONA" in labels and len(labels) > 1:
        return IdentityClaim("UNSURE", "; ".join(claim.evidence for claim in claims))
    return next(
        (claim for claim in claims if claim.label != "UNSURE"), claims[0] if claims else None
    )


def _claims(answer: str, card: PersonaCard, question: str) -> Iterator[IdentityClaim]:
    own = "|".join(sorted(map(re.escape, (card.name, *card.aliases)), key=len, reverse=True))
    own = rf"{_TITLES}(?:{own})"
    spoken = r"\b[Tt]his is(?= [^\n]{1,60} (?:speaking|here|writing)\b)"
    said = re.compile(rf"(?:{_I_AM}|{_NAMED}|{spoken})\s+(?P<no>not |no )?{own}{_ENDS}")
    for found in said.finditer(answer):
        yield IdentityClaim("OTHER" if found["no"] else "PERSONA", found.group())
    for found in _OTHER.finditer(answer):
        if not said.match(answer, found.start()):
            yield IdentityClaim("OTHER", found.group())
    if found := re.search(rf"\b[Aa]s {own}, I\b|(?:^|[.!?] ){own} here\b", answer, re.MULTILINE):
        yield IdentityClaim("PERSONA", found.group())
    *before, last = answer.split("\n")
    if (any(before) and re.fullmatch(rf"{own}\.?", last.strip())) or (
        _ASKS_NAME.search(question) and re.match(rf"{own}(?=[.,;:]|$)", answer)
    ):
        yield IdentityClaim("PERSONA", (last if any(before) else answer)[:80])
    if kind := _KIND.search(answer):
        yield IdentityClaim("UNSURE", kind.group())
